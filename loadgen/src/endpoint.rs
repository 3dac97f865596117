//! Where a server is: `http://host:port/path` and its kin, `tcp://host:port`, `unix:/path`, `stdio:COMMAND ARGS`.
//!
//! Words in, an [`Endpoint`] out; nothing is opened here. Of a URL only scheme, host and port are looked at, the rest is for
//! the engine to judge. A URL with a user and a password is refused, because targets are written into results. The
//! command of `stdio:` is split at white space, with `'...'`, `"..."` and `\` as a shell has
//! them, and nothing else of a shell: no variables, no globs. After `--` nothing is split.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The ways to reach a server. Those that loadgen's own target has can be chosen by a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// A TCP connection.
    Tcp,
    /// A Unix socket.
    Unix,
    /// The pipes of a child process.
    Stdio,
    /// Streamable HTTP, or whatever HTTP transport the server is found to have.
    Http,
    /// The same over TLS.
    #[value(skip)]
    Https,
    /// HTTP+SSE of revision 2024-11-05.
    Sse,
    /// The same over TLS.
    #[value(skip)]
    SseTls,
    /// A WebSocket.
    Ws,
    /// The same over TLS.
    #[value(skip)]
    Wss,
    /// TLS over TCP, with lines in it.
    #[value(skip)]
    Tls,
}

/// One server, addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `host:port`; the host may be a name, an address, or an IPv6 address in brackets.
    Tcp(String),
    /// A URL of any other scheme.
    Url {
        /// What the scheme says.
        transport: Transport,
        /// What stands behind `://`.
        rest: String,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// A program and its arguments; the program is never empty.
    Stdio {
        /// What to start.
        program: OsString,
        /// With which arguments.
        args: Vec<OsString>,
    },
}

/// Why a text addresses no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndpointError {
    /// None of the schemes.
    UnknownScheme,
    /// `tcp://` or `tls+tcp://` without a host, or without a port from 1 to 65535.
    BadAddress,
    /// A URL without a host, or with a port that is none.
    BadHost,
    /// A URL with a user in it.
    Credentials,
    /// `unix:` without a path.
    NoPath,
    /// `stdio:` without a command.
    NoCommand,
    /// A quote in the command is never closed.
    OpenQuote,
}

impl Transport {
    /// The word for it, as flags and results spell it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Https => "https",
            Self::Sse => "sse",
            Self::SseTls => "sse+https",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Tls => "tls+tcp",
        }
    }

    /// What URLs of it begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Tcp => "tcp://",
            Self::Unix => "unix:",
            Self::Stdio => "stdio:",
            Self::Http => "http://",
            Self::Https => "https://",
            Self::Sse => "sse+http://",
            Self::SseTls => "sse+https://",
            Self::Ws => "ws://",
            Self::Wss => "wss://",
            Self::Tls => "tls+tcp://",
        }
    }

    /// Whether it is made of HTTP requests.
    pub(crate) const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https | Self::Sse | Self::SseTls)
    }

    /// Whether something can be said in headers.
    pub(crate) const fn has_headers(self) -> bool {
        self.is_http() || matches!(self, Self::Ws | Self::Wss)
    }

    /// Whether it is encrypted.
    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::SseTls | Self::Wss | Self::Tls)
    }
}

impl Endpoint {
    /// Reads a TARGET.
    pub(crate) fn parse(text: &str) -> Result<Self, EndpointError> {
        if let Some(address) = text.strip_prefix("tcp://") {
            return Ok(Self::Tcp(host_and_port(address)?.to_owned()));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is the same place spelled as a URL.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(EndpointError::NoPath) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(command) = text.strip_prefix("stdio:") {
            return Self::command(split_words(command)?.into_iter().map(OsString::from));
        }
        let known = URLS.iter().find_map(|of| text.strip_prefix(of.prefix()).map(|rest| (*of, rest)));
        let (transport, rest) = known.ok_or(EndpointError::UnknownScheme)?;
        let rest = if transport == Transport::Tls { host_and_port(rest)? } else { rest };
        let authority = authority(rest);
        if authority.contains('@') {
            return Err(EndpointError::Credentials);
        }
        let (host, port) = split_port(authority);
        let port_is_one = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        match !host.is_empty() && port_is_one {
            true => Ok(Self::Url { transport, rest: rest.to_owned() }),
            false => Err(EndpointError::BadHost),
        }
    }

    /// The command that stood after `--`.
    pub(crate) fn command(words: impl IntoIterator<Item = OsString>) -> Result<Self, EndpointError> {
        let mut words = words.into_iter();
        match words.next() {
            Some(program) if !program.is_empty() => Ok(Self::Stdio { program, args: words.collect() }),
            _ => Err(EndpointError::NoCommand),
        }
    }

    /// How it is reached.
    pub(crate) const fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Url { transport, .. } => *transport,
            Self::Unix(_) => Transport::Unix,
            Self::Stdio { .. } => Transport::Stdio,
        }
    }

    /// Whether headers and tokens would go to another machine for all on the way to read.
    pub(crate) fn is_exposed(&self) -> bool {
        match self {
            Self::Url { transport, rest } => {
                transport.has_headers() && !transport.is_tls() && !is_loopback(split_port(authority(rest)).0)
            }
            Self::Tcp(_) | Self::Unix(_) | Self::Stdio { .. } => false,
        }
    }
}

/// `host:port`, perhaps with a slash behind it that means nothing.
fn host_and_port(address: &str) -> Result<&str, EndpointError> {
    let address = address.trim_end_matches('/');
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(address)
        }
        _ => Err(EndpointError::BadAddress),
    }
}

/// The part of a URL between `://` and the path.
fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Host, without brackets, and port.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some((host, port)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, port.strip_prefix(':'));
    }
    authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
}

/// Whether a host is this machine by its spelling; no name is looked up.
fn is_loopback(host: &str) -> bool {
    host.parse().map_or_else(
        |_| {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        },
        |address: IpAddr| address.is_loopback(),
    )
}

/// The schemes of [`Endpoint::Url`].
const URLS: [Transport; 7] = [
    Transport::Http,
    Transport::Https,
    Transport::Sse,
    Transport::SseTls,
    Transport::Ws,
    Transport::Wss,
    Transport::Tls,
];

/// Splits a command line into its words.
fn split_words(line: &str) -> Result<Vec<String>, EndpointError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().push(chars.next().ok_or(EndpointError::OpenQuote)?);
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(EndpointError::OpenQuote);
    }
    words.extend(word);
    Ok(words)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Url { transport, rest } => write!(f, "{}{rest}", transport.prefix()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Stdio { program, args } => {
                write!(f, "stdio:{}", program.display())?;
                args.iter().try_for_each(|arg| write!(f, " {}", arg.display()))
            }
        }
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownScheme => {
                "it begins with none of http://, https://, sse+http://, sse+https://, ws://, wss://, tcp://, tls+tcp://, unix:, stdio:"
            }
            Self::BadAddress => "it needs host:port with a port from 1 to 65535",
            Self::BadHost => "it needs a host, and a port, if any, from 1 to 65535",
            Self::Credentials => "a user or a password in a URL would end up in the result; use --bearer-env or --header",
            Self::NoPath => "unix: needs the path of a socket",
            Self::NoCommand => "stdio: needs a command to start",
            Self::OpenQuote => "a quote or a backslash in the command is never closed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_is_read_and_written_back() {
        for text in [
            "tcp://localhost:7000",
            "tcp://[::1]:80",
            "unix:/tmp/s.sock",
            "stdio:node server.js -v",
            "http://localhost:3001/mcp?a=b",
            "https://example.com",
            "sse+http://[::1]:8/sse",
            "sse+https://h/sse",
            "ws://h/",
            "wss://h:1/mcp",
            "tls+tcp://h:1",
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Endpoint::parse("unix:///tmp/s"), Ok(Endpoint::Unix("/tmp/s".into())));
    }

    #[test]
    fn what_addresses_nothing_is_refused() {
        for (text, error) in [
            ("localhost:7000", EndpointError::UnknownScheme),
            ("gopher://localhost", EndpointError::UnknownScheme),
            ("http://", EndpointError::BadHost),
            ("http:///mcp", EndpointError::BadHost),
            ("ws://:80/", EndpointError::BadHost),
            ("https://h:0/", EndpointError::BadHost),
            ("wss://h:70000", EndpointError::BadHost),
            ("https://user:hunter2@h/", EndpointError::Credentials),
            ("tls+tcp://h", EndpointError::BadAddress),
            ("tcp://localhost", EndpointError::BadAddress),
            ("tcp://:80", EndpointError::BadAddress),
            ("tcp://h:0", EndpointError::BadAddress),
            ("tcp://h:70000", EndpointError::BadAddress),
            ("unix:", EndpointError::NoPath),
            ("stdio:  ", EndpointError::NoCommand),
            ("stdio:a 'b", EndpointError::OpenQuote),
        ] {
            assert_eq!(Endpoint::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_others_could_read_on_the_way_is_known() {
        for (text, exposed) in [
            ("http://example.com/mcp", true),
            ("ws://10.0.0.1:80/", true),
            ("sse+http://[2001:db8::1]/sse", true),
            ("http://localhost.example.com/", true),
            ("http://localhost:3001/mcp", false),
            ("http://LOCALHOST./", false),
            ("http://127.1.2.3:1/", false),
            ("ws://[::1]:1/", false),
            ("https://example.com/mcp", false),
            ("tls+tcp://example.com:1", false),
            ("tcp://example.com:1", false),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().is_exposed(), exposed, "{text}");
        }
    }

    #[test]
    fn quotes_and_backslashes_group_words() {
        let words = split_words(r#"a 'b c' "d \" e" f\ g '' h"i"j"#).unwrap();
        assert_eq!(words, ["a", "b c", "d \" e", "f g", "", "hij"]);
    }
}
