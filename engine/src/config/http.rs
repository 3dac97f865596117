//! What is set for servers that are reached over HTTP: where exactly, with which headers, as whom.

use std::{fmt, time::Duration};

use url::Url;

use crate::{error::Error, proto::http::pool::HttpSettings};

/// The address of a server that is reached over HTTP.
///
/// Which of the HTTP transports it speaks, and in which era, is found out when the first connection is opened; a URL written
/// `sse+http://…` says that it speaks HTTP+SSE (MCP 2024-11-05) and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpEndpoint {
    url: Url,
    events_only: bool,
}

impl HttpEndpoint {
    /// Reads `http://…`, `https://…`, `sse+http://…` or `sse+https://…`; `None` for another scheme.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, String>> {
        let (rest, events_only) = match text.strip_prefix("sse+") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if !rest.starts_with("http://") && !rest.starts_with("https://") {
            return None;
        }
        Some(match Url::parse(rest) {
            Err(error) => Err(format!("no URL: {error}")),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                Err("user and password in a URL end up in logs; use a header or a bearer token".to_owned())
            }
            Ok(url) if url.host().is_none() => Err("no host".to_owned()),
            Ok(mut url) => {
                // A fragment is never sent.
                url.set_fragment(None);
                Ok(Self { url, events_only })
            }
        })
    }

    /// Is it reached over TLS?
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host name or address, without brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.url.host_str().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(80)
    }

    /// Does the host name this machine, so that nobody listens on the way?
    pub fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// What the core has to know.
    pub(crate) fn settings(&self, values: &HttpValues, listen: bool) -> HttpSettings {
        let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", self.url.host_str().unwrap_or_default());
        HttpSettings {
            target: format!("{}{query}", self.url.path()),
            origin: format!("{}://{host}", self.url.scheme()),
            host,
            headers: values.headers.clone(),
            events_only: self.events_only,
            listen,
            idle_timeout: values.idle_timeout,
        }
    }
}

impl fmt::Display for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.events_only { "sse+" } else { "" }, self.url)
    }
}

impl fmt::Debug for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpEndpoint({self})")
    }
}

/// The settings of [`ConfigBuilder`](super::ConfigBuilder) that only matter over HTTP.
#[derive(Clone)]
pub(crate) struct HttpValues {
    /// Headers of the user, each a whole line.
    pub(crate) headers: String,
    pub(crate) idle_timeout: Duration,
    pub(crate) bearer: Option<String>,
    pub(crate) listen: Option<bool>,
    /// The first header that cannot be sent, and why.
    pub(crate) bad_header: Option<String>,
}

impl Default for HttpValues {
    fn default() -> Self {
        Self {
            headers: String::new(),
            idle_timeout: Duration::from_secs(30),
            bearer: None,
            listen: None,
            bad_header: None,
        }
    }
}

/// Headers that the engine writes itself.
const OWN_HEADERS: [&str; 12] = [
    "host",
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "last-event-id",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl HttpValues {
    pub(crate) fn header(&mut self, name: &str, value: &str) {
        let lower = name.to_ascii_lowercase();
        let own = OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("mcp-");
        let why = if !is_token(name) {
            "its name is no token"
        } else if own {
            "the engine writes it itself"
        } else if !value.bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte)) {
            "its value is not printable ASCII"
        } else {
            self.headers.push_str(&format!("{name}: {}\r\n", value.trim()));
            return;
        };
        // The value may be a secret.
        self.bad_header.get_or_insert_with(|| format!("header {name:?}: {why}"));
    }

    /// The value of `Authorization` for the configured token.
    pub(crate) fn authorization(&self) -> Option<Box<str>> {
        self.bearer.as_ref().map(|token| format!("Bearer {token}").into_boxed_str())
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(bad) = &self.bad_header {
            return Err(Error::config(bad.clone()));
        }
        if let Some(token) = &self.bearer
            && (token.is_empty() || !token.bytes().all(|byte| (0x21..0x7f).contains(&byte)))
        {
            // Not a word of the token itself: errors are logged.
            return Err(Error::config(format!(
                "the bearer token of {} bytes is empty or has characters that no token has",
                token.len()
            )));
        }
        if self.idle_timeout.is_zero() {
            return Err(Error::config("http_idle_timeout is zero, it must be longer"));
        }
        Ok(())
    }
}

/// RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_target_host_and_origin() {
        let endpoint = HttpEndpoint::parse("http://[::1]:8080/a/mcp?x=1#f").unwrap().unwrap();
        let settings = endpoint.settings(&HttpValues::default(), false);
        assert_eq!(settings.target, "/a/mcp?x=1");
        assert_eq!(settings.host, "[::1]:8080");
        assert_eq!(settings.origin, "http://[::1]:8080");
        assert_eq!((endpoint.host(), endpoint.port(), endpoint.is_loopback()), ("::1", 8080, true));
        let endpoint = HttpEndpoint::parse("sse+https://example.org").unwrap().unwrap();
        assert_eq!(endpoint.to_string(), "sse+https://example.org/");
        assert_eq!((endpoint.port(), endpoint.is_tls(), endpoint.is_loopback()), (443, true, false));
    }

    #[test]
    fn secrets_in_urls_and_headers_of_the_engine_are_refused() {
        assert!(HttpEndpoint::parse("http://user:secret@h/").unwrap().is_err());
        assert!(HttpEndpoint::parse("ftp://h/").is_none());
        for (name, value) in [("Host", "x"), ("Mcp-Name", "x"), ("a b", "x"), ("X", "a\r\nb"), ("", "x")] {
            let mut values = HttpValues::default();
            values.header(name, value);
            assert!(values.check().is_err(), "{name:?}: {value:?}");
            assert!(values.headers.is_empty());
        }
        let mut values = HttpValues { bearer: Some("a b".to_owned()), ..HttpValues::default() };
        assert!(!values.check().unwrap_err().to_string().contains("a b"));
        values.bearer = Some("abc".to_owned());
        values.header("X-Api-Key", " k ");
        values.check().unwrap();
        assert_eq!(values.headers, "X-Api-Key: k\r\n");
    }
}
