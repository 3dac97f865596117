//! What a server logs, and how much of it one wants to hear.
//!
//! Up to 2025-11-25 the level is set for the connection ([`Client::set_log_level`](crate::Client::set_log_level)); from
//! 2026-07-28 on it is told with each request ([`LogLevel::META`]).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{text::open_text, tool::Members};

open_text! {
    /// How grave it is, as syslog (RFC 5424) has it.
    LogLevel {
        /// For those who write the server.
        Debug = "debug",
        /// In the course of things.
        Info = "info",
        /// Worth a look.
        Notice = "notice",
        /// Something may go wrong.
        Warning = "warning",
        /// Something went wrong.
        Error = "error",
        /// A part has failed.
        Critical = "critical",
        /// Somebody has to act.
        Alert = "alert",
        /// Nothing works.
        Emergency = "emergency",
    }
}

impl LogLevel {
    /// The member of `_meta` by which a request of 2026-07-28 asks for log messages.
    ///
    /// ```
    /// use volley::{ToolCall, mcp::LogLevel};
    ///
    /// let call = ToolCall::raw("echo", "{}")?.with_meta(LogLevel::META, LogLevel::Warning.as_str())?;
    /// # Ok::<(), volley::Error>(())
    /// ```
    pub const META: &'static str = "io.modelcontextprotocol/logLevel";
}

/// The params of `notifications/message`.
///
/// ```no_run
/// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
/// use volley::{Inbound, mcp::LogMessage};
///
/// let mut notifications = client.notifications();
/// while let Some(Inbound::Notification(notification)) = notifications.next().await {
///     if notification.method() == LogMessage::METHOD {
///         let message: LogMessage = notification.params()?;
///         println!("{}: {}", message.level, message.data);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogMessage {
    /// How grave it is.
    pub level: LogLevel,
    /// Who logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logger: Option<String>,
    /// What is logged, any JSON.
    #[serde(default)]
    pub data: Value,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

impl LogMessage {
    /// The method of the notification.
    pub const METHOD: &'static str = "notifications/message";
}
