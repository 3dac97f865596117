//! The request that opens a WebSocket, and the two answers to it.
//!
//! Clauses: RFC 6455 sections 4.2.1 and 4.2.2. Proof: `websocket_tests`.

use super::answer::{self, Manner};
use super::endpoint::{is_loopback, is_own_origin};
use super::request::{Read, Reader};

/// The request that is being read.
pub(in super::super) struct Opening(Reader);

impl Opening {
    pub(in super::super) fn new() -> Self {
        Self(Reader::new(0))
    }

    /// The client's key and the length of its request; `None` while it is not whole, or the
    /// status of a refusal.
    pub(in super::super) fn read(&mut self, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let (head, length) = match self.0.read(bytes) {
            Read::More { .. } => return Ok(None),
            Read::Refused(status) => return Err(status),
            Read::Whole { head, bytes, .. } => (head, bytes),
        };
        if !head.host.is_some_and(is_loopback) || !head.origin.is_none_or(is_own_origin) {
            return Err(403);
        }
        if head.method != "GET" {
            return Err(405);
        }
        let is_upgrade = head.upgrade.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
        if !is_upgrade || head.websocket_version != Some(b"13") {
            return Err(426);
        }
        let offered = head.websocket_protocols.unwrap_or_default().split(|&byte| byte == b',');
        let speaks_mcp = offered.map(<[u8]>::trim_ascii).any(|offer| offer == SUBPROTOCOL.as_bytes());
        let key = head.websocket_key.filter(|_| speaks_mcp).ok_or(400_u16)?;
        Ok(Some((key.to_vec(), length)))
    }
}

/// Appends the answer that begins the frames.
pub(in super::super) fn put_switch(out: &mut Vec<u8>, accept: &str) {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\nsec-websocket-protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
}

/// Appends the answer that ends the connection.
pub(in super::super) fn put_refusal(out: &mut Vec<u8>, status: u16) {
    let version: &[u8] =
        if status == 426 { b"upgrade: websocket\r\nsec-websocket-version: 13\r\n" } else { b"" };
    answer::put_whole(out, status, None, &[version], b"", Manner { closes: true, is_old: false });
}

const SUBPROTOCOL: &str = "mcp";
