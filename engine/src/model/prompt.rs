//! Prompts: templates of messages that a server offers, and what filling one in gives.

use serde::{Deserialize, Serialize};

use super::{
    resource::Icon,
    text::Role,
    tool::{Content, Members},
};

/// A prompt as the server lists it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Prompt {
    /// The name to get it by.
    pub name: String,
    /// A title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What can be filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Vec<PromptArgument>>,
    /// Pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// What can be filled in in a prompt.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct PromptArgument {
    /// Its name.
    pub name: String,
    /// A title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Must it be given? Absent means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Content,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// A prompt, filled in.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct GetPromptResult {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The messages.
    pub messages: Vec<PromptMessage>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}
