//! The upgrade from HTTP/1.1 to WebSocket, without its socket: a request to write, an answer to judge (RFC 6455, 4.1).
//!
//! The subprotocol `mcp` is asked for. A server that chooses none is taken too, since some that speak MCP never learnt to; one
//! that chooses another is refused. Bound: `UPGRADE_BYTES_MAX` for the answer. Proof: below.

use tungstenite::handshake::{client::generate_key, derive_accept_key};

use crate::base::limits::UPGRADE_BYTES_MAX;

/// The request, what of it has been written, and what of the answer has come.
#[derive(Debug)]
pub(super) struct Upgrade {
    request: Vec<u8>,
    written: usize,
    answer: Vec<u8>,
    accept: String,
}

/// Where the upgrade stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Upgraded {
    NotYet,
    Yes {
        /// What came behind the answer: the first frames.
        early: Vec<u8>,
    },
}

/// Headers of the answer that are looked at.
const HEADERS_MAX: usize = 64;

impl Upgrade {
    /// `request` lacks the key and the empty line.
    pub(super) fn new(request: &str) -> Self {
        let key = generate_key();
        Self {
            request: format!("{request}Sec-WebSocket-Key: {key}\r\n\r\n").into_bytes(),
            written: 0,
            answer: Vec::new(),
            accept: derive_accept_key(key.as_bytes()),
        }
    }

    /// What is still to be written.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.request[self.written..]
    }

    /// The link took `bytes` of it.
    pub(super) fn written(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// More of the answer. `Err`: why this is no WebSocket.
    pub(super) fn handle(&mut self, bytes: &[u8]) -> Result<Upgraded, String> {
        self.answer.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut headers);
        let end = match answer.parse(&self.answer) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) if self.answer.len() <= UPGRADE_BYTES_MAX => {
                return Ok(Upgraded::NotYet);
            }
            Ok(httparse::Status::Partial) => {
                return Err(format!(
                    "the server's answer to the WebSocket upgrade is longer than {UPGRADE_BYTES_MAX} bytes"
                ));
            }
            Err(error) => {
                return Err(format!("the server's answer to the WebSocket upgrade is no HTTP: {error}"));
            }
        };
        if answer.code != Some(101) {
            return Err(format!(
                "the server answered the WebSocket upgrade with {} {}",
                answer.code.unwrap_or_default(),
                answer.reason.unwrap_or_default()
            ));
        }
        // Of a list that is spread over several headers each has its say.
        let values = |name: &'static str| {
            answer
                .headers
                .iter()
                .filter(move |header| header.name.eq_ignore_ascii_case(name))
                .map(|header| String::from_utf8_lossy(header.value).trim().to_owned())
        };
        let has = |name, word: &str| {
            values(name).any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(word)))
        };
        if !has("upgrade", "websocket") || !has("connection", "upgrade") {
            return Err("the server's 101 upgrades to something that is not WebSocket".to_owned());
        }
        if values("sec-websocket-accept").next().as_ref() != Some(&self.accept) {
            return Err(
                "the server's Sec-WebSocket-Accept does not answer this request: a proxy in between?"
                    .to_owned(),
            );
        }
        if let Some(other) = values("sec-websocket-protocol").find(|chosen| chosen != "mcp") {
            return Err(format!("the server chose the subprotocol {other:?}, expected \"mcp\""));
        }
        if let Some(extension) = values("sec-websocket-extensions").next() {
            return Err(format!("the server uses the extension {extension:?}, none was offered"));
        }
        Ok(Upgraded::Yes { early: self.answer.split_off(end) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(upgrade: &Upgrade, more: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{more}\r\n",
            upgrade.accept
        )
    }

    #[test]
    fn an_answer_is_found_at_any_cut_and_what_follows_is_kept() {
        let model = Upgrade::new("GET / HTTP/1.1\r\n");
        let answer = agreed(&model, "Sec-WebSocket-Protocol: mcp\r\n") + "\u{1}frames";
        for cut in 0..answer.len() {
            let mut upgrade = Upgrade { accept: model.accept.clone(), ..Upgrade::new("") };
            let first = upgrade.handle(&answer.as_bytes()[..cut]).unwrap();
            let (early, at) = match first {
                Upgraded::Yes { early } => (early, cut),
                Upgraded::NotYet => match upgrade.handle(&answer.as_bytes()[cut..]).unwrap() {
                    Upgraded::Yes { early } => (early, answer.len()),
                    Upgraded::NotYet => panic!("not at cut {cut}"),
                },
            };
            assert_eq!(early, &b"\x01frames"[..7 - (answer.len() - at)], "cut {cut}");
        }
    }

    #[test]
    fn the_request_ends_with_its_key() {
        let mut upgrade = Upgrade::new("GET / HTTP/1.1\r\n");
        let text = String::from_utf8(upgrade.waiting().to_vec()).unwrap();
        assert!(
            text.starts_with("GET / HTTP/1.1\r\nSec-WebSocket-Key: ") && text.ends_with("==\r\n\r\n"),
            "{text}"
        );
        upgrade.written(text.len());
        assert!(upgrade.waiting().is_empty());
    }

    #[test]
    fn what_is_no_agreement_is_refused_with_its_reason() {
        type Answer = fn(&Upgrade) -> String;
        let answers: [(Answer, &str); 8] = [
            (|_| "HTTP/1.1 401 Unauthorized\r\n\r\n".into(), "401 Unauthorized"),
            (|_| "\0\0\0".into(), "no HTTP"),
            (|_| "HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".into(), "not WebSocket"),
            (|_| "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n".into(), "not WebSocket"),
            (
                |_| "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".into(),
                "Sec-WebSocket-Accept",
            ),
            (|upgrade| agreed(upgrade, "Sec-WebSocket-Protocol: chat\r\n"), "\"chat\", expected \"mcp\""),
            (|upgrade| agreed(upgrade, "Sec-WebSocket-Extensions: x-deflate\r\n"), "\"x-deflate\""),
            (|_| format!("HTTP/1.1 101 X\r\nA: {}", "x".repeat(UPGRADE_BYTES_MAX)), "longer than"),
        ];
        for (answer, reason) in answers {
            let mut upgrade = Upgrade::new("");
            let answer = answer(&upgrade);
            let error = upgrade.handle(answer.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
