//! Whole calls over HTTP/1.1, one call in flight on each connection: the engine, wrk, and the SDK.
//!
//! Over HTTP the kernel takes nine tenths of the time, and the window is the number of connections. What
//! is possible is therefore shown by wrk, which posts the same bytes for ever and reads nothing of the
//! replies; what users have today, by the client of the official Rust SDK. [`racer`] says what a
//! contestant is, [`field`] lists who runs, [`table`] makes the table. Unlike on the hot path all of
//! them meet one and the same target process, which keeps no state from one connection to the next.

pub mod field;
pub mod racer;
pub mod rmcp;
pub mod table;
pub mod volley;
pub mod wrk;
