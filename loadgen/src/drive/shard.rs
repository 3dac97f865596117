//! What the generator needs of an engine: the seam between the two.
//!
//! [`crate::drive::engine`] fills it with the real one, the tests of this folder with a fake
//! that runs in the same thread. Everything else in this folder is the same for both.

use std::fmt;
use std::time::Duration;

use crate::record::{ArrayCounts, HttpCounts};

/// Makes shards, one for each worker, on the worker's own thread.
pub(crate) trait Connect: Sync {
    /// What is made.
    type Shard: Shard;

    /// Connects the shard of worker `index` with its share of the connections, all of them
    /// ready for calls, and prepares the tool.
    ///
    /// # Errors
    ///
    /// A reason for humans: nobody there, no common revision, no such tool.
    fn connect(&self, index: u32) -> Result<Self::Shard, String>;
}

/// Some connections, driven on the caller's thread.
pub(crate) trait Shard {
    /// How many calls can be submitted right now: the free credits of all windows.
    fn room(&self) -> usize;

    /// Encodes one call of the prepared tool with these raw JSON arguments; `now_ns` is a recent
    /// reading of [`Shard::now_ns`]. `tag` comes back with its outcome, exactly once.
    ///
    /// # Errors
    ///
    /// When no credit is free; then no outcome will come, and the same call is offered again.
    fn submit(&mut self, args: &[u8], tag: u64, now_ns: u64) -> Result<(), Full>;

    /// As [`Shard::submit`], for calls that are to leave together. Returns how many of them were taken, the first ones.
    fn submit_batch(&mut self, calls: &[(&[u8], u64)], now_ns: u64) -> usize {
        calls.iter().take_while(|(args, tag)| self.submit(args, *tag, now_ns).is_ok()).count()
    }

    /// How many calls have left in arrays since it was connected.
    fn arrays(&mut self) -> ArrayCounts {
        ArrayCounts::default()
    }

    /// Writes, reads, and hands each outcome to `sink(tag, now_ns, outcome)`. Returns when
    /// something happened, or after `wait_max`.
    ///
    /// # Errors
    ///
    /// When no connection can be had any more; a reason for humans. Calls whose outcome has not
    /// been handed over by then count as lost.
    fn turn(
        &mut self,
        wait_max: Duration,
        sink: &mut impl FnMut(u64, u64, Outcome<'_>),
    ) -> Result<(), String>;

    /// The clock that the sink's `now_ns` is on; it never goes back.
    fn now_ns(&self) -> u64;

    /// What it has cost in HTTP since it was connected; nothing over other transports.
    fn http(&mut self) -> HttpCounts {
        HttpCounts::default()
    }

    /// Calls that its connections may have in flight now, all together.
    fn window(&mut self) -> u64 {
        0
    }

    /// The revision that the server and the engine agreed on.
    fn revision(&self) -> String;
}

/// No credit is free: a state, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// How a call ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome<'a> {
    /// With a result; the whole response line.
    Answer(&'a [u8]),
    /// With a JSON-RPC error; the whole response line.
    RpcError(&'a [u8]),
    /// Without an answer within the timeout.
    TimedOut,
    /// Otherwise, for this reason.
    Failed(&'a dyn fmt::Display),
}
