//! Messages: requests out, envelopes in. The body of an answer is read by `decode`, never here.

pub(crate) mod array;
mod digits;
pub(crate) mod encode;
pub(crate) mod envelope;
pub(crate) mod handshake;
mod walk;
