//! The protocol core: what MCP and JSON-RPC decide, without a socket, a thread or a clock.
//!
//! Machines that take bytes, commands and the time, and give bytes, outcomes and the next deadline. The drivers (a
//! shard's thread, the caller's own thread, the simulator of the tests) only carry. From the bottom:
//! [`framing`], [`http`] and [`message`] cut and read bytes, [`revision`] holds every difference between revisions,
//! [`batch`] puts calls together, [`window`], [`correlation`], [`outbox`] and [`orphans`] each keep one account, [`pacing`] and
//! [`busy`] are about servers that have too much, [`health`] about those that say nothing, [`lifecycle`] owns the states of a connection, [`connection`] joins these for
//! one peer, [`exchange`] for all connections of a shard.

pub(crate) mod batch;
pub(crate) mod busy;
pub(crate) mod connection;
pub(crate) mod correlation;
pub(crate) mod event;
pub(crate) mod exchange;
pub(crate) mod framing;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod lifecycle;
pub(crate) mod message;
pub(crate) mod orphans;
pub(crate) mod outbox;
pub(crate) mod pacing;
pub(crate) mod revision;
pub(crate) mod window;
