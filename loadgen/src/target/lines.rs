//! One newline-delimited stream: bytes in any cut become the lines of one conversation.
//!
//! Bytes are split where they lie; only the torn line at their end is copied. Owned by a
//! connection, which lends the output for a turn. Bound: a line of more than [`LINE_BYTES_MAX`] is
//! refused and ends the conversation. Proof: the tests of `session`; `tests/conformance/framing.rs`.

use super::session::Session;
use super::world::{Turn, World};

/// The lines of one stream and the conversation they are.
pub(super) struct Lines {
    session: Session,
    /// The start of a line whose end was not read yet, or lines for which there was no room.
    pending: Vec<u8>,
    /// `pending` has whole lines.
    has_lines: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { session: Session::new(), pending: Vec::new(), has_lines: false }
    }

    pub(super) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Takes the lines that found no room before.
    pub(super) fn go_on(&mut self, turn: &mut Turn<'_>) {
        if self.has_lines {
            let lines = std::mem::take(&mut self.pending);
            self.take(&lines, turn);
        }
    }

    /// Whether whole lines wait.
    pub(super) fn has_more(&self) -> bool {
        self.has_lines
    }

    /// Whether answers are still to come.
    pub(super) fn owes(&self) -> bool {
        self.session.owes()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.session.ending
    }

    /// Nothing more is to be read for now.
    pub(super) fn handle_idle(&mut self, turn: &mut Turn<'_>) {
        self.session.flush_shuffled(turn);
    }

    /// Lets go of what is owed.
    pub(super) fn abandon(&mut self, world: &mut World) {
        self.session.abandon(world);
    }

    /// Takes the lines in `bytes`, after the torn line that came before them.
    pub(super) fn take(&mut self, mut bytes: &[u8], turn: &mut Turn<'_>) {
        if !self.pending.is_empty() {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.pending.extend_from_slice(bytes);
                if self.pending.len() > LINE_BYTES_MAX {
                    self.session.refuse_long_line(turn);
                }
                return;
            };
            self.pending.extend_from_slice(&bytes[..=end]);
            bytes = &bytes[end + 1..];
            let taken = self.session.take_lines(&self.pending, turn);
            self.pending.drain(..taken);
            if !self.pending.is_empty() {
                self.pending.extend_from_slice(bytes);
                self.has_lines = true;
                return;
            }
            self.pending.shrink_to(PENDING_BYTES_KEPT);
        }
        let taken = self.session.take_lines(bytes, turn);
        let rest = &bytes[taken..];
        self.pending.extend_from_slice(rest);
        self.has_lines = memchr::memchr(b'\n', rest).is_some();
    }
}

/// A longer line is refused and ends its connection.
const LINE_BYTES_MAX: usize = 256 << 20;
/// What an idle connection may keep of the memory its longest torn line took.
const PENDING_BYTES_KEPT: usize = 4 << 10;
