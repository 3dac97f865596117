//! Tasks: calls whose result is fetched later. Two dialects, one type.
//!
//! Revision 2025-11-25 has them in its core (`ttl`, `pollInterval`, the result by `tasks/result`), 2026-07-28 as the extension
//! `io.modelcontextprotocol/tasks` (`ttlMs`, `pollIntervalMs`, the result inside the task). What differs stays in `rest`, and the
//! methods here read either.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{input::InputRequest, text::open_text, tool::Members};
use crate::error::RpcError;

/// The name under which both sides declare the extension.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

open_text! {
    /// Where a task stands.
    TaskStatus {
        /// It is being worked on.
        Working = "working",
        /// The server wants to know something.
        InputRequired = "input_required",
        /// It has a result.
        Completed = "completed",
        /// It ended with an error.
        Failed = "failed",
        /// It was cancelled.
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// Will it never change any more?
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A task as the server describes it.
///
/// ```
/// use std::time::Duration;
/// use volley::mcp::Task;
///
/// let text = r#"{"taskId":"t","status":"working","createdAt":"","lastUpdatedAt":"","ttl":null,"pollInterval":500}"#;
/// let task: Task = serde_json::from_str(text)?;
/// assert_eq!((task.ttl(), task.poll_interval()), (None, Some(Duration::from_millis(500))));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// By which to ask for it.
    pub task_id: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// When it began, in ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When it last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated_at: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

impl Task {
    fn milliseconds(&self, names: [&str; 2]) -> Option<Duration> {
        names.iter().find_map(|name| self.rest.get(*name)?.as_u64()).map(Duration::from_millis)
    }

    /// How long the server keeps it, from its beginning; `None` for ever, or if the server did not say.
    pub fn ttl(&self) -> Option<Duration> {
        self.milliseconds(["ttl", "ttlMs"])
    }

    /// How long to wait between two looks at it.
    pub fn poll_interval(&self) -> Option<Duration> {
        self.milliseconds(["pollInterval", "pollIntervalMs"])
    }

    /// The result, where it comes with the task (the extension).
    pub fn result(&self) -> Option<&Value> {
        self.rest.get("result")
    }

    /// The error that ended it, where that comes with the task (the extension).
    pub fn error(&self) -> Option<RpcError> {
        serde_json::from_value(self.rest.get("error")?.clone()).ok()
    }

    /// What the server wants to know, where that comes with the task (the extension).
    pub fn input_requests(&self) -> BTreeMap<String, InputRequest> {
        let requests = self.rest.get("inputRequests").cloned().unwrap_or_default();
        serde_json::from_value(requests).unwrap_or_default()
    }
}

/// The answer of 2025-11-25 to a call that was made as a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateTaskResult {
    /// The task.
    pub task: Task,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}
