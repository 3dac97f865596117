//! Calls MCP tools in bulk: sharded, pipelined, every call answered exactly once.
//!
//! A [`Client`] holds one or many connections to one MCP server, over HTTP, TCP, a Unix socket, WebSocket, or the stdin and stdout
//! of a child process, in every protocol revision from 2024-11-05 to 2026-07-28; which one, it finds out by itself. Calls made through
//! it are pipelined: as many as the windows allow are in flight together, and what is queued goes out in one write.
//!
//! ```no_run
//! use serde_json::json;
//! use volley::{Client, Config, ToolCall};
//!
//! # async fn example() -> Result<(), volley::Error> {
//! let client = Client::connect("stdio:python server.py", Config::default()).await?;
//!
//! // One call.
//! let result = client.call_tool("echo", &json!({"message": "hello"})).await?;
//! println!("{}", result.text());
//!
//! // A million, each with its own outcome.
//! let calls = (0..1_000_000).map(|i| ToolCall::new("echo", &json!({"message": i.to_string()})).expect("an object"));
//! let mut bulk = client.bulk(calls);
//! while let Some((index, outcome)) = bulk.next().await {
//!     if let Err(error) = outcome {
//!         eprintln!("call {index}: {error}; {}", error.hint());
//!     }
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! **Ten names for the first day:** [`Client`], [`Config`], [`Endpoint`], [`ToolCall`], [`Call`], [`ToolResult`], [`Bulk`],
//! [`Error`], [`Fate`], [`Stats`]. [`blocking`] has the client without async, [`Inline`] the engine on your own thread.
//!
//! **Every call ends once,** with an answer or with an [`Error`] that says how far it got ([`Fate`]): not sent, unknown, or
//! answered. Nothing is repeated behind your back; calls of which no byte had left when a connection died move to the next.
//!
//! **Everything is bounded:** windows, queues, frames, buffers. `docs/architecture.md` has the table and its sum.
//!
//! **Any executor, or none.** The work is done by the client's own threads; futures only wait. With feature `tokio` it may be done
//! by tasks of a tokio runtime instead ([`Driver::Tokio`]), which is faster where all calls come from that runtime.

#![deny(unsafe_code)]

mod api;
mod base;
mod config;
mod decode;
mod engine;
mod error;
#[cfg(any(test, feature = "internals"))]
mod fuzz_bodies;
mod model;
#[cfg(feature = "oauth")]
mod oauth;
mod policy;
mod proto;
mod queue;
mod shard;
mod slab;
mod telemetry;
mod transport;

pub use api::{
    batch::{Batch, BatchAnswers},
    bulk::{BlockingBulk, Bulk},
    bulk_decoded::{BlockingDecodedBulk, DecodedBulk},
    call::{Answer, Call},
    client::{Client, Full},
    inline::{Inline, InlineOutcome, WindowFull},
    subscription::Subscription,
};
pub use base::buffer::Frame;
pub use config::http::{HttpEndpoint, HttpReuse, HttpVersion};
#[cfg(feature = "tls")]
pub use config::tls::TlsConfig;
pub use config::{
    Config, ConfigBuilder,
    credentials::{Challenge, Credentials, CredentialsError},
    driver::Driver,
    endpoint::{Command, Endpoint},
    window::Window,
};
pub use error::{Error, ErrorKind, Phase, RpcError};
pub use model::{
    answer::RawAnswer,
    inbound::{Notification, ServerRequest},
    interceptor::{InterceptedCall, Interceptor, Verdict},
    tool::{Content, Members, Tool, ToolCall, ToolDescription, ToolResult},
};
#[cfg(feature = "oauth")]
pub use oauth::OAuth;
pub use proto::{
    batch::Arrays,
    event::Fate,
    message::handshake::ServerInfo,
    revision::{Era, Revision, UnknownRevision},
};
pub use shard::mailbox::{Inbound, Notifications};
pub use telemetry::counters::Stats;

pub mod blocking {
    //! The client without async: the same calls, on a thread that waits. See [`Client`].

    pub use crate::api::blocking::Client;
}

pub mod mcp {
    //! The protocol's own types: resources, prompts, completion, logging, progress, tasks, and what a server may ask of the
    //! client. What a type does not know of its JSON object stands in its `rest`, so nothing is lost on the way through.

    pub use crate::model::{
        cache::{CacheHints, CacheScope},
        completion::{Completion, CompletionArgument, CompletionRequest, CompletionResult, Reference},
        elicitation::{ElicitAction, ElicitForm, ElicitRequest, ElicitResult, ElicitUrl},
        input::{InputRequest, InputRequired},
        logging::{LogLevel, LogMessage},
        outcome::Outcome,
        page::{Listable, Listed, Page},
        progress::Progress,
        prompt::{GetPromptResult, Prompt, PromptArgument, PromptMessage},
        resource::{
            Annotations, Icon, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
            ResourceUpdated,
        },
        root::{ListRootsResult, Root},
        sampling::{
            Blocks, CreateMessageRequest, CreateMessageResult, ModelHint, ModelPreferences, SamplingMessage,
        },
        subscription::SubscriptionFilter,
        task::{CreateTaskResult, Task, TaskStatus},
        text::Role,
    };
}

#[cfg(any(test, feature = "internals"))]
pub mod internals;

#[cfg(all(test, any(volley_loom, volley_shuttle)))]
mod models;
