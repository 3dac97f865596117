//! What a server of 2026-07-28 wants to know before it goes on, instead of a result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tool::Members;

/// One thing that the server wants to know: `elicitation/create`, `sampling/createMessage` or `roots/list` with its params.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct InputRequest {
    /// Which of them.
    pub method: String,
    /// Its params, as they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// A result of type `input_required`. The request it answers is over; to go on, the same is asked again with the answers.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InputRequired {
    /// What the server wants to know, each under a key of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_requests: Option<BTreeMap<String, InputRequest>>,
    /// What the server wants back untouched. It is nobody else's to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_state: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}
