//! Where a server is: `http://host:port/path`, `tcp://host:port`, `tls+tcp://host:port`, `ws://host/path`, `wss://host/path`,
//! `unix:/path`, `stdio:command args`. A scheme whose feature is not built in is refused by its name.

use std::{
    ffi::OsString,
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use super::http::HttpEndpoint;
use crate::{error::Error, proto::http::settings::HttpSettings};

/// The address of an MCP server, or the command that starts one.
///
/// ```
/// use volley::Endpoint;
///
/// let tcp: Endpoint = "tcp://127.0.0.1:9000".parse()?;
/// let unix: Endpoint = "unix:/run/server.sock".parse()?;
/// let child: Endpoint = "stdio:python server.py --mode 'very quick'".parse()?;
/// assert_eq!(tcp.to_string(), "tcp://127.0.0.1:9000");
/// # let _ = (unix, child);
/// # Ok::<(), volley::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// Streamable HTTP of any revision, or HTTP+SSE.
    Http(HttpEndpoint),
    /// Newline-delimited JSON over TCP.
    Tcp {
        /// A name or an address; a name is resolved when the client is made, and all its addresses are tried in turn.
        host: String,
        /// The port.
        port: u16,
    },
    /// Newline-delimited JSON over TLS, over TCP.
    #[cfg(feature = "tls")]
    Tls {
        /// A name or an address, as for `Tcp`; the server's certificate has to be valid for it.
        host: String,
        /// The port.
        port: u16,
    },
    /// JSON messages over a WebSocket, one in each text message; the subprotocol is `mcp`.
    #[cfg(feature = "websocket")]
    WebSocket {
        /// `wss` instead of `ws`.
        secure: bool,
        /// A name or an address, as for `Tcp`.
        host: String,
        /// The port.
        port: u16,
        /// The path, with its query if there is one; begins with a slash.
        path: String,
    },
    /// Newline-delimited JSON over a Unix socket.
    Unix(PathBuf),
    /// A child process that speaks on its stdin and stdout; one process for each connection.
    Stdio(Command),
}

/// A server to be started as a child process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) dir: Option<PathBuf>,
}

impl Command {
    /// A command without arguments. It inherits this process's environment.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new(), dir: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, which is how stdio servers get their credentials.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }
}

impl From<Command> for Endpoint {
    fn from(command: Command) -> Self {
        Self::Stdio(command)
    }
}

/// Whose child processes: those of one client. Closing it waits for its own and for no others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Household(u64);

impl Household {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Endpoint {
    /// A configuration as it stands for this endpoint: what has no meaning there is left out.
    pub(crate) fn fit(&self, mut config: super::Config) -> super::Config {
        if matches!(self, Self::Http(_)) {
            config.values.pool.overflow = 0;
        }
        config
    }

    /// The address by which this process remembers what it has found out of the server. Names and ports that stand for one server
    /// after another, such as those of child processes, have none. Nor has a client that insists on a revision: it has nothing to
    /// find out, and what it speaks is no word on what the server prefers.
    pub(crate) fn shared_address(&self, config: &super::Config) -> Option<String> {
        match self {
            Self::Http(http) if config.values.revision.is_none() && !config.values.arrays.is_plain => {
                Some(http.to_string())
            }
            _ => None,
        }
    }

    /// The URL of a server that is reached over HTTP, as tokens are asked for with it; empty for others.
    pub(crate) fn http_url(&self) -> String {
        match self {
            Self::Http(http) => http.url().to_owned(),
            _ => String::new(),
        }
    }

    /// What the core has to know of a server that is reached over HTTP.
    pub(crate) fn http_settings(&self, config: &super::Config) -> Option<HttpSettings> {
        match self {
            Self::Http(http) => {
                let values = &config.values;
                Some(http.settings(&values.http, &values.headers, config.listens()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => http.fmt(f),
            Self::Tcp { host, port } => write!(f, "tcp://{}:{port}", Bracketed(host)),
            #[cfg(feature = "tls")]
            Self::Tls { host, port } => write!(f, "tls+tcp://{}:{port}", Bracketed(host)),
            #[cfg(feature = "websocket")]
            Self::WebSocket { secure, host, port, path } => {
                let (scheme, usual) = if *secure { ("wss", 443) } else { ("ws", 80) };
                write!(f, "{scheme}://{}", Bracketed(host))?;
                if *port != usual {
                    write!(f, ":{port}")?;
                }
                f.write_str(path)
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Stdio(command) => {
                write!(f, "stdio:{}", command.program.to_string_lossy())?;
                command.args.iter().try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
            }
        }
    }
}

/// A host as it stands before a port: an IPv6 address needs brackets there.
pub(super) struct Bracketed<'a>(pub(super) &'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| {
            Error::config(format!(
                "endpoint {text:?}: {why}; expected http://HOST:PORT/PATH, https://…, sse+http://…, tcp://HOST:PORT, \
                 tls+tcp://HOST:PORT, ws://HOST/PATH, wss://HOST/PATH, unix:/PATH or stdio:COMMAND ARGS"
            ))
        };
        if let Some(parsed) = HttpEndpoint::parse(text) {
            return parsed.map(Self::Http).map_err(|why| bad(&why));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            let (host, port) = host_and_port(address).map_err(bad)?;
            return Ok(Self::Tcp { host, port });
        }
        if let Some(address) = text.strip_prefix("tls+tcp://") {
            return tls(address).map_err(bad);
        }
        if text.starts_with("ws://") || text.starts_with("wss://") {
            return websocket(text).map_err(bad);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(bad("no path"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(line) = text.strip_prefix("stdio:") {
            let mut words = words(line).ok_or_else(|| bad("a quote is not closed"))?.into_iter();
            let program = words.next().ok_or_else(|| bad("no command"))?;
            return Ok(Self::Stdio(Command::new(program).args(words)));
        }
        Err(bad("unknown scheme"))
    }
}

fn host_and_port(address: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("no port")?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err("no host");
    }
    match port.parse() {
        Ok(0) => Err("port 0 cannot be connected to"),
        Ok(port) => Ok((host.to_owned(), port)),
        Err(_) => Err("the port is not a number from 1 to 65535"),
    }
}

#[cfg(feature = "tls")]
fn tls(address: &str) -> Result<Endpoint, &'static str> {
    host_and_port(address).map(|(host, port)| Endpoint::Tls { host, port })
}

#[cfg(not(feature = "tls"))]
fn tls(_: &str) -> Result<Endpoint, &'static str> {
    Err("tls+tcp needs the feature `tls`, which is not built in")
}

#[cfg(feature = "websocket")]
fn websocket(text: &str) -> Result<Endpoint, &'static str> {
    let url = url::Url::parse(text).map_err(|_| "no valid URL")?;
    let secure = url.scheme() == "wss";
    if secure && cfg!(not(feature = "tls")) {
        return Err("wss needs the feature `tls`, which is not built in");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL is no place for a password; set a header");
    }
    if url.fragment().is_some() {
        return Err("a fragment (#) means nothing to a server");
    }
    let host = match url.host().ok_or("no host")? {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    };
    let port =
        url.port_or_known_default().filter(|port| *port != 0).ok_or("port 0 cannot be connected to")?;
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Ok(Endpoint::WebSocket { secure, host, port, path })
}

#[cfg(not(feature = "websocket"))]
fn websocket(_: &str) -> Result<Endpoint, &'static str> {
    Err("ws and wss need the feature `websocket`, which is not built in")
}

/// Splits a command line at blanks. Quotes, single or double, hold words together; a backslash takes the next
/// character as it is, except in single quotes. No variables, no globs: no shell.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None::<char>);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().push(chars.next()?),
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_back() {
        for text in [
            "http://localhost/mcp",
            "sse+http://[::1]:8/sse",
            "tcp://localhost:80",
            "tcp://[::1]:8080",
            "unix:/a b/c",
            "stdio:cat -n",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        #[cfg(feature = "tls")]
        assert_eq!("tls+tcp://[::1]:1".parse::<Endpoint>().unwrap().to_string(), "tls+tcp://[::1]:1");
        assert_eq!("unix:///run/x".parse::<Endpoint>().unwrap(), Endpoint::Unix("/run/x".into()));
    }

    #[test]
    fn nonsense_is_refused_with_the_value_and_the_way_out() {
        for text in [
            "",
            "tcp://",
            "tcp://host",
            "tcp://:80",
            "tcp://h:0",
            "tcp://h:99999",
            "unix:",
            "stdio:",
            "stdio:'a",
            "tls+tcp://host",
            "ws://",
            "wss://user:secret@host/",
            "ws://host/#part",
            "ws://host:0/",
            "gopher://x",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("expected http://"), "{error}");
        }
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn websocket_urls_have_their_usual_ports_and_a_path() {
        for (text, again, port_seen) in [
            ("ws://host", "ws://host/", 80),
            ("ws://host:81/mcp?a=b c", "ws://host:81/mcp?a=b%20c", 81),
            ("ws://[::1]:9/x", "ws://[::1]:9/x", 9),
            #[cfg(feature = "tls")]
            ("wss://host/mcp", "wss://host/mcp", 443),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), again);
            let Endpoint::WebSocket { port, .. } = endpoint else { panic!("{text}") };
            assert_eq!(port, port_seen);
        }
    }

    #[cfg(not(all(feature = "tls", feature = "websocket")))]
    #[test]
    fn a_scheme_that_is_not_built_in_names_its_feature() {
        let names = |text: &str, feature: &str| {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(feature), "{error}");
        };
        if cfg!(not(feature = "tls")) {
            names("tls+tcp://host:1", "`tls`");
        }
        if cfg!(not(feature = "websocket")) {
            names("ws://host/", "`websocket`");
            names("wss://host/", "`websocket`");
        } else {
            names("wss://host/", "`tls`");
        }
    }

    #[test]
    fn words_are_split_like_a_shell_without_expansion() {
        assert_eq!(words(r#"a 'b c' "d \"e" f\ g '' $X"#).unwrap(), ["a", "b c", "d \"e", "f g", "", "$X"]);
    }
}
