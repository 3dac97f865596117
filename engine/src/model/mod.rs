//! What calls and answers are made of, as callers see it: tools, resources, prompts and all else that the protocol names, and
//! what a server starts. No queue, no thread, no socket.
//!
//! Types that are read and written have a member `rest` for whatever their revision does not know, so that nothing is lost on
//! the way through. What every revision spells its own way, or what only some send, stays in `rest` and has a method that reads
//! it. `tests/conformance/schema.rs` goes over all of them with the schema of each revision.

pub(crate) mod answer;
pub(crate) mod block;
pub(crate) mod body;
pub(crate) mod cache;
pub(crate) mod completion;
pub(crate) mod elicitation;
pub(crate) mod inbound;
pub(crate) mod input;
pub(crate) mod interceptor;
pub(crate) mod logging;
pub(crate) mod outcome;
pub(crate) mod page;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod resource;
pub(crate) mod root;
pub(crate) mod sampling;
pub(crate) mod subscription;
pub(crate) mod task;
pub(crate) mod text;
pub(crate) mod tool;
