//! What HTTP decides for MCP, without a socket: requests are written, responses taken apart, lanes counted.
//!
//! Leaves, of which none knows another: [`head`] reads the head of an answer, [`chunked`] undoes the chunks of
//! its body, [`event_stream`] cuts that body into events, and [`request`] says what the headers of a call look
//! like that mirror its arguments. Each is shown bytes that the caller owns, and copies what it must alone.
//! Above them, a [`body`] is what remains of an answer without its framing, [`reader`] joins it with the first two for the
//! responses of one socket, `h2` is the machine of a socket that carries many exchanges, [`template`] writes whole requests
//! with [`plans`] of what to mirror, a [`lane`] is a socket with its exchange, and a [`pool`] the lanes of one connection,
//! which a [`census`] counts.

pub(crate) mod body;
pub(crate) mod census;
pub(crate) mod chunked;
pub(crate) mod event_stream;
#[cfg(feature = "http2")]
pub(crate) mod h2;
#[cfg(not(feature = "http2"))]
pub(crate) mod no_h2;
#[cfg(not(feature = "http2"))]
pub(crate) use no_h2 as h2;
pub(crate) mod head;
pub(crate) mod lane;
pub(crate) mod plans;
pub(crate) mod pool;
pub(crate) mod reader;
pub(crate) mod request;
pub(crate) mod settings;
pub(crate) mod template;
