//! The harness of the tests that cross a file: servers to misbehave, processes to look for, books to check.
//!
//! Nothing here sleeps to wait for an event. What can only be watched (a process that goes, a counter that moves) is polled
//! until it has happened or a deadline says that it did not; the deadlines are wide, since the machine may be busy.

#![forbid(unsafe_code)]

pub mod byte_server;
pub mod calls;
pub mod h2_server;
pub mod http_server;
pub mod patience;
pub mod ports;
pub mod processes;
pub mod record;
pub mod scripted_server;
pub mod target;
pub mod tls_front;
pub mod wait;
pub mod web_server;
pub mod websocket_server;
