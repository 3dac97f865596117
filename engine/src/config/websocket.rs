//! The request that opens a WebSocket, as it is configured: host, path, extra headers.

use std::{fmt, sync::Arc};

use super::endpoint::Bracketed;
use crate::error::Error;

/// What a WebSocket is opened with.
#[derive(Clone)]
pub(crate) struct WebSocketDial {
    /// The request without the key and the empty line at its end.
    pub(crate) request: Arc<str>,
}

impl fmt::Debug for WebSocketDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The headers may carry secrets.
        let first = self.request.lines().next().unwrap_or_default();
        f.debug_struct("WebSocketDial").field("request", &first).finish_non_exhaustive()
    }
}

impl WebSocketDial {
    /// `path` begins with a slash and has no blank, as every [`Endpoint`](crate::Endpoint) that was parsed; others are refused.
    pub(super) fn new(
        secure: bool,
        host: &str,
        port: u16,
        path: &str,
        headers: &[(String, String)],
    ) -> Result<Self, Error> {
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::config(format!(
                "the WebSocket path {path:?} must begin with a slash and have no blanks and no raw non-ASCII characters"
            )));
        }
        if host.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(Error::config(format!("the WebSocket host {host:?} is no host name")));
        }
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {}", Bracketed(host));
        if port != if secure { 443 } else { 80 } {
            request.push_str(&format!(":{port}"));
        }
        request.push_str("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
        request.push_str("Sec-WebSocket-Protocol: mcp\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        Ok(Self { request: request.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn headers_that_could_break_the_request_are_refused_without_repeating_their_value() {
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("X-Secret", "hunter2\r\nHost: elsewhere"),
            ("Authorization", "hunter2\u{e9}"),
            ("Host", "x"),
            ("sec-websocket-key", "x"),
        ] {
            let error = Config::builder().header(name, value).build().unwrap_err().to_string();
            assert!(error.contains("header") && !error.contains("hunter2"), "{error}");
        }
        Config::builder().header("Authorization", "Bearer abc").build().unwrap();
    }

    #[test]
    fn a_path_or_host_that_could_break_the_request_is_refused() {
        for (host, path) in [("h", "x"), ("h", "/a b"), ("h", "/\r\n"), ("h\r\n", "/")] {
            WebSocketDial::new(false, host, 80, path, &[]).unwrap_err();
        }
        let dial = WebSocketDial::new(true, "::1", 8443, "/mcp?x=1", &[("A".into(), "b".into())]).unwrap();
        assert!(
            dial.request.starts_with("GET /mcp?x=1 HTTP/1.1\r\nHost: [::1]:8443\r\n"),
            "{}",
            dial.request
        );
        assert!(dial.request.ends_with("A: b\r\n"));
        assert!(!format!("{dial:?}").contains("A: b"));
    }
}
