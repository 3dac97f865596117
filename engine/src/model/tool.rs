//! Calls to tools: what is asked, and what comes back.

use std::{borrow::Cow, fmt, time::Duration};

use memchr::memchr2;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};
use serde_json::Value;

use super::body::Body;
use crate::{error::Error, proto::event::Patience};

/// A tool with the constant part of its calls written out once.
///
/// ```
/// use volley::Tool;
///
/// let echo = Tool::new("echo");
/// assert_eq!(echo.name(), "echo");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    name: String,
    /// The body of a call up to and including `"arguments":`.
    head: Vec<u8>,
}

impl Tool {
    /// A tool by name. Any name is allowed; the server knows which it has.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut head = Vec::new();
        write_head(&mut head, &name);
        Self { name, head }
    }

    /// The tool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }
}

/// The body of a call up to its arguments.
fn write_head(body: &mut Vec<u8>, tool: &str) {
    body.extend_from_slice(br#""method":"tools/call","params":{"name":"#);
    // Text is always JSON, and memory takes all that is written to it.
    let _ = serde_json::to_writer(&mut *body, tool);
    body.extend_from_slice(br#","arguments":"#);
}

/// One call to a tool, ready to be sent.
///
/// ```
/// use serde_json::json;
/// use volley::ToolCall;
///
/// let call = ToolCall::new("echo", &json!({"message": "hello"}))?;
/// let same = ToolCall::raw("echo", r#"{"message":"hello"}"#)?;
/// assert_eq!(call, same);
/// assert!(ToolCall::new("echo", &"no object").is_err());
/// # Ok::<(), volley::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    body: Body,
    timeout: Option<Duration>,
    at_most: Option<Duration>,
    progress: bool,
}

impl ToolCall {
    /// A call with arguments of any serialisable type that becomes a JSON object.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the arguments do not become a JSON object.
    pub fn new(tool: &str, arguments: &impl Serialize) -> Result<Self, Error> {
        // Most calls fit, and the body is allocated once.
        let mut body = Vec::with_capacity(256);
        Self::write(&mut body, tool, arguments)?;
        Ok(Self::of(body))
    }

    /// Writes the body of such a call, and nothing else of it.
    pub(crate) fn write(body: &mut Vec<u8>, tool: &str, arguments: &impl Serialize) -> Result<(), Error> {
        write_head(body, tool);
        let start = body.len();
        serde_json::to_writer(&mut *body, arguments)
            .map_err(|error| Error::input(format!("arguments of {tool:?}: {error}")).because(error))?;
        if body.get(start) != Some(&b'{') {
            return Err(Error::input(format!("arguments of {tool:?} are no JSON object")));
        }
        // A `RawValue` is written as it stands. Inside a JSON string there is no raw line feed, so any is blank space between tokens.
        if memchr2(b'\n', b'\r', &body[start..]).is_some() {
            let mut at = 0;
            body.retain(|byte| {
                at += 1;
                at <= start || !matches!(byte, b'\n' | b'\r')
            });
        }
        Ok(())
    }

    /// A call with arguments that are JSON already.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if they are no JSON object; line feeds between tokens
    /// are taken out, since a line feed ends a message on the wire.
    pub fn raw(tool: &str, arguments: &str) -> Result<Self, Error> {
        let parsed: &serde_json::value::RawValue = serde_json::from_str(arguments)
            .map_err(|error| Error::input(format!("arguments of {tool:?}: {error}")).because(error))?;
        let text = parsed.get();
        if !text.starts_with('{') {
            return Err(Error::input(format!("arguments of {tool:?} are no JSON object")));
        }
        let mut body = Tool::new(tool).head;
        // Inside a JSON string there is no raw line feed, so any is blank space between tokens.
        body.extend(text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        Ok(Self::of(body))
    }

    fn of(body: Vec<u8>) -> Self {
        Self { body: Body::of(body), timeout: None, at_most: None, progress: false }
    }

    /// How long this call may take from its submission, or from its last progress.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long this call may take whatever its progress.
    #[must_use]
    pub fn timeout_at_most(mut self, at_most: Duration) -> Self {
        self.at_most = Some(at_most);
        self
    }

    /// Asks the server to report progress. Each report starts the time-out again.
    #[must_use]
    pub fn with_progress(mut self) -> Self {
        self.progress = true;
        self
    }

    /// Adds a member to the call's `_meta`: trace context (`traceparent`, `tracestate`, `baggage`), the log level
    /// (`io.modelcontextprotocol/logLevel`), or a key of one's own. One of the same name is replaced.
    ///
    /// ```
    /// use volley::ToolCall;
    ///
    /// let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// let call = ToolCall::raw("echo", "{}")?.with_meta("traceparent", trace)?;
    /// assert!(call.with_meta("progressToken", 1).is_err());
    /// # Ok::<(), volley::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for the members that the engine writes: `progressToken`, and
    /// `protocolVersion`, `clientInfo` and `clientCapabilities` of `io.modelcontextprotocol/`.
    pub fn with_meta(mut self, key: &str, value: impl Into<Value>) -> Result<Self, Error> {
        self.body.add_meta(Members::from_iter([(key.to_owned(), value.into())]))?;
        Ok(self)
    }

    pub(crate) fn patience(&self, default: Patience) -> Patience {
        let timeout = self.timeout.unwrap_or(default.timeout);
        Patience {
            timeout,
            at_most: self.at_most.unwrap_or(default.at_most.max(timeout)),
            progress: self.progress,
            standing: false,
        }
    }

    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.body.bytes()
    }

    pub(crate) fn request(&self) -> &Body {
        &self.body
    }
}

/// What a tool gave back.
///
/// A tool that failed says so with `is_error`; that is a result like any other, not an [`Error`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// The content blocks.
    #[serde(default)]
    pub content: Vec<Content>,
    /// The structured result, if the tool has one. `Some(Value::Null)` is a structured null.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub structured_content: Option<Value>,
    /// Did the tool fail?
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_error: bool,
    /// The result's `_meta`, as it came.
    #[serde(default, rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
    /// `complete`, unless a revision or extension says otherwise; absent means complete.
    #[serde(default, deserialize_with = "known_type", skip_serializing_if = "Option::is_none")]
    pub result_type: Option<Cow<'static, str>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A result's type. The usual one costs no memory.
fn known_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'static, str>>, D::Error> {
    struct Type;

    impl<'de> Visitor<'de> for Type {
        type Value = Option<Cow<'static, str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
            Ok(Some(if name == "complete" { "complete".into() } else { name.to_owned().into() }))
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_str(self)
        }
    }

    deserializer.deserialize_option(Type)
}

/// Tells a present null from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl ToolResult {
    /// The text blocks, joined by line feeds.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.content.iter().filter_map(Content::as_text).collect();
        texts.join("\n")
    }
}

/// One block of a tool's result. Blocks of a kind this version does not know are kept as they came.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// `text`.
    Text {
        /// The text.
        text: String,
        /// All other members of the block, annotations for instance.
        rest: Members,
    },
    /// `image`: base64 data and its MIME type.
    Image {
        /// Base64.
        data: String,
        /// For instance `image/png`.
        mime_type: String,
        /// All other members.
        rest: Members,
    },
    /// `audio`: base64 data and its MIME type.
    Audio {
        /// Base64.
        data: String,
        /// For instance `audio/wav`.
        mime_type: String,
        /// All other members.
        rest: Members,
    },
    /// `resource`: an embedded resource.
    Resource {
        /// The resource with its `uri` and its `text` or `blob`.
        resource: Value,
        /// All other members.
        rest: Members,
    },
    /// `resource_link`: where a resource is.
    ResourceLink {
        /// The address.
        uri: String,
        /// All other members.
        rest: Members,
    },
    /// Any other block, raw.
    Other(Members),
}

/// The members of a JSON object.
pub type Members = serde_json::Map<String, Value>;

impl Content {
    /// A block of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), rest: Members::new() }
    }

    /// The text, if it is a text block.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } => Some(text),
            _ => None,
        }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (own, rest): (Vec<(&str, Value)>, _) = match self {
            Self::Text { text, rest } => {
                (vec![("type", "text".into()), ("text", text.as_str().into())], rest)
            }
            Self::Image { data, mime_type, rest } | Self::Audio { data, mime_type, rest } => {
                let kind = if matches!(self, Self::Image { .. }) { "image" } else { "audio" };
                let (data, mime_type) = (data.as_str().into(), mime_type.as_str().into());
                (vec![("type", kind.into()), ("data", data), ("mimeType", mime_type)], rest)
            }
            Self::Resource { resource, rest } => {
                (vec![("type", "resource".into()), ("resource", resource.clone())], rest)
            }
            Self::ResourceLink { uri, rest } => {
                (vec![("type", "resource_link".into()), ("uri", uri.as_str().into())], rest)
            }
            Self::Other(members) => (Vec::new(), members),
        };
        serializer.collect_map(
            own.iter()
                .map(|(name, value)| (*name, value))
                .chain(rest.iter().map(|(name, value)| (name.as_str(), value))),
        )
    }
}

/// A tool as the server lists it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolDescription {
    /// The name to call it by.
    pub name: String,
    /// A title for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its arguments, unchanged.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input_schema: Value,
    /// The JSON Schema of its structured result, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Hints, which an untrusted server may get wrong: `readOnlyHint`, `idempotentHint` and others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Value>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_read_with_every_kind_of_block_and_nothing_is_lost() {
        let result: ToolResult = serde_json::from_value(json!({
            "content": [
                {"type": "text", "text": "a", "annotations": {"priority": 1}},
                {"type": "image", "data": "QQ==", "mimeType": "image/png"},
                {"type": "audio", "data": "QQ==", "mimeType": "audio/wav"},
                {"type": "resource", "resource": {"uri": "file:///x", "text": "y"}},
                {"type": "resource_link", "uri": "file:///x", "name": "x"},
                {"type": "hologram", "depth": 3},
                {"type": "text"},
            ],
            "structuredContent": null,
            "isError": true,
        }))
        .unwrap();
        assert_eq!(result.text(), "a");
        assert!(
            matches!(&result.content[0], Content::Text { rest, .. } if rest["annotations"]["priority"] == 1)
        );
        assert!(matches!(&result.content[4], Content::ResourceLink { rest, .. } if rest["name"] == "x"));
        assert!(matches!(&result.content[5], Content::Other(members) if members["depth"] == 3));
        assert!(matches!(&result.content[6], Content::Other(_)));
        assert_eq!(result.structured_content, Some(Value::Null));
        assert!(result.is_error);
    }

    #[test]
    fn calls_are_objects_on_one_line() {
        let call = ToolCall::raw("a\"b", "{\n \"x\":\r\n 1}").unwrap();
        // It was written as it stood once: what is between two line feeds is a message, and a server does what it says.
        let injected = "{\"a\":\n{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":{}}\r\n}";
        let value = serde_json::value::RawValue::from_string(injected.to_owned()).unwrap();
        assert_eq!(ToolCall::new("t", &value).unwrap(), ToolCall::raw("t", injected).unwrap());
        assert!(!call.body().contains(&b'\n'));
        assert!(String::from_utf8_lossy(call.body()).contains(r#""name":"a\"b""#));
        for bad in ["", "1", "[1]", "{", "{} {}"] {
            assert!(ToolCall::raw("t", bad).is_err(), "{bad:?}");
        }
    }
}
