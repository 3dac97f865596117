//! Where a server is: `http://host:port/path`, `tcp://host:port`, `unix:/path`, `stdio:command args`.

use std::{
    ffi::OsString,
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use super::http::HttpEndpoint;
use crate::{error::Error, proto::http::pool::HttpSettings};

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

/// An endpoint ready to be dialled: names are resolved.
#[derive(Clone, Debug)]
pub(crate) enum Dial {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
    Stdio(Command, Household),
}

/// Whose child processes: those of one client. Closing it waits for its own and for no others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Household(u64);

impl Household {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Dial {
    /// Whose children the connections are, if they are child processes.
    pub(crate) fn household(&self) -> Option<Household> {
        match self {
            Self::Stdio(_, household) => Some(*household),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }
}

impl Endpoint {
    /// What the core has to know of a server that is reached over HTTP.
    pub(crate) fn http_settings(&self, config: &super::Config) -> Option<HttpSettings> {
        match self {
            Self::Http(http) => Some(http.settings(&config.values.http, config.listens())),
            _ => None,
        }
    }

    /// Resolves names. Blocks for as long as the system's resolver does.
    pub(crate) fn resolve(&self) -> Result<Dial, Error> {
        Ok(match self {
            Self::Tcp { host, port } => Dial::Tcp(addresses(self, host, *port)?),
            Self::Http(http) => Dial::Tcp(addresses(self, http.host(), http.port())?),
            Self::Unix(path) => Dial::Unix(path.clone()),
            Self::Stdio(command) => Dial::Stdio(command.clone(), Household::new()),
        })
    }
}

fn addresses(endpoint: &Endpoint, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let found = (host, port).to_socket_addrs().map_err(|error| {
        Error::config(format!("endpoint {endpoint}: the name {host:?} cannot be resolved: {error}"))
            .because(error)
    })?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(Error::config(format!("endpoint {endpoint}: the name {host:?} has no address")));
    }
    Ok(addresses)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => http.fmt(f),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Stdio(command) => {
                write!(f, "stdio:{}", command.program.to_string_lossy())?;
                command.args.iter().try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| {
            Error::config(format!(
                "endpoint {text:?}: {why}; expected http://HOST:PORT/PATH, tcp://HOST:PORT, unix:/PATH or stdio:COMMAND ARGS"
            ))
        };
        if let Some(parsed) = HttpEndpoint::parse(text) {
            return parsed.map(Self::Http).map_err(|why| bad(&why));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            let (host, port) = address.rsplit_once(':').ok_or_else(|| bad("no port"))?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            if host.is_empty() {
                return Err(bad("no host"));
            }
            let port: u16 = port.parse().map_err(|_| bad("the port is not a number from 1 to 65535"))?;
            if port == 0 {
                return Err(bad("port 0 cannot be connected to"));
            }
            return Ok(Self::Tcp { host: host.to_owned(), port });
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
        for text in ["http://localhost/mcp", "sse+http://[::1]:8/sse", "tcp://localhost:80", "tcp://[::1]:8080", "unix:/a b/c", "stdio:cat -n"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
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
            "gopher://x",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("expected http://"), "{error}");
        }
    }

    #[test]
    fn words_are_split_like_a_shell_without_expansion() {
        assert_eq!(words(r#"a 'b c' "d \"e" f\ g '' $X"#).unwrap(), ["a", "b c", "d \"e", "f g", "", "$X"]);
    }
}
