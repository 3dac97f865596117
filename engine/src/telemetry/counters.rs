//! Counters: plain integers in the shard that counts, copied to shared memory once a turn.
//!
//! Counting costs one add to a line the shard owns; reading costs the reader, who adds up the shards. At rest
//! `submitted = answered + failed + cancelled + live` holds; a reading in the middle of a storm may mix two turns, since the
//! numbers are copied one by one.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A reading of all counters, summed over the shards. [`Client::stats`](crate::Client::stats) gives one.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }

        /// One shard's counters as the other threads see them.
        #[derive(Debug, Default)]
        pub(crate) struct SharedStats {
            $($name: AtomicU64,)*
        }

        impl SharedStats {
            /// Copies a reading in. One writer.
            pub(crate) fn publish(&self, stats: &Stats) {
                $(self.$name.store(stats.$name, Ordering::Release);)*
            }

            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Acquire),)* }
            }
        }
    };
}

counters! {
    /// Calls that the engine took on.
    submitted,
    /// Calls that ended with a response, result or error.
    answered,
    /// Of the answered, those with a JSON-RPC error.
    rpc_errors,
    /// Calls that ended without a usable response: timed out, lost, unreachable, oversized, closed.
    failed,
    /// Of the failed, those whose time ran out.
    timed_out,
    /// Calls that their caller gave up.
    cancelled,
    /// Calls that have not ended. A gauge.
    live,
    /// Answers to calls that had timed out or been cancelled; dropped.
    late,
    /// Answers with an id that is no call's (or no longer remembered); dropped.
    unknown,
    /// Answers whose id came as a string or as a fraction with nothing after the point; accepted.
    lenient_ids,
    /// Responses without an id, or with a null one; they belong to nobody.
    id_less,
    /// Messages that are neither request, notification nor response.
    malformed,
    /// Lines that are no JSON.
    noise_lines,
    /// Lines with nothing on them.
    blank_lines,
    /// Lines beyond the frame bound.
    oversized,
    /// Notifications that the server sent.
    notifications,
    /// Requests that the server sent. Each got one reply, but for those of a modern server, which may not send any.
    server_requests,
    /// Notifications of the server that found their queue full.
    notifications_dropped,
    /// Notifications of a subscription that came before its acknowledgement, or acknowledged it twice; dropped.
    notifications_early,
    /// Notifications of the caller of which no byte had left when their connection or their session ended, or their time ran out.
    notifications_unsent,
    /// Cancellations told to the server.
    cancellations_sent,
    /// Cancellations and replies not sent because the server does not read.
    output_suppressed,
    /// Times that a connection was opened and ready for calls.
    connects,
    /// Times that a connection was lost, or could not be opened.
    disconnects,
    /// Calls that moved to another connection because no byte of them had been sent.
    moved,
    /// Connections that were given up because they answered nothing any more.
    retired,
    /// Times that a connection of the overflow was asked for, because calls found no room.
    overflow_opened,
    /// Times that one was closed, because nobody had used it for as long as was set.
    overflow_closed,
    /// Times that a silent stream was asked whether its server lives; of those that gave no sign, `retired` knows.
    health_checks,
    /// Sessions that the server ended and that were opened anew.
    sessions_lost,
    /// Notifications, replies and cancellations that the server refused over HTTP.
    errands_refused,
    /// Requests over HTTP, whatever they were about.
    http_requests,
    /// Sockets opened for HTTP.
    http_sockets,
    /// Sockets that the server closed while they were free.
    http_idle_closed,
    /// Sockets that were closed because they had been free for `http_idle_timeout`.
    http_idle_retired,
    /// Streams of calls that ended early and were taken up again.
    streams_resumed,
    /// JSON-RPC arrays of calls that were sent.
    arrays_sent,
    /// Calls that were sent in arrays.
    calls_in_arrays,
    /// Arrays that the server refused without executing anything.
    arrays_refused,
    /// Calls of refused arrays that were sent again one by one.
    array_fallbacks,
    /// Arrays of two pings by which servers were asked whether they answer arrays.
    array_probes,
    /// Calls that all connections together may have unanswered, as their windows stand. A gauge.
    window,
    /// Adaptive windows: times that one was made wider.
    window_raises,
    /// Times that one was made narrower because fewer calls in flight bring as many answers, or because round trips grew long.
    window_cuts_flat,
    /// Times that one was made narrower because the server refused a call for being too busy.
    window_cuts_refused,
    /// The same for time-outs.
    window_cuts_timed_out,
    /// The same for connections and sockets that were lost with calls on them.
    window_cuts_lost,
    /// Refusals by which the server said that it is too busy, where windows are adaptive or there are several connections.
    refusals,
    /// Times that one of several connections was left alone for a while, because it refused or failed calls in a row.
    rests,
    /// Times that a shard polled before it slept, as [`ConfigBuilder::spin`](crate::ConfigBuilder::spin) asks for.
    spins,
    /// Of those, the ones that brought something.
    spins_paid,
    /// Bytes read.
    bytes_in,
    /// Bytes written.
    bytes_out,
}
