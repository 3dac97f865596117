//! What the caller sees: the client and its calls, batches, bulk jobs, and the engine inline.

pub(crate) mod batch;
mod block;
pub(crate) mod blocking;
mod blocking_mcp;
pub(crate) mod bulk;
pub(crate) mod bulk_decoded;
mod bulk_intercepted;
pub(crate) mod call;
pub(crate) mod client;
pub(crate) mod inline;
mod interceptor;
pub(crate) mod mcp;
mod pause;
mod rounds;
pub(crate) mod subscription;
mod tasks;
mod together;
