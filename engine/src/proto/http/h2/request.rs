//! The head of a request as HTTP/2 wants it: pseudo-headers, names in lower case, nothing about the connection.
//!
//! Unit: one head. Cost: one pass over its text, and memory for the map of its headers. Owner: nobody. Always: what would be
//! refused for what it says of the connection is left out; what cannot be said is an error. Proof:
//! `a_head_of_http_1_says_the_same`, below. Follows: RFC 9113, section 8.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a str,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// `Name: value` lines, each with its end. Blank lines, `Host` and what concerns the connection are passed over.
    pub(crate) headers: &'a str,
}

impl<'a> RequestHead<'a> {
    /// The head that was written for HTTP/1.1: all before the body.
    pub(crate) fn of_http_1(scheme: &'a str, written: &'a [u8]) -> Option<Self> {
        let written = std::str::from_utf8(written).ok()?;
        let (line, headers) = written.split_once("\r\n")?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let host = |line: &'a str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("host").then(|| value.trim_matches([' ', '\t']))
        };
        let authority = headers.split("\r\n").find_map(host)?;
        Some(Self { method, scheme, authority, target, headers })
    }

    /// The head as the `h2` crate takes it, or why it has no such form.
    pub(super) fn request(&self) -> Result<Request<()>, String> {
        let uri = Uri::builder().scheme(self.scheme).authority(self.authority).path_and_query(self.target);
        let uri = uri.build().map_err(|error| format!("{:?} is no target: {error}", self.target))?;
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = Method::from_bytes(self.method.as_bytes())
            .map_err(|error| format!("{:?} is no method: {error}", self.method))?;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.fields()?;
        Ok(request)
    }

    fn fields(&self) -> Result<HeaderMap, String> {
        let mut fields = HeaderMap::with_capacity(16);
        for line in self.headers.split("\r\n").filter(|line| !line.is_empty()) {
            let field = line.split_once(':').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes()).ok()?;
                Some((name, value))
            });
            // Not the line itself: it may hold a token.
            let (name, value) = field.ok_or("a header has a byte that headers cannot have")?;
            if !OF_THE_CONNECTION.contains(&name) && name != header::HOST {
                let fits = fields.try_append(name, value);
                fits.map_err(|error| error.to_string())?;
            }
        }
        Ok(fields)
    }
}

/// Headers that speak of one connection, which an HTTP/2 request must not have.
const OF_THE_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_http_1_says_the_same() {
        let written = b"POST /mcp?x=1 HTTP/1.1\r\nHost: localhost:8080\r\nAccept: application/json\r\n\
            Connection: keep-alive\r\nKeep-Alive: 5\r\nX-Own: 1\r\nX-Own: 2\r\nMcp-Name: a: b\r\nContent-Length: 2\r\n\r\n";
        let head = RequestHead::of_http_1("http", written).unwrap();
        let request = head.request().unwrap();
        assert_eq!(request.uri().to_string(), "http://localhost:8080/mcp?x=1");
        assert_eq!((request.method(), request.version()), (&Method::POST, Version::HTTP_2));
        let fields: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(
            fields,
            ["accept: application/json", "x-own: 1", "x-own: 2", "mcp-name: a: b", "content-length: 2"]
        );
    }

    #[test]
    fn what_cannot_be_said_is_an_error_and_shows_no_value() {
        assert!(
            RequestHead::of_http_1("http", b"POST / HTTP/1.1\r\nAccept: */*\r\n\r\n").is_none(),
            "no host"
        );
        assert!(RequestHead::of_http_1("http", b"\xff").is_none());
        let head = RequestHead {
            method: "POST",
            scheme: "https",
            authority: "a",
            target: "/",
            headers: "Authorization: Bearer s\u{1}cret\r\n",
        };
        assert!(!head.request().unwrap_err().contains("cret"));
        assert!(RequestHead { headers: "no colon\r\n", ..head }.request().is_err());
        assert!(RequestHead { headers: "", target: "a b", ..head }.request().is_err());
        assert!(RequestHead { headers: "", method: "P T", ..head }.request().is_err());
    }
}
