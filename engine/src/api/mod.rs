//! What the caller sees.

pub(crate) mod inbound;
pub(crate) mod inline;
pub(crate) mod tool;
