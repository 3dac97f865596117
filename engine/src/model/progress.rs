//! How far a call has come, as the server reports it.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::tool::Members;

/// The params of `notifications/progress`. They come for calls made
/// [`with_progress`](crate::ToolCall::with_progress), to the readers of notifications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Which call it is about: text or a whole number.
    pub progress_token: Value,
    /// How far it has come; it only grows.
    pub progress: Number,
    /// How far it has to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Number>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

impl Progress {
    /// The method of the notification.
    pub const METHOD: &'static str = "notifications/progress";
}
