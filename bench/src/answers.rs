//! Answers to tools of every kind of content, in every size: what reading an answer is measured on.
//!
//! Beside the shapes of [`corpus`](crate::corpus), which differ in their envelopes, these differ in what is inside: text with no
//! escapes, few or many, text of three bytes a character, a base64 image, many small blocks, structured content. Built in memory,
//! the same bytes every time. Proof: `answers_are_what_they_say`, below.

use std::fmt::Write;

use volley::ToolResult;

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// One text without escapes.
    Plain,
    /// One text with an escape at the end of each line of some 110 bytes.
    Log,
    /// One text with an escape every 15 bytes.
    Prose,
    /// One text of three bytes a character.
    Chinese,
    /// One image in base64.
    Image,
    /// Many blocks of 40 bytes of text.
    Blocks,
    /// Rows of six members as structured content.
    Structured,
}

impl Content {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Log, Self::Prose, Self::Chinese, Self::Image, Self::Blocks, Self::Structured];

    /// As benchmarks call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Log => "log",
            Self::Prose => "prose",
            Self::Chinese => "chinese",
            Self::Image => "image",
            Self::Blocks => "blocks",
            Self::Structured => "structured",
        }
    }
}

/// A response, without its line feed, whose content has at least so many bytes and hardly more.
pub fn answer(content: Content, bytes: usize) -> Vec<u8> {
    let text = |unit: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for n in 0.. {
            text.push_str(&unit(n));
            if text.len() >= bytes {
                break;
            }
        }
        format!(r#"{{"type":"text","text":{}}}"#, serde_json::Value::from(text))
    };
    let list = |unit: &dyn Fn(usize) -> String| {
        let mut list = String::new();
        for n in 0.. {
            list.push_str(&unit(n));
            if list.len() >= bytes {
                break;
            }
            list.push(',');
        }
        list
    };
    let (blocks, structured) = match content {
        Content::Plain => (text(&|_| "lorem ipsum dolor sit amet ".to_owned()), String::new()),
        Content::Log => (
            text(&|n| {
                format!(
                    "2026-11-28T02:37:17.123Z INFO worker-{} handled its request in {} us without any trouble at all\n",
                    n % 16,
                    n * 7 % 1000
                )
            }),
            String::new(),
        ),
        Content::Prose => (
            text(&|n| format!("row {n}:\tthe \"naïve\" parser read C:\\temp & a < b, then slept 😴\n")),
            String::new(),
        ),
        Content::Chinese => {
            (text(&|_| "工具调用的结果是一个很长的文本，没有转义。".to_owned()), String::new())
        }
        Content::Image => {
            let data = "iVBORw0KGgoAAAANSUhEUgAA".repeat(bytes / 24 + 1);
            (format!(r#"{{"type":"image","data":"{data}","mimeType":"image/png"}}"#), String::new())
        }
        Content::Blocks => (
            list(&|n| format!(r#"{{"type":"text","text":"item {n} is here, forty bytes of it or so"}}"#)),
            String::new(),
        ),
        Content::Structured => {
            let rows = list(&|n| {
                format!(
                    r#"{{"id":{n},"name":"user {n}","score":{}.{:02},"active":{},"tags":["a","bc"],"next":null}}"#,
                    n % 100,
                    n % 97,
                    n % 2 == 0
                )
            });
            let rows = format!(r#","structuredContent":{{"rows":[{rows}]}}"#);
            (r#"{"type":"text","text":"see the structured content"}"#.to_owned(), rows)
        }
    };
    let mut answer = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        answer,
        r#"{{"jsonrpc":"2.0","id":4711,"result":{{"content":[{blocks}]{structured},"isError":false}}}}"#
    );
    answer.into_bytes()
}

/// A response as other readers get it: the same members, the same type, the same refusals.
#[derive(serde::Deserialize)]
pub struct Response {
    #[serde(default, rename = "id")]
    _id: serde::de::IgnoredAny,
    result: Option<ToolResult>,
    error: Option<serde::de::IgnoredAny>,
    method: Option<serde::de::IgnoredAny>,
}

impl Response {
    /// Its result, if it is an answer.
    pub fn result(self) -> Option<ToolResult> {
        self.result.filter(|_| self.error.is_none() && self.method.is_none())
    }
}

/// The result of an answer as serde_json reads it.
pub fn by_serde_json(answer: &[u8]) -> Option<ToolResult> {
    serde_json::from_slice(answer).ok().and_then(Response::result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_they_say() {
        for content in Content::ALL {
            for bytes in [1, 200, 1 << 10, 64 << 10] {
                let answer = answer(content, bytes);
                assert!(answer.len() > bytes);
                let value: serde_json::Value = serde_json::from_slice(&answer).unwrap();
                let result: ToolResult = serde_json::from_value(value["result"].clone()).unwrap();
                let own = volley::internals::stages::decode(&answer).unwrap();
                assert_eq!(own, result, "{} of {bytes} bytes", content.name());
            }
        }
    }
}
