//! WebSocket: an HTTP request opens it, then each text frame is one message.
//!
//! The frames are tungstenite's business, over memory instead of a socket; the conversation is
//! that of a newline-delimited stream. The client has to offer the subprotocol `mcp`. Pings are
//! answered, binary frames end the connection (1003), and so does a message beyond the bound.
//! Clause: RFC 6455; MCP calls this a custom transport. Proof: `websocket_tests`.

use std::io::{self, Read, Write};

use tungstenite::error::{CapacityError, Error};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Message, Utf8Bytes};

use super::http::{Opening, put_refusal, put_switch};
use super::session::Session;
use super::world::{Turn, World};

/// One WebSocket connection and its conversation.
pub(super) struct WebSocket {
    opening: Option<Opening>,
    frames: WebSocketContext,
    session: Session,
    /// Bytes of the request that opens the connection.
    input: Vec<u8>,
    /// Frames wait that there was no room for.
    has_frames: bool,
    /// The connection closes when its output is written.
    ending: bool,
}

/// Memory in place of a socket: what was read, and what is to be written.
struct Memory<'i, 'o> {
    input: &'i [u8],
    out: &'o mut Vec<u8>,
}

impl WebSocket {
    pub(super) fn new(world: &World) -> Self {
        let bytes_max = Some(world.web.body_bytes_max);
        let config = WebSocketConfig::default()
            .write_buffer_size(0)
            .max_message_size(bytes_max)
            .max_frame_size(bytes_max);
        Self {
            opening: Some(Opening::new()),
            frames: WebSocketContext::new(Role::Server, Some(config)),
            session: Session::new(),
            input: Vec::new(),
            has_frames: false,
            ending: false,
        }
    }

    /// Takes bytes that were read.
    pub(super) fn take(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        let Some(opening) = &mut self.opening else { return self.take_frames(bytes, turn) };
        self.input.extend_from_slice(bytes);
        match opening.read(&self.input) {
            Ok(None) => {}
            Ok(Some((key, length))) => {
                put_switch(turn.out, &derive_accept_key(&key));
                self.opening = None;
                let input = std::mem::take(&mut self.input);
                self.take_frames(&input[length..], turn);
            }
            Err(status) => {
                put_refusal(turn.out, status);
                self.ending = true;
            }
        }
    }

    /// Goes on with frames that there was no room for.
    pub(super) fn go_on(&mut self, turn: &mut Turn<'_>) {
        if self.has_frames {
            self.take_frames(&[], turn);
        }
    }

    /// Takes whole frames out of the bytes; what is left of them stays with `frames`.
    fn take_frames(&mut self, mut input: &[u8], turn: &mut Turn<'_>) {
        self.has_frames = true;
        while !self.is_ending() && !turn.world.dying {
            if turn.out.len() >= turn.out_bytes_full && input.is_empty() {
                return;
            }
            let mut memory = Memory { input, out: turn.out };
            let read = self.frames.read(&mut memory);
            input = memory.input;
            match read {
                Ok(Message::Text(text)) => {
                    self.converse(turn, |session, turn| session.take_text(&text, turn))
                }
                Ok(Message::Binary(_)) => self.close(CloseCode::Unsupported, "text frames only", turn),
                Ok(Message::Close(_)) => self.close(CloseCode::Normal, "", turn),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                    self.close(CloseCode::Size, "the message is too long", turn);
                }
                Err(_) => self.close(CloseCode::Protocol, "these are no frames", turn),
            }
        }
        self.has_frames = false;
    }

    /// Lets the conversation act and sends what came of it.
    pub(super) fn converse(&mut self, turn: &mut Turn<'_>, act: impl FnOnce(&mut Session, &mut Turn<'_>)) {
        let mut lines = Vec::new();
        let mut own =
            Turn { world: turn.world, out: &mut lines, out_bytes_full: usize::MAX, owner: turn.owner };
        act(&mut self.session, &mut own);
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else { return put_torn(turn.out, line) };
            let Ok(text) = Utf8Bytes::try_from(line.trim_ascii().to_vec()) else { continue };
            self.send(Message::Text(text), turn);
        }
    }

    fn send(&mut self, message: Message, turn: &mut Turn<'_>) {
        let mut memory = Memory { input: &[], out: turn.out };
        let sent = self.frames.write(&mut memory, message).and_then(|()| self.frames.flush(&mut memory));
        self.ending |= sent.is_err();
    }

    fn close(&mut self, code: CloseCode, reason: &'static str, turn: &mut Turn<'_>) {
        let mut memory = Memory { input: &[], out: turn.out };
        let frame = CloseFrame { code, reason: reason.into() };
        // Refused means that the farewell was said before; all that is left is to go.
        let _ = self.frames.close(&mut memory, Some(frame)).and_then(|()| self.frames.flush(&mut memory));
        self.ending = true;
    }

    /// Nothing more is to be read for now.
    pub(super) fn handle_idle(&mut self, turn: &mut Turn<'_>) {
        if !self.session.shuffled.is_empty() {
            self.converse(turn, |session, turn| session.flush_shuffled(turn));
        }
    }

    /// Whether frames may wait that there was no room for.
    pub(super) fn has_more(&self) -> bool {
        self.has_frames
    }

    pub(super) fn owes(&self) -> bool {
        self.session.owes()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending || self.session.ending
    }

    /// Lets go of what is owed.
    pub(super) fn abandon(&mut self, world: &mut World) {
        self.session.abandon(world);
    }
}

impl Read for Memory<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(bytes)
    }
}

impl Write for Memory<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a text frame that promises more than will come.
fn put_torn(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&[FINAL_TEXT, LONG_LENGTH]);
    out.extend_from_slice(&(2 * text.len() as u64 + 1).to_be_bytes());
    out.extend_from_slice(text);
}

const FINAL_TEXT: u8 = 0x81;
/// Says that the length follows in eight bytes.
const LONG_LENGTH: u8 = 127;

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
