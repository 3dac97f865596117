//! Answers MCP lines by splicing: the id and the message go from the request into the reply as they are.
//!
//! What the fast target knows of the protocol, with wire code of its own: nothing here comes from
//! the engine or from loadgen, so that no bug can agree with itself. A request costs about 30 ns
//! when its shape has been seen before on this connection (`Shape`), a few hundred otherwise.
//! One [`Splicer`] serves one connection, on that connection's thread; over HTTP, where every message
//! says its era, one serves all connections of a thread. Strings are never unescaped: a member whose
//! *name* is written with escapes is not found, which no client does.
//! Beside `echo` there is the tool `blob`, whose text has as many bytes as its argument says: a long answer costs no long
//! request. An array is answered with an array, element by element, whatever the revision: who sends one wants it so.
//! Proof: `learned_and_walked_agree` and `an_array_is_answered_element_by_element`, below; what real clients make of
//! it, `perf`.

use std::ops::Range;

use memchr::{memchr, memchr2, memmem};

/// The protocol state of one connection: its era, and the shape its calls have had so far.
#[derive(Debug, Default)]
pub struct Splicer {
    legacy: bool,
    /// Messages come alone, without a newline.
    alone: bool,
    shape: Option<Shape>,
}

/// A call around its two holes, `before` ID `between` MESSAGE `after`; of a line the newline belongs to it.
///
/// A client that sends the next call with other bytes there costs us one walk more, no error.
#[derive(Debug, Default)]
struct Shape {
    legacy: bool,
    before: Vec<u8>,
    between: Vec<u8>,
    after: Vec<u8>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// There is a reply: a result, or an error the protocol has a code for.
    Replied,
    /// There is a reply, and it says that this was no request.
    Refused,
    /// A message that gets no reply.
    Taken,
}

impl Splicer {
    /// A connection that has not said its first word.
    pub fn new() -> Self {
        Self::default()
    }

    /// For messages that come alone, as the bodies of HTTP requests do: [`Splicer::answer_body`].
    pub fn for_bodies() -> Self {
        Self { alone: true, ..Self::default() }
    }

    /// Answers every whole line at the head of `bytes`; returns how many bytes those lines had.
    ///
    /// The first `searched` bytes are known to hold no newline.
    pub fn answer(&mut self, bytes: &[u8], searched: usize, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            // A line that comes in many pieces is read once, when its end is there.
            if at < searched && memchr(b'\n', &bytes[searched..]).is_none() {
                break;
            }
            if let Some(used) = self.answer_known(&bytes[at..], out) {
                at += used;
                continue;
            }
            let from = at.max(searched);
            let Some(length) = memchr(b'\n', &bytes[from..]) else { break };
            let line = &bytes[at..from + length];
            if !line.iter().all(u8::is_ascii_whitespace) {
                self.answer_message(line, out);
            }
            at = from + length + 1;
        }
        at
    }

    /// Answers one message that came alone; the reply ends without a newline.
    ///
    /// Modern is who says so in the metadata: nothing is remembered from one message to the next but
    /// the shape, which is always that of the last call that did not have it, since clients share it.
    pub fn answer_body(&mut self, body: &[u8], out: &mut Vec<u8>) -> Answered {
        if self.answer_known(body, out).is_some() {
            out.pop();
            return Answered::Replied;
        }
        self.legacy = memmem::find(body, b"io.modelcontextprotocol/protocolVersion").is_none();
        let answered = self.answer_message(body, out);
        if answered != Answered::Taken {
            out.pop();
        }
        answered
    }

    /// The short way: a call of the shape we know. `None` when it is not, or not yet all there.
    fn answer_known(&self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let shape = self.shape.as_ref()?;
        let (id, message, used) = shape.find(bytes, &shape.after)?;
        if self.alone && used < bytes.len() {
            return None;
        }
        echo(id, message, shape.legacy, out);
        Some(used)
    }

    /// The same for an element of an array.
    fn answer_known_element(&self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let shape = self.shape.as_ref()?;
        let after = shape.after.strip_suffix(b"\n").unwrap_or(&shape.after);
        let (id, message, used) = shape.find(bytes, after)?;
        echo(id, message, shape.legacy, out);
        Some(used)
    }

    /// An array of messages, which begins at `[`. `None` if it is none, or empty; then nothing has been written.
    fn answer_array(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Answered> {
        let before = out.len();
        out.push(b'[');
        let answered = self.answer_elements(line, out);
        if answered != Some(Answered::Replied) {
            out.truncate(before);
            return answered;
        }
        // The last comma.
        out.pop();
        out.extend_from_slice(b"]\n");
        answered
    }

    fn answer_elements(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Answered> {
        let mut answered = Answered::Taken;
        let mut at = space(line, 1);
        loop {
            let replied = if let Some(used) = self.answer_known_element(&line[at..], out) {
                at += used;
                true
            } else {
                let end = value_end(line, at).filter(|_| line[at] != b',')?;
                let element = &line[at..end];
                at = end;
                // An array in an array is no request; nobody may make us descend.
                if element.first() == Some(&b'[') {
                    fail(b"null", -32600, "an array in an array", out);
                    true
                } else {
                    self.answer_message(element, out) != Answered::Taken
                }
            };
            if replied {
                answered = Answered::Replied;
                // In the place of its end of line.
                if let Some(last) = out.last_mut() {
                    *last = b',';
                }
            }
            at = space(line, at);
            match line.get(at)? {
                b',' => at = space(line, at + 1),
                b']' if space(line, at + 1) == line.len() => return Some(answered),
                _ => return None,
            }
        }
    }

    /// The long way: any message.
    fn answer_message(&mut self, line: &[u8], out: &mut Vec<u8>) -> Answered {
        if line.first() == Some(&b'[')
            && let Some(answered) = self.answer_array(line, out)
        {
            return answered;
        }
        let Some(request) = Request::read(line) else {
            fail(b"null", -32600, "not a request this target can read", out);
            return Answered::Refused;
        };
        // A notification, or an answer to a question we never ask: neither gets a reply.
        let (Some(id), Some(method)) = (request.id, request.method) else { return Answered::Taken };
        let id = &line[id];
        match &line[method] {
            b"\"tools/call\"" => match (request.message, request.blob_bytes) {
                (Some(message), _) => {
                    if self.alone || self.shape.is_none() {
                        self.learn(line, id, &message);
                    }
                    echo(id, &line[message], self.legacy, out);
                }
                (None, Some(bytes)) => blob(id, bytes, self.legacy, out),
                (None, None) => {
                    fail(
                        id,
                        -32602,
                        "the tools are echo, of a string message, and blob, of a number bytes",
                        out,
                    );
                }
            },
            b"\"server/discover\"" => succeed(id, DISCOVERED, out),
            b"\"tools/list\"" if self.legacy => succeed(id, TOOLS_LEGACY, out),
            b"\"tools/list\"" => succeed(id, TOOLS, out),
            b"\"ping\"" => succeed(id, "{}", out),
            b"\"initialize\"" => {
                self.legacy = true;
                self.shape = None;
                let asked = request.version.map(|version| &line[version]).unwrap_or_default();
                let spoken = LEGACY.iter().find(|spoken| asked == spoken.as_bytes()).unwrap_or(&LEGACY[0]);
                succeed(id, &INITIALIZED.replace("VERSION", spoken), out);
            }
            _ => fail(id, -32601, "method not found", out),
        }
        Answered::Replied
    }

    /// Takes the shape of a call whose id stands before its message, as every client has it. The memory
    /// of the shape before is used again.
    fn learn(&mut self, line: &[u8], id: &[u8], message: &Range<usize>) {
        let start = id.as_ptr() as usize - line.as_ptr() as usize;
        let Some(between) = line.get(start + id.len()..message.start) else { return };
        let shape = self.shape.get_or_insert_default();
        shape.legacy = self.legacy;
        let parts = [(&mut shape.before, &line[..start]), (&mut shape.between, between)];
        for (part, bytes) in parts.into_iter().chain([(&mut shape.after, &line[message.end..])]) {
            part.clear();
            part.extend_from_slice(bytes);
        }
        if !self.alone {
            shape.after.push(b'\n');
        }
    }
}

impl Shape {
    /// The id and the message of a call of this shape, and its length.
    fn find<'a>(&self, bytes: &'a [u8], after: &[u8]) -> Option<(&'a [u8], &'a [u8], usize)> {
        let rest = bytes.strip_prefix(self.before.as_slice())?;
        let id = &rest[..id_length(rest)?];
        let rest = rest[id.len()..].strip_prefix(self.between.as_slice())?;
        let message = &rest[..string_length(rest)?];
        let rest = rest[message.len()..].strip_prefix(after)?;
        Some((id, message, bytes.len() - rest.len()))
    }
}

/// Where the parts of a request stand in its line; found in one walk.
#[derive(Debug, Default)]
struct Request {
    id: Option<Range<usize>>,
    /// With its quotes.
    method: Option<Range<usize>>,
    /// `params.arguments.message` of a call of `echo`, without its quotes.
    message: Option<Range<usize>>,
    /// `params.arguments.bytes` of a call of `blob`.
    blob_bytes: Option<usize>,
    /// `params.protocolVersion`, with its quotes.
    version: Option<Range<usize>>,
}

impl Request {
    fn read(line: &[u8]) -> Option<Self> {
        let (mut request, mut echo, mut blob) = (Self::default(), false, false);
        members(line, space(line, 0), &mut |name, at| match name {
            b"\"id\"" => {
                let end = value_end(line, at)?;
                request.id = Some(at..end);
                Some(end)
            }
            b"\"method\"" => {
                let end = value_end(line, at)?;
                request.method = Some(at..end);
                Some(end)
            }
            b"\"params\"" if line[at] == b'{' => members(line, at, &mut |name, at| match name {
                b"\"arguments\"" if line[at] == b'{' => members(line, at, &mut |name, at| {
                    let end = value_end(line, at)?;
                    if name == b"\"message\"" && line[at] == b'"' {
                        request.message = Some(at + 1..end - 1);
                    }
                    if name == b"\"bytes\"" {
                        let digits = std::str::from_utf8(&line[at..end]).ok();
                        request.blob_bytes = digits
                            .and_then(|digits| digits.parse().ok())
                            .filter(|bytes| *bytes <= BLOB_BYTES_MAX);
                    }
                    Some(end)
                }),
                _ => {
                    let end = value_end(line, at)?;
                    match name {
                        b"\"name\"" => {
                            echo = &line[at..end] == b"\"echo\"";
                            blob = &line[at..end] == b"\"blob\"";
                        }
                        b"\"protocolVersion\"" => request.version = Some(at..end),
                        _ => {}
                    }
                    Some(end)
                }
            }),
            _ => value_end(line, at),
        })?;
        request.message = request.message.filter(|_| echo);
        request.blob_bytes = request.blob_bytes.filter(|_| blob);
        Some(request)
    }
}

/// Walks the object at `at`: `each` gets every member's name (with quotes) and where its value
/// starts, and says where that value ends. Returns the end of the object.
fn members(bytes: &[u8], at: usize, each: &mut dyn FnMut(&[u8], usize) -> Option<usize>) -> Option<usize> {
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    let mut at = space(bytes, at + 1);
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    loop {
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let name_end = value_end(bytes, at)?;
        let colon = space(bytes, name_end);
        let value = space(bytes, colon + 1);
        if bytes.get(colon) != Some(&b':') || value >= bytes.len() {
            return None;
        }
        let end = space(bytes, each(&bytes[at..name_end], value)?);
        match bytes.get(end)? {
            b',' => at = space(bytes, end + 1),
            b'}' => return Some(end + 1),
            _ => return None,
        }
    }
}

/// The end of the value at `at`. Brackets are counted, not matched by kind.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match *bytes.get(at)? {
            b'"' => at += string_length(&bytes[at + 1..])? + 2,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if depth > 0 => at += 1,
            // A number or a word, bare.
            _ => {
                let length = bytes[at..].iter().position(|byte| b",}] \t\r".contains(byte));
                at += length.unwrap_or(bytes.len() - at).max(1);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The length of the string that starts here, up to its closing quote.
fn string_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at),
            _ => at += 2,
        }
    }
}

/// The length of an id: digits, or a string with its quotes.
fn id_length(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => string_length(&bytes[1..]).map(|length| length + 2),
        _ => bytes.iter().position(|byte| !byte.is_ascii_digit()).filter(|length| *length > 0),
    }
}

fn space(bytes: &[u8], at: usize) -> usize {
    at + bytes.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

fn echo(id: &[u8], message: &[u8], legacy: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    out.extend_from_slice(id);
    out.extend_from_slice(TEXT);
    out.extend_from_slice(message);
    out.extend_from_slice(text_end(legacy));
}

fn blob(id: &[u8], bytes: usize, legacy: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    out.extend_from_slice(id);
    out.extend_from_slice(TEXT);
    out.resize(out.len() + bytes, b'x');
    out.extend_from_slice(text_end(legacy));
}

fn text_end(legacy: bool) -> &'static [u8] {
    if legacy { b"\"}]}}\n" } else { b"\"}],\"resultType\":\"complete\"}}\n" }
}

fn succeed(id: &[u8], result: &str, out: &mut Vec<u8>) {
    for part in [HEAD, id, b",\"result\":", result.as_bytes(), b"}\n"] {
        out.extend_from_slice(part);
    }
}

fn fail(id: &[u8], code: i32, message: &str, out: &mut Vec<u8>) {
    let error = format!(",\"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}\n");
    for part in [HEAD, id, error.as_bytes()] {
        out.extend_from_slice(part);
    }
}

const HEAD: &[u8] = br#"{"jsonrpc":"2.0","id":"#;

const TEXT: &[u8] = br#","result":{"content":[{"type":"text","text":""#;

/// What one call of `blob` may ask for.
const BLOB_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Revisions with a handshake, as they stand in JSON, the one we counter-offer first.
const LEGACY: [&str; 4] = ["\"2025-11-25\"", "\"2025-06-18\"", "\"2025-03-26\"", "\"2024-11-05\""];

const INITIALIZED: &str = r#"{"protocolVersion":VERSION,"capabilities":{"tools":{}},"serverInfo":{"name":"fast-target","version":"0"}}"#;

const DISCOVERED: &str = concat!(
    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"#,
    r#""ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":"#,
    r#"{"name":"fast-target","version":"0"}}}"#
);

const TOOLS: &str = concat!(
    r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"echo","inputSchema":"#,
    r#"{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}},"#,
    r#"{"name":"blob","inputSchema":"#,
    r#"{"type":"object","properties":{"bytes":{"type":"integer"}},"required":["bytes"]}}]}"#
);

const TOOLS_LEGACY: &str = concat!(
    r#"{"tools":[{"name":"echo","inputSchema":"#,
    r#"{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}},"#,
    r#"{"name":"blob","inputSchema":"#,
    r#"{"type":"object","properties":{"bytes":{"type":"integer"}},"required":["bytes"]}}]}"#
);

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(splicer: &mut Splicer, lines: &str) -> String {
        let mut out = Vec::new();
        assert_eq!(splicer.answer(lines.as_bytes(), 0, &mut out), lines.len());
        String::from_utf8(out).unwrap()
    }

    fn call(id: &str, message: &str) -> String {
        let arguments = format!(r#"{{"message":"{message}"}}"#);
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{arguments},"_meta":{{"a":[1,"}}"]}}}}}}"#
        ) + "\n"
    }

    /// The first call is walked, the second recognised; a fresh splicer walks both.
    #[test]
    fn learned_and_walked_agree() {
        let mut one = Splicer::new();
        for (id, message) in [("1", "a"), ("22", r#"q\"uo\\te"#), ("\"x\"", ""), ("7", "\\\\"), ("8", "é")] {
            let line = call(id, message);
            let reply = answers(&mut one, &line);
            assert_eq!(reply, answers(&mut Splicer::new(), &line));
            let value: serde_json::Value = serde_json::from_str(&reply).unwrap();
            assert_eq!(value["id"].to_string(), id);
            let text = value["result"]["content"][0]["text"].to_string();
            assert_eq!(
                text,
                serde_json::from_str::<serde_json::Value>(&format!("\"{message}\"")).unwrap().to_string()
            );
        }
    }

    #[test]
    fn any_cut_gives_the_same_replies() {
        let lines = call("1", "a") + &call("2", "b\\\"") + &call("3", "c");
        let whole = answers(&mut Splicer::new(), &lines);
        for cut in 0..lines.len() {
            let (mut splicer, mut out) = (Splicer::new(), Vec::new());
            let used = splicer.answer(&lines.as_bytes()[..cut], 0, &mut out);
            let rest = splicer.answer(&lines.as_bytes()[used..], cut - used, &mut out);
            assert_eq!(used + rest, lines.len());
            assert_eq!(out, whole.as_bytes());
        }
    }

    /// Modern, legacy and modern again: each reply in the era of its own message, known shape or not.
    #[test]
    fn bodies_bring_their_era_along() {
        let mut splicer = Splicer::for_bodies();
        let mut ask = |body: &str| {
            let mut out = Vec::new();
            let answered = splicer.answer_body(body.as_bytes(), &mut out);
            (answered, String::from_utf8(out).unwrap())
        };
        let legacy = |id| call(id, "m").trim_end().to_owned();
        let modern = |id| legacy(id).replace("\"a\":", "\"io.modelcontextprotocol/protocolVersion\":");
        for _ in 0..2 {
            for (id, body, era) in [("1", modern("1"), true), ("2", legacy("2"), false)] {
                // Twice: walked, then known.
                for body in [&body, &body] {
                    let (answered, reply) = ask(body);
                    assert_eq!((answered, reply.contains("resultType")), (Answered::Replied, era), "{reply}");
                    assert!(reply.starts_with(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},")), "{reply}");
                    assert!(reply.ends_with("}}"), "{reply}");
                }
            }
            assert_eq!(ask("{\"method\":\"notifications/initialized\"}"), (Answered::Taken, String::new()));
            for nonsense in ["", " ", "[]", "{"] {
                let (answered, reply) = ask(nonsense);
                assert!(answered == Answered::Refused && reply.contains("-32600"), "{nonsense:?}: {reply}");
            }
        }
    }

    #[test]
    fn members_may_stand_in_any_order() {
        let line = concat!(
            r#" { "params" : {"arguments":{"x":[{}],"message":"m"},"name":"echo"}, "method":"tools/call","#,
            r#""id": 5 , "jsonrpc":"2.0"}"#,
            "\n"
        );
        assert!(
            answers(&mut Splicer::new(), line).starts_with(r#"{"jsonrpc":"2.0","id":5,"result":{"content""#)
        );
    }

    #[test]
    fn both_eras_open() {
        let mut splicer = Splicer::new();
        let ask = |version: &str| {
            format!(r#"{{"id":1,"method":"initialize","params":{{"protocolVersion":"{version}"}}}}"#) + "\n"
        };
        assert!(answers(&mut splicer, &ask("2025-03-26")).contains(r#""protocolVersion":"2025-03-26""#));
        assert!(answers(&mut splicer, &ask("2026-07-28")).contains(r#""protocolVersion":"2025-11-25""#));
        assert!(!answers(&mut splicer, &call("1", "a")).contains("resultType"));
        let discover = "{\"id\":\"d\",\"method\":\"server/discover\",\"params\":{}}\n";
        let reply = answers(&mut Splicer::new(), discover);
        assert!(
            serde_json::from_str::<serde_json::Value>(&reply).unwrap()["result"]["supportedVersions"]
                .is_array()
        );
    }

    #[test]
    fn an_array_is_answered_element_by_element() {
        let notification = r#"{"method":"notifications/initialized"}"#;
        let element = |id: &str| call(id, "m").trim_end().to_owned();
        // The second and the third are known, behind the notification another shape comes.
        let ping = r#"{"id":4,"method":"ping"}"#;
        let array =
            format!("[{}, {},{} ,{notification},{ping},[]]", element("1"), element("\"b\""), element("3"));
        let lines = answers(&mut Splicer::new(), &(array.clone() + "\n" + &call("5", "m")));
        let mut body = Vec::new();
        assert_eq!(Splicer::for_bodies().answer_body(array.as_bytes(), &mut body), Answered::Replied);
        let (first, second) = lines.split_once('\n').unwrap();
        // A body without metadata is legacy, a stream without a handshake is not.
        assert_eq!(first.replace(r#","resultType":"complete""#, "").as_bytes(), body);
        assert!(second.contains("\"id\":5"));
        let values: Vec<serde_json::Value> = serde_json::from_str(first).unwrap();
        let ids: Vec<_> = values.iter().map(|value| value["id"].to_string()).collect();
        assert_eq!(ids, ["1", "\"b\"", "3", "4", "null"]);
        assert_eq!(values[1]["result"]["content"][0]["text"], "m");
        assert_eq!(values[4]["error"]["code"], -32600);
        assert_eq!(answers(&mut Splicer::new(), &format!("[{notification}]\n")), "");
        for broken in ["[{]\n", "[1 2]\n", "[,]\n", "[1,]\n", "[{}\n", "[{}]]\n"] {
            let reply = answers(&mut Splicer::new(), broken);
            assert!(reply.starts_with('{') && reply.contains("-32600"), "{broken:?}: {reply}");
        }
    }

    #[test]
    fn a_blob_is_as_long_as_was_asked() {
        let ask = |bytes: &str| {
            let line = format!(
                r#"{{"id":1,"method":"tools/call","params":{{"name":"blob","arguments":{{"bytes":{bytes}}}}}}}"#
            );
            answers(&mut Splicer::new(), &(line + "\n"))
        };
        for bytes in [0, 1, 100_000] {
            let value: serde_json::Value = serde_json::from_str(&ask(&bytes.to_string())).unwrap();
            assert_eq!(value["result"]["content"][0]["text"].as_str().unwrap().len(), bytes);
        }
        for refused in ["-1", "\"7\"", "1e3", "268435457"] {
            assert!(ask(refused).contains("-32602"), "{refused}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_notifications_are_silent() {
        let mut splicer = Splicer::new();
        for line in ["[]\n", "{\"id\":1\n", "{\"id\"\n", "{\"id\":\n", "}\n", "{\"a\":\"\\\n", "x\n"] {
            assert!(answers(&mut splicer, line).contains("-32600"), "{line:?}");
        }
        assert_eq!(answers(&mut splicer, "{\"method\":\"notifications/initialized\"}\n\n"), "");
        assert!(answers(&mut splicer, "{\"id\":1,\"method\":\"no/such\"}\n").contains("-32601"));
        assert!(answers(&mut splicer, "{\"id\":1,\"method\":\"tools/call\"}\n").contains("-32602"));
    }
}
