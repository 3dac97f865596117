//! Replies as real servers send them, each with the answer a client must find in it.
//!
//! Four shapes, taken from what the SDKs put on the wire for a tool's text (`tests/real-servers`):
//! they differ in where the id stands, in the order of members, in what they escape and in what
//! they say twice. Five sizes, 200 bytes to 10 MiB. A frame has exactly the size it is named after,
//! its newline included. Built in memory, the same bytes every time; nothing is read from a file.
//! Proof: `a_plain_parser_finds_the_expected_answer`, below.

use std::fmt::{self, Write};

/// Whose frame it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `result` first and the id last; non-ASCII as it is.
    TypeScript,
    /// The text twice: as content and as structured content.
    Python,
    /// `resultType` before the content.
    Rmcp,
    /// The shortest; `<`, `>` and `&` as `\u003c` and the like.
    Go,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TypeScript, Self::Python, Self::Rmcp, Self::Go];
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TypeScript => "typescript",
            Self::Python => "python",
            Self::Rmcp => "rmcp",
            Self::Go => "go",
        })
    }
}

/// Frame sizes in bytes, with the names they have in benchmarks.
pub const SIZES: [(&str, usize); 5] =
    [("200B", 200), ("1KiB", 1 << 10), ("64KiB", 64 << 10), ("1MiB", 1 << 20), ("10MiB", 10 << 20)];

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tool's result.
    Result,
    /// A tool's result that says the tool failed.
    ToolError,
    /// An error of the protocol.
    Error,
    /// Nobody asked for it.
    Notification,
}

/// What a client must find in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the call it answers; a notification has none.
    pub id: Option<u64>,
    /// What it is.
    pub kind: Kind,
    /// The tool's text, unescaped; or the error's message; empty for a notification.
    pub text: String,
}

/// One line of the wire, and what is in it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The line with its newline.
    pub frame: Vec<u8>,
    /// The answer in it.
    pub answer: Answer,
}

/// A tool's result with a text that makes the frame exactly so many bytes long.
///
/// # Panics
///
/// When the size is less than the shape needs around an empty text.
pub fn result(shape: Shape, bytes: usize, id: u64) -> Message {
    let empty = frame(shape, id, "").len();
    let room = bytes.checked_sub(empty).expect("a frame of this shape needs more bytes");
    // Python says it twice. An odd byte that is left over becomes a blank at the end of the line.
    let copies = if shape == Shape::Python { 2 } else { 1 };
    let (raw, text) = prose(shape, room / copies);
    let mut line = frame(shape, id, &raw);
    if room % copies == 1 {
        line.insert(line.len() - 1, ' ');
    }
    Message { frame: line.into_bytes(), answer: Answer { id: Some(id), kind: Kind::Result, text } }
}

/// A tool that failed, the failure being its text.
pub fn tool_error(id: u64) -> Message {
    let frame = format!(
        r#"{{"result":{{"content":[{{"type":"text","text":"MCP error -32602: Tool x not found"}}],"isError":true}},"jsonrpc":"2.0","id":{id}}}"#
    );
    let text = "MCP error -32602: Tool x not found".into();
    Message {
        frame: (frame + "\n").into_bytes(),
        answer: Answer { id: Some(id), kind: Kind::ToolError, text },
    }
}

/// An error of the protocol.
pub fn error(id: u64) -> Message {
    let frame =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#);
    let text = "Method not found".into();
    Message { frame: (frame + "\n").into_bytes(), answer: Answer { id: Some(id), kind: Kind::Error, text } }
}

/// The notification that may come at any time.
pub fn notification() -> Message {
    let frame = b"{\"method\":\"notifications/tools/list_changed\",\"jsonrpc\":\"2.0\"}\n".to_vec();
    Message { frame, answer: Answer { id: None, kind: Kind::Notification, text: String::new() } }
}

/// The line around a text that is already escaped.
fn frame(shape: Shape, id: u64, raw: &str) -> String {
    let mut line = match shape {
        Shape::TypeScript => format!(
            r#"{{"result":{{"content":[{{"type":"text","text":"{raw}"}}],"resultType":"complete"}},"jsonrpc":"2.0","id":{id}}}"#
        ),
        Shape::Python => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"text":"{raw}","type":"text"}}],"isError":false,"resultType":"complete","structuredContent":{{"result":"{raw}"}}}}}}"#
        ),
        Shape::Rmcp => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[{{"type":"text","text":"{raw}"}}],"isError":false}}}}"#
        ),
        Shape::Go => {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{raw}"}}]}}}}"#
            )
        }
    };
    line.push('\n');
    line
}

/// A text whose escaped form has so many bytes: prose with an escape every thirty bytes or so, then padding.
fn prose(shape: Shape, raw_bytes: usize) -> (String, String) {
    let (mut raw, mut text) = (String::with_capacity(raw_bytes), String::with_capacity(raw_bytes));
    for number in 0_u64.. {
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(line, "row {number}:\tthe \"naïve\" parser read C:\\temp & a < b, then slept 😴");
        let escaped = escape(shape, &line);
        if raw.len() + escaped.len() > raw_bytes {
            break;
        }
        raw += &escaped;
        text += &line;
    }
    let padding = "x".repeat(raw_bytes - raw.len());
    (raw + &padding, text + &padding)
}

fn escape(shape: Shape, text: &str) -> String {
    let mut raw = String::with_capacity(2 * text.len());
    for c in text.chars() {
        match c {
            '"' => raw += "\\\"",
            '\\' => raw += "\\\\",
            '\n' => raw += "\\n",
            '\t' => raw += "\\t",
            '<' | '>' | '&' if shape == Shape::Go => {
                let _ = write!(raw, "\\u{:04x}", u32::from(c));
            }
            c => raw.push(c),
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plain;

    #[test]
    fn a_plain_parser_finds_the_expected_answer() {
        for shape in Shape::ALL {
            // The two largest differ from 64 KiB in nothing but length.
            for (_, bytes) in &SIZES[..3] {
                for spare in 0..2 {
                    let message = result(shape, bytes + spare, 4_711);
                    assert_eq!(message.frame.len(), bytes + spare);
                    assert_eq!(plain(&message.frame), [message.answer]);
                }
            }
        }
        for message in [tool_error(7), error(8), notification()] {
            assert_eq!(plain(&message.frame), [message.answer]);
        }
    }
}
