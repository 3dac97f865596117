//! The quick reading of a plain `tools/call` of `echo`, and the spliced answer.
//!
//! The scan walks the bytes once. It finds the id and the message as raw slices, still escaped,
//! and [`splice`] copies them into the answer: no parse tree, no allocation, no unescaping. It is
//! strict: what it accepts is valid JSON, read as a full parser would read it. Whatever looks
//! odd (an escape in a key, a key twice, a lone surrogate, deep nesting, another tool) is not an
//! error but `None`, and the line goes the careful way through `envelope`.
//!
//! Cost: measured some 30 ns of user time a call for frames of 110 to 287 bytes, splitting and
//! answering included; a `_meta` that repeats costs one comparison.
//! What always holds: `Some` only for a line a full parse reads the same way.
//! Proof: `agrees_with_a_full_parse` on valid and on mutated frames, below.

use super::cursor::Cursor;
use super::reply::TEXT_HEAD;

/// A plain call of `echo`, as slices of the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EchoCall<'a> {
    /// A JSON integer or a JSON string.
    pub(super) id: &'a [u8],
    /// The inside of a JSON string, its escapes untouched.
    pub(super) message: &'a [u8],
    /// The `_meta` object, when it was walked and found to be that of a modern request.
    pub(super) meta_seen: Option<&'a [u8]>,
    /// Bytes of the line, its newline included.
    pub(super) consumed: usize,
}

/// What the connection requires of `_meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaRule<'a> {
    /// Legacy: a call with `_meta` is not plain.
    Absent,
    /// Modern: it must name this version. A text that equals `known` did so before.
    Required { version: &'a [u8], known: &'a [u8] },
}

/// Reads the line that `bytes` begin with; `None` when it is odd or its newline is not there yet.
#[inline]
pub(super) fn scan<'a>(bytes: &'a [u8], rule: MetaRule<'_>) -> Option<EchoCall<'a>> {
    match scan_usual(bytes, rule, Cursor::line_end) {
        None => walk(bytes, rule, Cursor::line_end),
        found => found,
    }
}

/// Reads a body that has no newline; `None` when it is odd.
#[inline]
pub(super) fn scan_whole<'a>(bytes: &'a [u8], rule: MetaRule<'_>) -> Option<EchoCall<'a>> {
    match scan_usual(bytes, rule, Cursor::end) {
        None => walk(bytes, rule, Cursor::end),
        found => found,
    }
}

/// Reads a frame in the order and spelling that nearly every client uses, by comparison.
#[inline]
fn scan_usual<'a>(
    bytes: &'a [u8],
    rule: MetaRule<'_>,
    end: impl Fn(&mut Cursor<'a>) -> Option<()>,
) -> Option<EchoCall<'a>> {
    let mut cursor = Cursor::new(bytes);
    cursor.literal(br#"{"jsonrpc":"2.0","id":"#)?;
    let id = cursor.id()?;
    cursor.literal(br#","method":"tools/call","params":{"#)?;
    let mut meta_pending = match rule {
        MetaRule::Absent => None,
        MetaRule::Required { known: b"", .. } => return None,
        MetaRule::Required { known, .. } => Some(known),
    };
    if let Some(known) = meta_pending
        && cursor.literal(br#""_meta":"#).is_some()
    {
        cursor.literal(known)?;
        cursor.literal(b",")?;
        meta_pending = None;
    }
    cursor.literal(br#""name":"echo","arguments":{"message":"#)?;
    let message = cursor.string()?;
    cursor.literal(b"}")?;
    if let Some(known) = meta_pending {
        cursor.literal(br#","_meta":"#)?;
        cursor.literal(known)?;
    }
    cursor.literal(b"}}")?;
    end(&mut cursor)?;
    cursor.is_utf8().then(|| EchoCall { id, message, meta_seen: None, consumed: cursor.at() })
}

/// Reads a frame with its members in any order and spelling.
fn walk<'a>(
    bytes: &'a [u8],
    rule: MetaRule<'_>,
    end: impl Fn(&mut Cursor<'a>) -> Option<()>,
) -> Option<EchoCall<'a>> {
    let mut cursor = Cursor::new(bytes);
    let mut parts = Parts::default();
    cursor.members(|cursor, key| parts.take(cursor, key, rule))?;
    cursor.blanks();
    let has_meta = parts.params.meta || rule == MetaRule::Absent;
    let is_complete = parts.version && parts.method && parts.params.name && has_meta;
    end(&mut cursor)?;
    if !is_complete || !cursor.is_utf8() {
        return None;
    }
    Some(EchoCall {
        id: parts.id?,
        message: parts.params.message?,
        meta_seen: parts.params.meta_seen,
        consumed: cursor.at(),
    })
}

/// How many bytes [`splice`] appends, less the newline.
pub(super) fn spliced_len(call: &EchoCall<'_>, tail: &[u8]) -> usize {
    SPLICED_BYTES + call.id.len() + call.message.len() + tail.len()
}

/// Appends the answer to a plain call; `tail` is the `echo_tail` of the revision.
pub(super) fn splice(out: &mut Vec<u8>, call: &EchoCall<'_>, tail: &[u8]) {
    out.reserve(64 + call.id.len() + call.message.len() + tail.len() + TEXT_HEAD.len());
    out.extend_from_slice(SPLICED_HEAD);
    out.extend_from_slice(call.id);
    out.extend_from_slice(SPLICED_MIDDLE);
    out.extend_from_slice(call.message);
    out.extend_from_slice(tail);
    out.extend_from_slice(b"}\n");
}

const SPLICED_HEAD: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
const SPLICED_MIDDLE: &[u8] = br#","result":{"content":[{"type":"text","text":""#;
/// The bytes of a spliced answer that are always the same, with its last brace.
const SPLICED_BYTES: usize = SPLICED_HEAD.len() + SPLICED_MIDDLE.len() + 1;
const VERSION_KEY: &[u8] = b"io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &[u8] = b"io.modelcontextprotocol/clientCapabilities";
/// Nesting beyond this is odd, so the walk needs no more stack than this.
const DEPTH_MAX: u32 = 16;

/// The members of the envelope found so far; a member found twice is odd.
#[derive(Default)]
struct Parts<'a> {
    version: bool,
    method: bool,
    id: Option<&'a [u8]>,
    params: Params<'a>,
    params_seen: bool,
}

#[derive(Default)]
struct Params<'a> {
    name: bool,
    arguments: bool,
    meta: bool,
    message: Option<&'a [u8]>,
    meta_seen: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, cursor: &mut Cursor<'a>, key: &[u8], rule: MetaRule<'_>) -> Option<()> {
        match key {
            b"jsonrpc" if !self.version => {
                self.version = cursor.plain_string()? == b"2.0";
                self.version.then_some(())
            }
            b"method" if !self.method => {
                self.method = cursor.plain_string()? == b"tools/call";
                self.method.then_some(())
            }
            b"id" if self.id.is_none() => {
                self.id = Some(cursor.id()?);
                Some(())
            }
            b"params" if !self.params_seen => {
                self.params_seen = true;
                let params = &mut self.params;
                cursor.members(|cursor, key| params.take(cursor, key, rule))
            }
            b"jsonrpc" | b"method" | b"id" | b"params" | b"result" | b"error" => None,
            _ => cursor.skip(DEPTH_MAX),
        }
    }
}

impl<'a> Params<'a> {
    fn take(&mut self, cursor: &mut Cursor<'a>, key: &[u8], rule: MetaRule<'_>) -> Option<()> {
        match key {
            b"name" if !self.name => {
                self.name = cursor.plain_string()? == b"echo";
                self.name.then_some(())
            }
            b"arguments" if !self.arguments => {
                self.arguments = true;
                let message = &mut self.message;
                cursor.members(|cursor, key| match key {
                    b"message" if message.is_none() => {
                        *message = Some(cursor.string()?);
                        Some(())
                    }
                    b"message" => None,
                    _ => cursor.skip(DEPTH_MAX),
                })
            }
            b"_meta" if !self.meta => {
                self.meta = true;
                self.take_meta(cursor, rule)
            }
            b"name" | b"arguments" | b"_meta" => None,
            _ => cursor.skip(DEPTH_MAX),
        }
    }

    /// An object text that begins with another complete object text *is* that text, so equality
    /// with a `_meta` that was walked before settles the matter.
    fn take_meta(&mut self, cursor: &mut Cursor<'a>, rule: MetaRule<'_>) -> Option<()> {
        let MetaRule::Required { version, known } = rule else {
            return None;
        };
        if !known.is_empty() && cursor.literal(known).is_some() {
            return Some(());
        }
        let start = cursor.at();
        let (mut versions, mut capabilities) = (0, 0);
        cursor.members(|cursor, key| match key {
            VERSION_KEY => {
                versions += 1;
                (cursor.plain_string()? == version).then_some(())
            }
            CAPABILITIES_KEY => {
                capabilities += 1;
                (cursor.peek()? == b'{').then_some(())?;
                cursor.skip(DEPTH_MAX)
            }
            _ => cursor.skip(DEPTH_MAX),
        })?;
        self.meta_seen = Some(cursor.since(start));
        (versions == 1 && capabilities == 1).then_some(())
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
