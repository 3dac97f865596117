//! Where a server is: `tcp://host:port`, `unix:/path`, `stdio:COMMAND ARGS`.
//!
//! Words in, an [`Endpoint`] out that needs no further check; nothing is opened here. The
//! command of `stdio:` is split at white space, with `'...'`, `"..."` and `\` as a shell has
//! them, and nothing else of a shell: no variables, no globs. After `--` nothing is split.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The three ways to reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// A TCP connection.
    Tcp,
    /// A Unix socket.
    Unix,
    /// The pipes of a child process.
    Stdio,
}

/// One server, addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `host:port`; the host may be a name, an address, or an IPv6 address in brackets.
    Tcp(String),
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
    /// None of the three schemes.
    UnknownScheme,
    /// `tcp://` without a host, or without a port from 1 to 65535.
    BadAddress,
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
        }
    }
}

impl Endpoint {
    /// Reads a TARGET.
    pub(crate) fn parse(text: &str) -> Result<Self, EndpointError> {
        if let Some(address) = text.strip_prefix("tcp://") {
            return match address.trim_end_matches('/').rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                    Ok(Self::Tcp(format!("{host}:{port}")))
                }
                _ => Err(EndpointError::BadAddress),
            };
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is the same place spelled as a URL.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(EndpointError::NoPath) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(command) = text.strip_prefix("stdio:") {
            return Self::command(split_words(command)?.into_iter().map(OsString::from));
        }
        Err(EndpointError::UnknownScheme)
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
            Self::Unix(_) => Transport::Unix,
            Self::Stdio { .. } => Transport::Stdio,
        }
    }
}

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
            Self::UnknownScheme => "it begins with none of tcp://, unix:, stdio:",
            Self::BadAddress => "tcp:// needs host:port with a port from 1 to 65535",
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
        for text in ["tcp://localhost:7000", "tcp://[::1]:80", "unix:/tmp/s.sock", "stdio:node server.js -v"]
        {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Endpoint::parse("unix:///tmp/s"), Ok(Endpoint::Unix("/tmp/s".into())));
    }

    #[test]
    fn what_addresses_nothing_is_refused() {
        for (text, error) in [
            ("localhost:7000", EndpointError::UnknownScheme),
            ("http://localhost", EndpointError::UnknownScheme),
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
    fn quotes_and_backslashes_group_words() {
        let words = split_words(r#"a 'b c' "d \" e" f\ g '' h"i"j"#).unwrap();
        assert_eq!(words, ["a", "b c", "d \" e", "f g", "", "hij"]);
    }
}
