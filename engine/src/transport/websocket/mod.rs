//! WebSocket (RFC 6455) over a TCP or TLS link, shown to the shard as a stream of lines.
//!
//! The upgrade is part of connecting. Then each message of the server, text or binary, comes up as one line, and each line that
//! goes down leaves as one text message; so the protocol core knows nothing of frames. Payloads are passed on as they come in:
//! no message is gathered here, whatever its length, and one beyond `frame_bytes_max` is skipped above like any other long line
//! and fails only its own call. A line that goes down is gathered until its line feed, since a frame begins with its length.
//!
//! What [`WebSocket::write`] takes counts as "may have left", also the beginning of a line whose frame is not yet made: a call is
//! then `Unknown` where it might be `NotSent`, never the other way round.
//!
//! A ping is answered; of several that wait for the kernel, only the last (RFC 6455, 5.5.3 allows that). A close is
//! answered and is the end of the stream, with its code and words as the reason.
//!
//! Bounds: `UPGRADE_BYTES_MAX` while connecting; one write of the shard, framed, and one unfinished line out; 14 bytes of a header
//! and 125 of a control frame in. Owner: one connection. Proof: below, in `frames`, and `tests/integration/websocket.rs`.

pub(crate) mod frames;
mod upgrade;

use std::io;

use mio::net::TcpStream;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use super::link::Link;
use crate::{
    base::limits::{FRUITLESS_READS_MAX, OUTBOX_BYTES_KEPT},
    config::websocket::WebSocketDial,
};

use frames::{Framer, Heard, Unframer};
use upgrade::{Upgrade, Upgraded};

/// A WebSocket client on its link. Dropping it says good-bye to the server if the kernel takes it.
#[derive(Debug)]
pub(crate) struct WebSocket {
    link: Link,
    is_linked: bool,
    /// There while the server has not agreed yet.
    upgrade: Option<Upgrade>,
    /// What came behind the server's agreement and has not been read yet.
    early: Vec<u8>,
    unframer: Unframer,
    framer: Framer,
    /// Frames of which `sent` bytes are gone.
    outgoing: Vec<u8>,
    sent: usize,
    /// The answer to the last ping, or to a close, when it has not become a frame yet.
    reply: Option<(Control, Vec<u8>)>,
    /// The last read filled all it was given.
    filled: bool,
    /// The end of the stream and its reason: the server closed, or broke the protocol.
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Closed(String),
    Broken(String),
}

impl WebSocket {
    /// On a link that may still be connecting.
    pub(super) fn new(link: Link, dial: &WebSocketDial) -> Self {
        Self {
            link,
            is_linked: false,
            upgrade: Some(Upgrade::new(&dial.request)),
            early: Vec::new(),
            unframer: Unframer::default(),
            framer: Framer::new(),
            outgoing: Vec::new(),
            sent: 0,
            reply: None,
            filled: false,
            end: None,
        }
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        self.link.socket()
    }

    /// Is somebody there, handshakes aside?
    pub(super) fn has_reached(&self) -> bool {
        self.link.has_reached()
    }

    /// Goes on with connecting, TLS and the upgrade. `Ok(false)`: not there yet.
    pub(super) fn is_connected(&mut self) -> io::Result<bool> {
        self.is_linked = self.is_linked || self.link.is_connected()?;
        if !self.is_linked {
            return Ok(false);
        }
        let Some(upgrade) = &mut self.upgrade else { return Ok(true) };
        while !upgrade.waiting().is_empty() {
            match self.link.write(upgrade.waiting()) {
                Ok(n) => upgrade.written(n),
                Err(error) if is_not_yet(&error) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.link.flush() {
            Err(error) if !is_not_yet(&error) => return Err(error),
            _ => {}
        }
        let (mut space, mut fruitless) = ([0; 4096], 0);
        loop {
            match self.link.read(&mut space) {
                // A session under it that has only itself in mind gets this far and no farther.
                Err(error)
                    if error.kind() == io::ErrorKind::Interrupted && fruitless < FRUITLESS_READS_MAX =>
                {
                    fruitless += 1;
                }
                Ok(0) => {
                    let what = "the server hung up in the WebSocket handshake";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
                }
                Ok(n) => match upgrade.handle(&space[..n]).map_err(invalid)? {
                    Upgraded::NotYet => {}
                    Upgraded::Yes { early } => {
                        (self.early, self.filled, self.upgrade) = (early, n == space.len(), None);
                        return Ok(true);
                    }
                },
                Err(error) if is_not_yet(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Lines. `Ok(0)` is the end; [`Self::why_ended`] has the server's words. `Interrupted`: it says a lot and none of it is for the
    /// protocol; come again.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        for _ in 0..FRUITLESS_READS_MAX {
            match &self.end {
                Some(End::Closed(_)) => return Ok(0),
                Some(End::Broken(reason)) => return Err(invalid(reason.clone())),
                None => {}
            }
            // One byte is left free in front, for the line feed of a message whose header came with an earlier read.
            let raw = space.get_mut(1..).unwrap_or_default();
            let n = if self.early.is_empty() {
                let n = self.link.read(raw)?;
                self.filled = n == raw.len();
                n
            } else {
                let n = self.early.len().min(raw.len());
                raw[..n].copy_from_slice(&self.early[..n]);
                self.early.drain(..n);
                n
            };
            if n == 0 {
                return Ok(0);
            }
            let lines = self.unframe(&mut space[..=n]);
            // A reply. When the kernel is full the poll will tell; and if the socket has failed, so does the next read.
            let _ = self.flush();
            if lines > 0 {
                return Ok(lines);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Turns raw bytes from the second one on into lines from the first one on, and says how many bytes they are.
    fn unframe(&mut self, space: &mut [u8]) -> usize {
        let Self { unframer, reply, end, .. } = self;
        let hear = |heard: Heard<'_>| match heard {
            Heard::Ping(payload) => *reply = Some((Control::Pong, payload.to_vec())),
            Heard::Close { echo, reason } => {
                *reply = Some((Control::Close, echo.to_vec()));
                *end = Some(End::Closed(reason));
            }
        };
        let (lines, fault) = unframer.unframe(space, 1, hear);
        if let Some(fault) = fault {
            self.end = Some(End::Broken(format!("the server broke the WebSocket protocol: {fault}")));
        }
        lines
    }

    /// After a read that was short: is there more that the poll will not tell of?
    pub(super) fn may_have_more(&self) -> bool {
        self.filled || !self.early.is_empty() || self.end.is_some() || self.link.may_have_more()
    }

    /// Why the stream ended, if the server said so.
    pub(super) fn why_ended(&self) -> Option<&str> {
        match &self.end {
            Some(End::Closed(reason) | End::Broken(reason)) => Some(reason),
            None => None,
        }
    }

    /// Takes lines or parts of lines. `WouldBlock`: frames from before still wait.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(reason) = self.why_ended() {
            // Nothing may be said after a close, and what has not left has not been sent.
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, reason.to_owned()));
        }
        self.flush()?;
        // No more than the frames' memory is kept for, so that it is not grown and shrunk by each write.
        let bytes = &bytes[..bytes.len().min(OUTBOX_BYTES_KEPT)];
        self.framer.frame_lines(bytes, &mut self.outgoing);
        // It is ours now and may have left. If the socket has failed, the next read, write or flush says so.
        let _ = self.flush();
        Ok(bytes.len())
    }

    /// Do frames or a reply wait?
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.outgoing.len() || self.reply.is_some() || self.link.has_unsent()
    }

    /// Writes the frames and the reply that wait. `WouldBlock`: not all of them.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        loop {
            while self.sent < self.outgoing.len() {
                match self.link.write(&self.outgoing[self.sent..])? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    n => self.sent += n,
                }
            }
            self.sent = 0;
            self.outgoing.clear();
            if self.outgoing.capacity() > 2 * OUTBOX_BYTES_KEPT {
                self.outgoing.shrink_to(OUTBOX_BYTES_KEPT);
            }
            match self.reply.take() {
                Some((kind, payload)) => {
                    self.framer.frame(OpCode::Control(kind), &payload, &mut self.outgoing);
                }
                None => return self.link.flush(),
            }
        }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        if self.upgrade.is_none() && self.end.is_none() {
            // 1000: done with it. As good as it gets; nobody waits for a kernel that is full.
            self.reply = Some((Control::Close, 1000u16.to_be_bytes().to_vec()));
        }
        let _ = self.flush();
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;

    /// A WebSocket on loopback that is past its upgrade, and the server's end.
    fn open() -> (WebSocket, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let (server, _) = listener.accept().unwrap();
        let socket = WebSocket {
            link: Link::Plain(TcpStream::from_std(client)),
            is_linked: true,
            upgrade: None,
            early: Vec::new(),
            unframer: Unframer::default(),
            framer: Framer::new(),
            outgoing: Vec::new(),
            sent: 0,
            reply: None,
            filled: false,
            end: None,
        };
        (socket, server)
    }

    /// However much is said that is not for the protocol, one look takes a part of it; what comes behind it comes.
    #[test]
    fn a_flood_of_pings_is_read_in_pieces() {
        let (mut socket, mut server) = open();
        let mut space = vec![0; 1024];
        let pings = b"\x89\x00".repeat(FRUITLESS_READS_MAX * 1024);
        server.write_all(&pings).unwrap();
        server.write_all(b"\x81\x02{}").unwrap();
        let (mut looks, mut line) = (0, 0);
        while line == 0 {
            match socket.read(&mut space) {
                Ok(n) => line = n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => looks += 1,
                Err(error) if is_not_yet(&error) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((&space[..line], looks >= 2), (&b"{}\n"[..], true), "{looks} looks");
    }

    #[test]
    fn nothing_is_taken_after_a_close() {
        let (mut socket, mut server) = open();
        server.write_all(b"\x88\x02\x03\xe9").unwrap();
        let mut space = vec![0; 1024];
        loop {
            match socket.read(&mut space) {
                Ok(n) => break assert_eq!(n, 0),
                Err(error) => assert!(is_not_yet(&error), "{error}"),
            }
        }
        let error = socket.write(b"{}\n").unwrap_err();
        assert!(error.to_string().contains("with code 1001"), "{error}");
        drop(socket);
        let mut said = Vec::new();
        server.read_to_end(&mut said).unwrap();
        assert_eq!(
            (said[0], said[1], said.len()),
            (0x88, 0x82, 8),
            "the echo of the close, masked, and no more"
        );
    }
}
