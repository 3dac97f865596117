//! Completion: what a server proposes for the argument that is being typed.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

use super::tool::Members;

/// What the argument belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Reference {
    /// A prompt.
    #[serde(rename = "ref/prompt")]
    Prompt {
        /// Its name.
        name: String,
        /// All other members.
        #[serde(flatten)]
        rest: Members,
    },
    /// A resource, or a template of resources.
    #[serde(rename = "ref/resource")]
    Resource {
        /// Its address, or the pattern of addresses.
        uri: String,
        /// All other members.
        #[serde(flatten)]
        rest: Members,
    },
}

impl Reference {
    /// A prompt by its name.
    pub fn prompt(name: impl Into<String>) -> Self {
        Self::Prompt { name: name.into(), rest: Members::new() }
    }

    /// A resource by its address, or a template by its pattern.
    pub fn resource(uri: impl Into<String>) -> Self {
        Self::Resource { uri: uri.into(), rest: Members::new() }
    }
}

/// What has been typed so far.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct CompletionArgument {
    /// The argument's name.
    pub name: String,
    /// Its value so far.
    pub value: String,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// The params of `completion/complete`.
///
/// ```
/// use volley::mcp::{CompletionRequest, Reference};
///
/// let request = CompletionRequest::new(Reference::prompt("review"), "language", "ru").knowing("framework", "axum");
/// assert_eq!(request.argument.value, "ru");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// What the argument belongs to.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// The argument.
    pub argument: CompletionArgument,
    /// All other members; `context` with the arguments that are known already.
    #[serde(flatten)]
    pub rest: Members,
}

impl CompletionRequest {
    /// Asks for values of this argument that go on from `value`.
    pub fn new(reference: Reference, argument: impl Into<String>, value: impl Into<String>) -> Self {
        let argument =
            CompletionArgument { name: argument.into(), value: value.into(), rest: Members::new() };
        Self { reference, argument, rest: Members::new() }
    }

    /// Tells the server an argument that is known already (from 2025-06-18 on; older servers ignore it).
    #[must_use]
    pub fn knowing(mut self, argument: impl Into<String>, value: impl Into<String>) -> Self {
        let known = self.rest.get_mut("context").and_then(|context| context.get_mut("arguments"));
        let mut arguments = known.map(Value::take).filter(Value::is_object).unwrap_or_else(|| json!({}));
        arguments[argument.into()] = value.into().into();
        self.rest.insert("context".to_owned(), json!({"arguments": arguments}));
        self
    }
}

/// What the server proposes.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// The values, at most a hundred by the protocol; a server that sends more is not cut.
    pub values: Vec<String>,
    /// How many there are in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Number>,
    /// Are there more than these?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_more: Option<bool>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// The answer to `completion/complete`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct CompletionResult {
    /// What the server proposes.
    pub completion: Completion,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told_together() {
        let request = CompletionRequest::new(Reference::resource("f:///{a}"), "a", "")
            .knowing("b", "1")
            .knowing("c", "2");
        let expected = json!({
            "ref": {"type": "ref/resource", "uri": "f:///{a}"},
            "argument": {"name": "a", "value": ""},
            "context": {"arguments": {"b": "1", "c": "2"}},
        });
        assert_eq!(serde_json::to_value(&request).unwrap(), expected);
        assert_eq!(serde_json::from_value::<CompletionRequest>(expected).unwrap(), request);
    }
}
