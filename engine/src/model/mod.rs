//! What calls and answers are made of, as callers see it: tools and their results, and what a server starts. No queue, no
//! thread, no socket.

pub(crate) mod inbound;
pub(crate) mod tool;
