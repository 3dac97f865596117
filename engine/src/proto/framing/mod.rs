//! Framings: bytes in, ranges of whole messages out. One for each kind of wire.

pub(crate) mod newline;
