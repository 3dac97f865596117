//! Reading HTTP/1.x requests: any cut of the bytes gives the same requests.
//!
//! A [`Reader`] is shown the bytes that were not consumed yet, always from the start of one
//! request, and says whether that request is whole. Heads are read by `httparse` and again once
//! the body is there; a body with a known length is never copied, a chunked one is gathered by
//! [`Chunks`]. Both have a bound. What could be read in two ways (two lengths, a length and
//! chunks) is refused, and after a refusal the connection is of no further use.
//! Clauses: RFC 9112 sections 2 to 9; RFC 9110 section 10.1.1. Proof: the tests below.

use super::chunks::Chunks;
use super::head::{HEAD_BYTES_MAX, Head};

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "it is looked at once, where it was made, and never kept")]
pub(super) enum Read<'a> {
    /// More bytes are needed; with `true` the client waits to be told to go on.
    More { expects_continue: bool },
    /// One request, which takes so many bytes.
    Whole { head: Head<'a>, body: &'a [u8], bytes: usize },
    /// The status of the answer to bytes that are no request.
    Refused(u16),
}

/// The state of the request that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    body_bytes_max: usize,
    /// No fewer bytes than these are worth a look.
    needed: usize,
    chunks: Option<Chunks>,
    /// The client was told to go on.
    continued: bool,
}

impl Reader {
    pub(super) fn new(body_bytes_max: usize) -> Self {
        Self { body_bytes_max, needed: 0, chunks: None, continued: false }
    }

    /// Reads the request that `bytes` begin with. After `Whole` the next request begins.
    pub(super) fn read<'a>(&'a mut self, bytes: &'a [u8]) -> Read<'a> {
        if bytes.len() < self.needed {
            return Read::More { expects_continue: false };
        }
        let (head, head_bytes) = match Head::parse(bytes) {
            Ok(Some(found)) => found,
            Ok(None) if bytes.len() > HEAD_BYTES_MAX => return Read::Refused(431),
            Ok(None) => return Read::More { expects_continue: false },
            Err(status) => return Read::Refused(status),
        };
        if head_bytes > HEAD_BYTES_MAX {
            return Read::Refused(431);
        }
        let expects_continue = head.expects_continue && !self.continued;
        if head.chunked {
            self.read_chunked(head, head_bytes, bytes, expects_continue)
        } else {
            self.read_sized(head, head_bytes, bytes, expects_continue)
        }
    }

    fn read_sized<'a>(
        &'a mut self,
        head: Head<'a>,
        head_bytes: usize,
        bytes: &'a [u8],
        expects_continue: bool,
    ) -> Read<'a> {
        let length = head.content_length.unwrap_or(0);
        if length > self.body_bytes_max as u64 {
            return Read::Refused(413);
        }
        let end = head_bytes + length as usize;
        if bytes.len() < end {
            self.needed = end;
            self.continued |= expects_continue;
            return Read::More { expects_continue };
        }
        (self.needed, self.continued) = (0, false);
        Read::Whole { body: &bytes[head_bytes..end], head, bytes: end }
    }

    fn read_chunked<'a>(
        &'a mut self,
        head: Head<'a>,
        head_bytes: usize,
        bytes: &'a [u8],
        expects_continue: bool,
    ) -> Read<'a> {
        let chunks = self.chunks.get_or_insert_default();
        let is_whole = match chunks.take(&bytes[head_bytes..], self.body_bytes_max) {
            Ok(is_whole) => is_whole,
            Err(status) => return Read::Refused(status),
        };
        if !is_whole {
            self.continued |= expects_continue;
            return Read::More { expects_continue };
        }
        self.continued = false;
        let end = head_bytes + chunks.bytes_read();
        Read::Whole { head, body: self.chunks.as_ref().map_or(&[], Chunks::body), bytes: end }
    }

    /// Lets go of the body of a request that was dealt with.
    pub(super) fn forget_body(&mut self) {
        self.chunks = None;
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
