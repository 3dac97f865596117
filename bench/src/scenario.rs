//! The work of the unit benches: what comes off the wire, cut as reads cut it, and what must be found.
//!
//! A scenario is written once and runs under the clock (criterion) and under the instruction
//! counter alike. Each knows its expected answers, so that no stage can be fast and wrong:
//! [`Scenario::check`] after each change, [`Scenario::frames`] even inside the measured loop.
//! [`plain`] is the naive twin every stage is compared with.

use crate::corpus::{self, Answer, Kind, Message, SIZES, Shape};

/// Bytes of the wire, and the answers in them.
#[derive(Debug)]
pub struct Scenario {
    name: String,
    bytes: Vec<u8>,
    answers: Vec<Answer>,
}

impl Scenario {
    fn new(name: String, messages: impl IntoIterator<Item = Message>) -> Self {
        let (mut bytes, mut answers) = (Vec::new(), Vec::new());
        for message in messages {
            bytes.extend_from_slice(&message.frame);
            answers.push(message.answer);
        }
        Self { name, bytes, answers }
    }

    /// As benchmarks call it, for example `one/python/64KiB`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes in one piece.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes in pieces of at most so many.
    ///
    /// # Panics
    ///
    /// When a piece may have no byte at all.
    pub fn reads(&self, bytes_max: usize) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(bytes_max)
    }

    /// How many frames must be found.
    pub fn frames(&self) -> usize {
        self.answers.len()
    }

    /// What must be found, in the order of the wire.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Compares what a stage found with what is there.
    ///
    /// # Panics
    ///
    /// When they differ, naming the first difference; texts are shortened.
    pub fn check(&self, found: &[Answer]) {
        for (at, (expected, found)) in self.answers.iter().zip(found).enumerate() {
            let same = (expected.id, expected.kind) == (found.id, found.kind);
            assert!(
                same,
                "{}: message {at} is {:?} {:?}, found {:?} {:?}",
                self.name, expected.kind, expected.id, found.kind, found.id
            );
            let differ = expected.text.bytes().zip(found.text.bytes()).position(|(a, b)| a != b);
            assert!(
                expected.text == found.text,
                "{}: the text of message {at} differs at {differ:?}",
                self.name
            );
        }
        assert_eq!(found.len(), self.answers.len(), "{}: number of messages", self.name);
    }
}

/// One frame each: every shape in every size.
pub fn singles() -> impl Iterator<Item = Scenario> {
    Shape::ALL.into_iter().flat_map(|shape| {
        SIZES.into_iter().map(move |(size, bytes)| {
            Scenario::new(format!("one/{shape}/{size}"), [corpus::result(shape, bytes, 4_711)])
        })
    })
}

/// A full window of small replies, every shape: what one turn of a busy connection has to eat.
pub fn windows() -> impl Iterator<Item = Scenario> {
    Shape::ALL.into_iter().map(|shape| {
        let replies = (0..WINDOW).map(move |at| corpus::result(shape, 200, FIRST_ID + at));
        Scenario::new(format!("window/{shape}"), replies)
    })
}

/// Everything in one stream, out of order: four shapes, failures, notifications.
pub fn mixture() -> Scenario {
    let messages = (0..WINDOW).map(|at| {
        // 389 and 1,024 have no common factor: each id once, in an order nobody sent.
        let id = FIRST_ID + at * 389 % WINDOW;
        match at % 16 {
            13 => corpus::notification(),
            14 => corpus::tool_error(id),
            15 => corpus::error(id),
            other => {
                corpus::result(Shape::ALL[other as usize % 4], if other == 12 { 1 << 10 } else { 200 }, id)
            }
        }
    });
    Scenario::new("mixture".into(), messages)
}

/// A busy socket's responses over HTTP, one after the other: bodies with a length, bodies in chunks, and event streams of one
/// event each. Heads as the official SDKs' servers write them.
pub fn responses() -> impl Iterator<Item = Scenario> {
    let headers = "server: uvicorn\r\ndate: Sat, 28 Nov 2026 10:00:00 GMT\r\nmcp-session-id: 4bf92f3577b34da6a3ce929d0e0e4736\r\n";
    let in_chunks = move |media: &str, text: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\n{headers}cache-control: no-cache, no-transform\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
            text.len()
        );
        [head.as_bytes(), text, b"\r\n0\r\n\r\n"].concat()
    };
    let length = move |body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let chunked = move |body: &[u8]| in_chunks("application/json", body);
    let events = move |body: &[u8]| {
        in_chunks("text/event-stream", &[b"event: message\r\ndata: ", body, b"\r\n\r\n"].concat())
    };
    let all: [(&str, Box<Response>); 3] =
        [("length", Box::new(length)), ("chunked", Box::new(chunked)), ("events", Box::new(events))];
    all.into_iter().map(|(name, response)| {
        let messages = (0..RESPONSES).map(|at| {
            let Message { frame, answer } = corpus::result(Shape::Python, 200, FIRST_ID + at);
            Message { frame: response(frame.trim_ascii_end()), answer }
        });
        Scenario::new(format!("http/{name}"), messages)
    })
}

/// Makes a whole response of a body.
type Response = dyn Fn(&[u8]) -> Vec<u8>;

/// A window of small replies with 10 MiB in the middle: the large one must not cost the small ones.
pub fn whale() -> Scenario {
    let messages = (0..WINDOW).map(|at| {
        corpus::result(Shape::Python, if at == WINDOW / 2 { 10 << 20 } else { 200 }, FIRST_ID + at)
    });
    Scenario::new("whale".into(), messages)
}

/// Finds the answers the slow way: split at newlines, parse everything, look it up.
///
/// # Panics
///
/// When a line is no message at all.
pub fn plain(bytes: &[u8]) -> Vec<Answer> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| plain_one(&serde_json::from_slice(line).expect("a line of JSON"))).collect()
}

fn plain_one(value: &serde_json::Value) -> Answer {
    let (kind, text) = if value["method"].is_string() {
        (Kind::Notification, &serde_json::Value::Null)
    } else if value["error"].is_object() {
        (Kind::Error, &value["error"]["message"])
    } else {
        let failed = value["result"]["isError"] == true;
        let kind = if failed { Kind::ToolError } else { Kind::Result };
        (kind, &value["result"]["content"][0]["text"])
    };
    Answer { id: value["id"].as_u64(), kind, text: text.as_str().unwrap_or_default().to_owned() }
}

/// Calls in flight, as in the hot path's largest row.
const WINDOW: u64 = 1_024;

/// Responses on one socket: enough to fill the slices of a read several times.
const RESPONSES: u64 = 256;

/// Ids of one length, so that the frames of a window have one size.
const FIRST_ID: u64 = 1_000;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_plain_parser_agrees_with_every_stream() {
        for scenario in windows().chain([mixture()]) {
            scenario.check(&plain(scenario.bytes()));
            let whole: Vec<u8> = scenario.reads(4_096).flatten().copied().collect();
            assert_eq!(whole, scenario.bytes());
        }
    }

    #[test]
    fn no_id_comes_twice() {
        let mixture = mixture();
        let ids: Vec<_> = mixture.answers().iter().filter_map(|answer| answer.id).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn responses_carry_the_messages_that_they_promise() {
        for scenario in responses() {
            let text = String::from_utf8(scenario.bytes().to_vec()).unwrap();
            assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), scenario.frames());
            // Every body is one line that begins as a message does; what stands before it is framing.
            let bodies: Vec<u8> = text
                .lines()
                .filter_map(|line| Some(&line[line.find(r#"{"jsonrpc""#)?..]))
                .map(|line| line.split("HTTP/1.1").next().unwrap())
                .flat_map(|line| [line.as_bytes(), b"\n"].concat())
                .collect();
            scenario.check(&plain(&bodies));
        }
    }

    #[test]
    #[should_panic(expected = "window/go: message 1 is")]
    fn a_wrong_id_is_noticed() {
        let scenario = windows().last().unwrap();
        let mut found = plain(scenario.bytes());
        found.swap(1, 2);
        scenario.check(&found);
    }
}
