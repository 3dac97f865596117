//! What the caller sees: the client and its calls, bulk jobs, the engine inline, and what the server starts.

pub(crate) mod blocking;
pub(crate) mod bulk;
pub(crate) mod call;
pub(crate) mod client;
pub(crate) mod inbound;
pub(crate) mod inline;
pub(crate) mod porter;
pub(crate) mod tool;
