//! What HTTP decides for MCP, without a socket: answers are read, mirrored headers are written.
//!
//! Leaves, of which none knows another: [`head`] reads the head of an answer, [`chunked`] undoes the chunks of
//! its body, [`event_stream`] cuts that body into events, and [`request`] says what the headers of a call look
//! like that mirror its arguments. Each is shown bytes that the caller owns, and copies what it must alone.

#[cfg_attr(
    not(any(test, feature = "internals")),
    expect(dead_code, reason = "used by the HTTP wire, which comes next")
)]
pub(crate) mod chunked;
#[cfg_attr(
    not(any(test, feature = "internals")),
    expect(dead_code, reason = "used by the HTTP wire, which comes next")
)]
pub(crate) mod event_stream;
#[cfg_attr(
    not(any(test, feature = "internals")),
    expect(dead_code, reason = "used by the HTTP wire, which comes next")
)]
pub(crate) mod head;
#[cfg_attr(not(test), expect(dead_code, reason = "used by the HTTP wire, which comes next"))]
pub(crate) mod request;
