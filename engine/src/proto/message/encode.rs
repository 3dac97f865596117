//! Requests, notifications and replies, written out.
//!
//! Nothing here formats JSON values: a body arrives as bytes that its author has serialised, and is copied between a
//! constant head with the id and a tail that depends on the server's era. Every message is one line.
//!
//! A *body* is a request without its head and its end: `"method":"tools/call","params":{"name":"echo"` and so on, up
//! to the last member of `params`. The tail adds `_meta` where the era or the call demands it, and closes.
//!
//! What stands open at a body's end, its last byte tells, and the grammar of JSON leaves no doubt: after `{`, `params` is
//! open and empty; after `,`, the body's own `_meta` is open and has members, each followed by a comma; after anything
//! else, `params` is open behind its last member, since no value of JSON ends in either of the two.

use super::digits::{Successive, digits_and_comma};
use crate::{
    proto::revision::{Era, Revision},
    slab::key::Key,
};

const HEAD: &[u8; 22] = br#"{"jsonrpc":"2.0","id":"#;

/// The members of `_meta` that every request to one server carries; empty in the legacy era.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    meta: Vec<u8>,
    /// The whole end of a request without progress token, after a body that already has a member in `params`.
    plain: Vec<u8>,
}

impl Tail {
    /// The tail for `revision`, with the client's own name and declared capabilities (JSON objects).
    pub(crate) fn new(revision: Revision, client_info: &str, capabilities: &str) -> Self {
        let meta = match revision.era() {
            Era::Legacy => Vec::new(),
            Era::Modern => format!(
                r#""io.modelcontextprotocol/protocolVersion":"{revision}","io.modelcontextprotocol/clientInfo":{client_info},"io.modelcontextprotocol/clientCapabilities":{capabilities}"#
            )
            .into_bytes(),
        };
        let plain =
            if meta.is_empty() { b"}}\n".to_vec() } else { [br#","_meta":{"#, &meta[..], b"}}}\n"].concat() };
        Self { meta, plain }
    }
}

/// Writes a request: head, id, the body, and the tail. `body` must write what the module calls a body.
#[inline]
pub(crate) fn request(
    out: &mut Vec<u8>,
    key: Key,
    tail: &Tail,
    progress: bool,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let digits = digits_and_comma(key.wire());
    put_together(out, key, digits, tail, progress, body);
}

/// Requests that follow each other.
pub(crate) struct Run(Successive);

impl Run {
    pub(crate) fn new() -> Self {
        Self(Successive::new())
    }

    /// As [`request()`], for a body that stands in two pieces. Room is made once for all of it, and an id that follows the last is counted up.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "in the loop over the calls, whose registers it shares")]
    pub(crate) fn request(
        &mut self,
        out: &mut Vec<u8>,
        key: Key,
        tail: &Tail,
        progress: bool,
        body: [&[u8]; 2],
    ) {
        let digits = self.0.digits_and_comma(key.wire());
        let last = body[1].last().or(body[0].last());
        match digits {
            Some((text, len)) if !progress && !matches!(last, None | Some(b'{' | b',')) => {
                #[cfg(volley_planted_slowdown = "encode")]
                crate::base::planted::spend::<4>();
                in_one_go(out, text.to_le_bytes(), len, [body[0], body[1], &tail.plain]);
            }
            digits => put_together(out, key, digits, tail, progress, |out| {
                out.extend_from_slice(body[0]);
                out.extend_from_slice(body[1]);
            }),
        }
    }
}

/// Writes the head, so many digits of an id with their comma, and the pieces.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as its caller")]
fn in_one_go(out: &mut Vec<u8>, digits: [u8; 16], len: usize, pieces: [&[u8]; 3]) {
    let bytes = HEAD.len() + len + pieces.iter().map(|piece| piece.len()).sum::<usize>();
    // What is too much of the digits may stand behind the last piece.
    out.reserve(bytes + digits.len());
    // SAFETY: there is room for the head, for all the digits, and behind `len` of them for the pieces. Those are written behind each other from the
    // old end on and are `bytes` together; `out` is borrowed mutably, so none of them lies in it.
    #[allow(unsafe_code, reason = "docs/unsafe.md")]
    unsafe {
        let mut at = out.as_mut_ptr().add(out.len());
        at.cast::<[u8; HEAD.len()]>().write(*HEAD);
        at = at.add(HEAD.len());
        at.cast::<[u8; 16]>().write(digits);
        at = at.add(len);
        for piece in pieces {
            at.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
            at = at.add(piece.len());
        }
        out.set_len(out.len() + bytes);
    }
}

#[inline]
fn put_together(
    out: &mut Vec<u8>,
    key: Key,
    digits: Option<(u128, usize)>,
    tail: &Tail,
    progress: bool,
    body: impl FnOnce(&mut Vec<u8>),
) {
    #[cfg(volley_planted_slowdown = "encode")]
    crate::base::planted::spend::<7>();
    out.extend_from_slice(HEAD);
    match digits {
        Some((text, len)) => {
            // All of it, which is one move since its length is known, and what is too much is taken back.
            let text = text.to_le_bytes();
            out.extend_from_slice(&text);
            out.truncate(out.len() - (text.len() - len));
        }
        None => long_id(out, key),
    }
    body(out);
    match out.last() {
        Some(b'{' | b',') => odd_tail(out, key, tail, progress),
        _ if progress => odd_tail(out, key, tail, progress),
        _ => out.extend_from_slice(&tail.plain),
    }
}

#[cold]
fn long_id(out: &mut Vec<u8>, key: Key) {
    out.extend_from_slice(itoa::Buffer::new().format(key.wire()).as_bytes());
    out.push(b',');
}

#[cold]
fn odd_tail(out: &mut Vec<u8>, key: Key, tail: &Tail, progress: bool) {
    let last = out.last().copied();
    if progress || !tail.meta.is_empty() || last == Some(b',') {
        match last {
            Some(b',') => {}
            Some(b'{') => out.extend_from_slice(br#""_meta":{"#),
            _ => out.extend_from_slice(br#","_meta":{"#),
        }
        out.extend_from_slice(&tail.meta);
        if progress {
            if !tail.meta.is_empty() {
                out.push(b',');
            }
            // The id is unique among all calls of the engine, so it serves as the token too.
            out.extend_from_slice(br#""progressToken":"#);
            out.extend_from_slice(itoa::Buffer::new().format(key.wire()).as_bytes());
        }
        if out.last() == Some(&b',') {
            // The body's own members of `_meta` are all there are.
            out.pop();
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"}}\n");
}

const NOTIFICATION: &[u8] = br#"{"jsonrpc":"2.0","method":"#;
const CANCELLED: &[u8] = br#""notifications/cancelled","params":{"requestId":"#;

/// What a client says once it has been accepted.
pub(crate) const INITIALIZED: &str = "notifications/initialized";

/// Is this a notification as [`notification`] writes it, of the caller and not of the engine? (A cancellation of the caller's own looks
/// like the engine's.)
pub(crate) fn is_of_caller(message: &[u8]) -> bool {
    let is_first_word = |method: &[u8]| method == [b"\"", INITIALIZED.as_bytes(), b"\"}"].concat();
    let method = message.strip_prefix(NOTIFICATION);
    method.is_some_and(|method| !method.starts_with(CANCELLED) && !is_first_word(method))
}

/// Writes `notifications/cancelled` for a request this side has sent.
pub(crate) fn cancelled(out: &mut Vec<u8>, key: Key, reason: &str) {
    out.extend_from_slice(NOTIFICATION);
    out.extend_from_slice(CANCELLED);
    out.extend_from_slice(itoa::Buffer::new().format(key.wire()).as_bytes());
    out.extend_from_slice(br#","reason":""#);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\"}}\n");
}

/// Writes a notification whose method and params are serialised already.
pub(crate) fn notification(out: &mut Vec<u8>, method: &str, params: Option<&str>) {
    out.extend_from_slice(NOTIFICATION);
    // A method is a short string of ours or the user's; serde_json writes it with whatever escapes it needs.
    out.extend_from_slice(serde_json::to_string(method).unwrap_or_default().as_bytes());
    if let Some(params) = params {
        out.extend_from_slice(br#","params":"#);
        out.extend_from_slice(params.as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

/// Writes the reply to a server's request. `id` and `value` are JSON texts; `member` is `result` or `error`.
pub(crate) fn reply(out: &mut Vec<u8>, id: &str, member: &str, value: &str) {
    for part in [r#"{"jsonrpc":"2.0","id":"#, id, ",\"", member, "\":", value, "}\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::{Value, json};

    use super::*;
    use crate::base::limits::WIRE_ID_MAX;

    fn written(revision: Revision, progress: bool, body: &[u8]) -> Value {
        let tail = Tail::new(revision, r#"{"name":"n","version":"v"}"#, "{}");
        let mut out = Vec::new();
        request(&mut out, Key::from_wire(77).unwrap(), &tail, progress, |out| out.extend_from_slice(body));
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        assert_eq!(out.last(), Some(&b'\n'));
        serde_json::from_slice(&out).expect("valid JSON")
    }

    #[test]
    fn requests_are_valid_in_both_eras_with_and_without_params_and_progress() {
        for revision in Revision::all() {
            for progress in [false, true] {
                for body in [
                    &br#""method":"m","params":{"#[..],
                    br#""method":"m","params":{"name":"x","arguments":{}"#,
                ] {
                    let message = written(revision, progress, body);
                    assert_eq!(message["jsonrpc"], "2.0");
                    assert_eq!(message["id"], 77);
                    let meta = &message["params"]["_meta"];
                    assert_eq!(meta.get("progressToken").is_some(), progress);
                    let version = meta.get("io.modelcontextprotocol/protocolVersion");
                    match revision.era() {
                        Era::Modern => {
                            assert_eq!(version, Some(&json!(revision.as_str())));
                            assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
                            assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "n");
                        }
                        Era::Legacy => assert_eq!(version, None),
                    }
                }
            }
        }
    }

    #[test]
    fn a_bodys_own_meta_is_joined_with_the_engines() {
        for revision in Revision::all() {
            for progress in [false, true] {
                for body in [
                    &br#""method":"m","params":{"_meta":{"a":",","b":{},"#[..],
                    br#""method":"m","params":{"name":"{","_meta":{"a":",","b":{},"#,
                ] {
                    let message = written(revision, progress, body);
                    let meta = message["params"]["_meta"].as_object().unwrap();
                    assert_eq!((&meta["a"], &meta["b"]), (&json!(","), &json!({})));
                    let engines = 3 * usize::from(revision.era() == Era::Modern) + usize::from(progress);
                    assert_eq!(meta.len(), 2 + engines, "{message}");
                }
            }
        }
    }

    proptest! {
        /// What is written in one go is what is written piece by piece, for ids of any length, wherever the output and the body end, and nothing
        /// else is touched.
        #[test]
        fn a_run_is_the_same_as_one_by_one(
            (number, bits) in (1..=WIRE_ID_MAX, 0_u32..53),
            steps in vec((id_step(), body(), any::<bool>(), 0_usize..400), 1..20),
            progress in prop_oneof![4 => Just(false), 1 => Just(true)],
            modern: bool,
        ) {
            let revision = if modern { Revision::LATEST } else { Revision::LATEST_LEGACY };
            let tail = Tail::new(revision, r#"{"name":"n","version":"v"}"#, "{}");
            let (mut run, mut one_by_one, mut ids) = (Vec::new(), Vec::new(), Run::new());
            let mut id = (number >> bits).max(1);
            for (step, body, cut, room) in steps {
                let key = Key::from_wire(id).unwrap();
                let pieces = body.as_bytes().split_at(if cut { body.len() / 2 } else { body.len() });
                // Any room at all, the exact one among them.
                run.shrink_to_fit();
                run.reserve_exact(room);
                ids.request(&mut run, key, &tail, progress, pieces.into());
                request(&mut one_by_one, key, &tail, progress, |out| out.extend_from_slice(body.as_bytes()));
                prop_assert_eq!(&run, &one_by_one);
                id = (id + step).min(WIRE_ID_MAX);
            }
        }
    }

    fn id_step() -> impl Strategy<Value = u64> {
        prop_oneof![9 => Just(1_u64), 1 => 0_u64..5, 1 => Just(1 << 11)]
    }

    fn body() -> impl Strategy<Value = &'static str> {
        let open = vec!["", "{", ",", r#""method":"m","params":{"_meta":{"a":1,"#];
        prop_oneof![
            4 => Just(r#""method":"m","params":{"name":"x""#),
            1 => Just("}"),
            1 => select(open),
        ]
    }

    #[test]
    fn the_rest_is_valid_too() {
        let mut out = Vec::new();
        cancelled(&mut out, Key::from_wire(5).unwrap(), "timed out");
        notification(&mut out, "notifications/initialized", None);
        notification(&mut out, "n\"x", Some(r#"{"a":1}"#));
        reply(&mut out, "\"srv-1\"", "result", "{}");
        let lines: Vec<Value> = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines[0]["params"]["requestId"], 5);
        assert_eq!(lines[1], json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        assert_eq!(lines[2]["method"], "n\"x");
        assert_eq!(lines[3], json!({"jsonrpc": "2.0", "id": "srv-1", "result": {}}));
    }
}
