//! What is set for servers that are reached over HTTP: where exactly, with which headers, as whom.

use std::{fmt, sync::Arc, time::Duration};

use url::Url;

use super::credentials::{self, Credentials};
use crate::{error::Error, proto::http::settings::HttpSettings};

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

    /// The URL of the endpoint, without what is said of the transport.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
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

    /// What is offered for the protocol above TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn alpn(&self, version: HttpVersion) -> &'static [&'static [u8]] {
        match version {
            HttpVersion::Auto if cfg!(feature = "http2") => &[b"h2", b"http/1.1"],
            HttpVersion::Auto | HttpVersion::Http1 => &[b"http/1.1"],
            HttpVersion::Http2 => &[b"h2"],
        }
    }

    /// Does the host name this machine, so that nobody listens on the way?
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    /// What the core has to know.
    pub(crate) fn settings(
        &self,
        values: &HttpValues,
        headers: &[(String, String)],
        listen: bool,
    ) -> HttpSettings {
        let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", self.url.host_str().unwrap_or_default());
        HttpSettings {
            target: format!("{}{query}", self.url.path()),
            origin: format!("{}://{host}", self.url.scheme()),
            host,
            headers: headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.trim())).collect(),
            events_only: self.events_only,
            listen,
            may_multiplex: cfg!(feature = "http2")
                && match values.version {
                    // Without TLS nobody agrees on anything.
                    HttpVersion::Auto => self.is_tls(),
                    HttpVersion::Http1 => false,
                    HttpVersion::Http2 => true,
                },
            prior_knowledge: values.version == HttpVersion::Http2 && !self.is_tls(),
            idle_timeout: values.idle_timeout,
            oldest_first: values.reuse == HttpReuse::Oldest,
        }
    }
}

/// Does the host of `url` name this machine?
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
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
    pub(crate) idle_timeout: Duration,
    pub(crate) bearer: Option<String>,
    /// The environment variable with the token, until it is read.
    pub(super) bearer_env: Option<String>,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    pub(crate) listen: Option<bool>,
    pub(crate) version: HttpVersion,
    pub(crate) reuse: HttpReuse,
}

/// Which HTTP is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum HttpVersion {
    /// Over TLS whichever the server prefers (ALPN), HTTP/1.1 otherwise.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only: agreed on over TLS, taken for granted without. Needs the feature `http2`.
    Http2,
}

/// Which of the free sockets takes the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum HttpReuse {
    /// The one that was used last: the fewest sockets stay busy, and those that are not needed go.
    #[default]
    Newest,
    /// The one that has been free for longest: all sockets stay in use, which is for servers behind a balancer that spreads
    /// sockets, not requests, over machines.
    Oldest,
}

impl Default for HttpValues {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(4),
            bearer: None,
            bearer_env: None,
            credentials: None,
            listen: None,
            version: HttpVersion::Auto,
            reuse: HttpReuse::default(),
        }
    }
}

impl HttpValues {
    /// The value of `Authorization` for the configured token.
    pub(crate) fn authorization(&self) -> Option<Box<str>> {
        self.bearer.as_ref().map(|token| format!("Bearer {token}").into_boxed_str())
    }

    pub(crate) fn check(&mut self) -> Result<(), Error> {
        if let Some(name) = &self.bearer_env {
            if self.bearer.is_some() {
                return Err(Error::config("both bearer and bearer_env are set, one of them has to go"));
            }
            self.bearer = Some(credentials::from_environment(name)?);
            self.bearer_env = None;
        }
        if let Some(token) = &self.bearer {
            credentials::check_token(token).map_err(Error::config)?;
        }
        if self.version == HttpVersion::Http2 && cfg!(not(feature = "http2")) {
            return Err(Error::config("http_version is Http2, and HTTP/2 is not built in (feature `http2`)"));
        }
        if self.idle_timeout.is_zero() {
            return Err(Error::config("http_idle_timeout is zero, it must be longer"));
        }
        Ok(())
    }
}

/// Headers that the engine writes itself; so it does all that begin with `mcp-` and `sec-websocket-`.
const OWN_HEADERS: [&str; 11] = [
    "host",
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "last-event-id",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Can these headers stand in a request, and are they the caller's to set?
pub(super) fn check_headers(headers: &[(String, String)]) -> Result<(), Error> {
    for (name, value) in headers {
        // RFC 9110, 5.6.2.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Error::config(format!("the header name {name:?} is no HTTP token")));
        }
        let lower = name.to_ascii_lowercase();
        let ours = OWN_HEADERS.contains(&lower.as_str());
        if ours || lower.starts_with("sec-websocket-") || lower.starts_with("mcp-") {
            return Err(Error::config(format!("the header {name} is set by the engine and by nobody else")));
        }
        // The value may be a secret and is not repeated.
        if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            return Err(Error::config(format!(
                "the value of the header {name} has characters beyond printable ASCII"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_target_host_and_origin() {
        let endpoint = HttpEndpoint::parse("http://[::1]:8080/a/mcp?x=1#f").unwrap().unwrap();
        let settings = endpoint.settings(&HttpValues::default(), &[], false);
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
            check_headers(&[(name.to_owned(), value.to_owned())]).unwrap_err();
        }
        check_headers(&[("X-Api-Key".to_owned(), "k".to_owned())]).unwrap();
        let mut values = HttpValues { bearer: Some("a b".to_owned()), ..HttpValues::default() };
        assert!(!values.check().unwrap_err().to_string().contains("a b"));
        values.bearer = Some("abc".to_owned());
        values.check().unwrap();
    }

    #[test]
    fn a_variable_that_is_not_there_or_not_alone_is_named() {
        let name = "VOLLEY_TEST_NO_SUCH_VARIABLE";
        let with = |bearer: Option<&str>| {
            let (bearer, bearer_env) = (bearer.map(str::to_owned), Some(name.to_owned()));
            HttpValues { bearer, bearer_env, ..HttpValues::default() }.check().unwrap_err().to_string()
        };
        assert!(with(None).contains(name));
        assert!(with(Some("abc")).contains("bearer_env"));
    }
}
