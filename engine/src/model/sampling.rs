//! Sampling: a server asks the client for a message of its language model.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::{
    text::Role,
    tool::{Content, Members},
};

/// One block, or several: revisions before 2025-11-25 know only one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Blocks {
    /// One block.
    One(Content),
    /// Several.
    Many(Vec<Content>),
}

impl Blocks {
    /// The blocks, however many.
    pub fn as_slice(&self) -> &[Content] {
        match self {
            Self::One(block) => std::slice::from_ref(block),
            Self::Many(blocks) => blocks,
        }
    }
}

/// One message of a conversation with a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Blocks,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// Which model the server would like.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelPreferences {
    /// Names, or parts of names, the best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<Vec<ModelHint>>,
    /// From 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_priority: Option<Number>,
    /// From 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_priority: Option<Number>,
    /// From 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intelligence_priority: Option<Number>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// The name of a model, or a part of it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ModelHint {
    /// For instance `sonnet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// The params of `sampling/createMessage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateMessageRequest {
    /// The conversation so far.
    pub messages: Vec<SamplingMessage>,
    /// The longest answer wanted, in tokens.
    pub max_tokens: Number,
    /// Which model the server would like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_preferences: Option<ModelPreferences>,
    /// The system prompt the server would like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// `none`, `thisServer` or `allServers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_context: Option<String>,
    /// The temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Number>,
    /// Texts at which the model is to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_sequences: Option<Vec<String>>,
    /// Tools for the model, if the client has declared `sampling.tools`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Value>>,
    /// All other members: `metadata`, `toolChoice` and others.
    #[serde(flatten)]
    pub rest: Members,
}

/// The model's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateMessageResult {
    /// Who speaks: the assistant.
    pub role: Role,
    /// What is said.
    pub content: Blocks,
    /// The name of the model.
    pub model: String,
    /// Why it stopped, if that is known: `endTurn`, `stopSequence`, `maxTokens` and others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

impl CreateMessageResult {
    /// A text of the assistant.
    pub fn text(model: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            role: Role::Assistant,
            content: Blocks::One(Content::text(text)),
            model: model.into(),
            stop_reason: None,
            rest: Members::new(),
        }
    }
}
