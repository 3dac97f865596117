//! What goes with a target on the web: headers, a bearer token, trusted certificates, a version of HTTP.
//!
//! Words in, a [`Web`] out. The variable of `--bearer-env` and the file of `--ca` are read here, once. Header values and the
//! token are secrets: they stand in no refusal, in no `Debug` text and in no result. Whether a header or a certificate can be
//! used is the engine's to say, before anything is opened.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::endpoint::Transport;
use crate::refusal::Refusal;

/// The words of `loadgen run` about targets on the web.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct WebArgs {
    /// Send this header with each request over HTTP and with the one that opens a WebSocket; may be repeated
    #[arg(short = 'H', long, value_name = "'NAME: VALUE'", help_heading = "HTTP and TLS")]
    pub(crate) header: Vec<String>,
    /// Send the value of this environment variable as bearer token; it is shown nowhere
    #[arg(long, value_name = "NAME", help_heading = "HTTP and TLS")]
    pub(crate) bearer_env: Option<String>,
    /// Trust the certificates in this PEM file too
    #[arg(long, value_name = "FILE", help_heading = "HTTP and TLS")]
    pub(crate) ca: Option<PathBuf>,
    /// Speak HTTP/1.1 and nothing newer
    #[arg(long, conflicts_with = "http2", help_heading = "HTTP and TLS")]
    pub(crate) http1: bool,
    /// Speak HTTP/2 and nothing older; without TLS the server has to expect it
    #[arg(long, help_heading = "HTTP and TLS")]
    pub(crate) http2: bool,
}

/// The same, judged.
#[derive(Clone, Default)]
pub(crate) struct Web {
    /// Names and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The token itself.
    pub(crate) bearer: Option<String>,
    /// Certificates to trust, in PEM.
    pub(crate) ca: Option<Vec<u8>>,
    /// What to speak.
    pub(crate) version: HttpVersion,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    /// Over TLS whichever the server prefers, HTTP/1.1 otherwise.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Web {
    /// Judges the words for a target that is reached like this.
    ///
    /// # Errors
    ///
    /// The first word that cannot be, or that means nothing for this transport.
    pub(crate) fn from_words(words: &WebArgs, transport: Transport) -> Result<Self, Refusal> {
        for (flag, given, meant) in [
            ("--header", !words.header.is_empty(), transport.has_headers()),
            ("--bearer-env", words.bearer_env.is_some(), transport.has_headers()),
            ("--ca", words.ca.is_some(), transport.is_tls()),
            ("--http1", words.http1, transport.is_http()),
            ("--http2", words.http2, transport.is_http()),
        ] {
            if given && !meant {
                let wrong = format!("it means nothing over {}", transport.name());
                return Err(Refusal { flag, value: String::new(), wrong, hint: "leave it out" });
            }
        }
        let headers = words.header.iter().map(|text| header(text)).collect::<Result<Vec<_>, _>>()?;
        let bearer = words.bearer_env.as_deref().map(token).transpose()?;
        if bearer.is_some() && headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            return Err(Refusal {
                flag: "--bearer-env",
                value: String::new(),
                wrong: "there is a header Authorization already".into(),
                hint: "leave out one of the two",
            });
        }
        Ok(Self {
            headers,
            bearer,
            ca: words.ca.as_deref().map(certificates).transpose()?,
            version: match (words.http1, words.http2) {
                (true, _) => HttpVersion::Http1,
                (_, true) => HttpVersion::Http2,
                _ => HttpVersion::Auto,
            },
        })
    }
}

/// Splits `Name: value`. What stands after the colon is not repeated in a refusal.
fn header(text: &str) -> Result<(String, String), Refusal> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(Refusal {
            flag: "--header",
            value: String::new(),
            wrong: format!("no name and colon at the begin of {} bytes", text.len()),
            hint: "write it like 'X-Api-Key: value'",
        }),
    }
}

/// The value of a variable of the environment.
fn token(name: &str) -> Result<String, Refusal> {
    let refuse = |wrong: &str| {
        let hint = "name a variable of the environment that holds the token";
        Err(Refusal { flag: "--bearer-env", value: name.to_owned(), wrong: wrong.to_owned(), hint })
    };
    // The library panics, or may, for names that no variable can have.
    if name.is_empty() || name.contains(['=', '\0']) {
        return refuse("no variable can have this name");
    }
    match std::env::var(name) {
        Ok(token) if token.is_empty() => refuse("the variable is empty"),
        Ok(token) => Ok(token),
        Err(std::env::VarError::NotPresent) => refuse("there is no such variable"),
        Err(std::env::VarError::NotUnicode(_)) => refuse("the variable is no text"),
    }
}

fn certificates(path: &Path) -> Result<Vec<u8>, Refusal> {
    let refuse = |wrong| Refusal {
        flag: "--ca",
        value: path.display().to_string(),
        wrong,
        hint: "name a file with certificates in PEM",
    };
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(CA_BYTES_MAX + 1).read_to_end(&mut pem));
    read.map_err(|error| refuse(format!("it cannot be read: {error}")))?;
    match pem.len() as u64 > CA_BYTES_MAX {
        true => Err(refuse(format!("more than {CA_BYTES_MAX} bytes"))),
        false => Ok(pem),
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web")
            .field("headers", &self.headers.len())
            .field("has_bearer", &self.bearer.is_some())
            .field("has_ca", &self.ca.is_some())
            .field("version", &self.version)
            .finish()
    }
}

/// All roots that a system trusts take about 220 KiB.
const CA_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn words(change: impl FnOnce(&mut WebArgs)) -> WebArgs {
        let mut words = WebArgs::default();
        change(&mut words);
        words
    }

    fn refused(transport: Transport, change: impl FnOnce(&mut WebArgs)) -> String {
        Web::from_words(&words(change), transport).unwrap_err().to_string()
    }

    #[test]
    fn what_means_nothing_over_a_transport_is_refused_by_name() {
        let header = |words: &mut WebArgs| words.header.push("A: b".into());
        assert_eq!(refused(Transport::Tcp, header), "--header: it means nothing over tcp; leave it out");
        assert!(refused(Transport::Http, |words| words.ca = Some("x".into())).starts_with("--ca: "));
        assert!(refused(Transport::Ws, |words| words.http2 = true).starts_with("--http2: "));
        assert!(refused(Transport::Tls, |words| words.bearer_env = Some("X".into())).contains("tls+tcp"));
    }

    #[test]
    fn secrets_stand_in_no_refusal_and_in_no_debug_text() {
        let no_name = refused(Transport::Http, |words| words.header.push(":hunter2".into()));
        assert!(no_name.contains("8 bytes") && !no_name.contains("hunter2"), "{no_name}");
        // A variable that is there wherever cargo runs tests.
        let name = "CARGO_PKG_NAME";
        let token = std::env::var(name).unwrap();
        let twice = refused(Transport::Http, |words| {
            words.header.push("authorization: Basic hunter2".into());
            words.bearer_env = Some(name.into());
        });
        assert!(twice.contains("Authorization already") && !twice.contains("hunter2"), "{twice}");
        let web = words(|words| {
            words.header.push("X-Key : hunter2 ".into());
            words.bearer_env = Some(name.into());
        });
        let web = Web::from_words(&web, Transport::Https).unwrap();
        assert_eq!(web.headers, [("X-Key".to_owned(), "hunter2".to_owned())]);
        assert_eq!(web.bearer.as_deref(), Some(token.as_str()));
        let shown = format!("{web:?}");
        assert!(!shown.contains("hunter2") && !shown.contains(&token), "{shown}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let gone = refused(Transport::Https, |words| words.ca = Some("/no/such/file".into()));
        assert!(gone.starts_with("--ca `/no/such/file`: it cannot be read"), "{gone}");
        for name in ["", "A=B", "LOADGEN_NO_SUCH_VARIABLE"] {
            assert!(
                refused(Transport::Ws, |words| words.bearer_env = Some(name.into())).contains("variable")
            );
        }
    }
}
