//! Every bound that is not a setting, and the relations between them, checked when the crate is compiled.
//!
//! Bounds that users may change live in the configuration and take their defaults from here. Units stand last in
//! the names. `docs/architecture.md` adds them up to the memory ceiling.

use std::time::Duration;

/// Ids are exact in a double up to here (ECMA-262 `Number.MAX_SAFE_INTEGER`); servers in JavaScript refuse more.
pub(crate) const WIRE_ID_MAX: u64 = (1 << 53) - 1;

/// Slots of one shard: 20 bits leave 33 bits of generation to one shard of one engine (see `slab::key`).
pub(crate) const SLOTS_MAX: u32 = 1 << 20;

/// Shards of one engine.
pub(crate) const SHARDS_MAX: usize = 256;

/// Connections of one engine.
pub(crate) const CONNECTIONS_MAX: usize = 1 << 16;

/// Subscriptions of one engine that may be configured: each may need a socket on any connection.
pub(crate) const SUBSCRIPTIONS_MAX: u32 = 1024;

/// Default bound on one frame, as the seed's ADR-0008 and rmcp have it.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The largest frame bound one may configure: ranges in a chunk are 32 bits wide.
pub(crate) const FRAME_BYTES_CEILING: usize = 1 << 30;

/// One read asks for at most this. Both sides of a wire work at once only if a turn takes a slice of the window, not
/// all of it: `bench hot-path` shows 2x between 16 KiB and 1 MiB at 1,024 in flight. Too small a slice costs system calls
/// where both sides share a core: there the floor itself takes 61 ns a call with slices of 16 KiB, 56 with 32, 53 with 64.
pub(crate) const READ_SLICE_BYTES: usize = 32 * 1024;

/// Bytes one connection writes in one turn: nearly all of a window of 1,024 calls, and no more of a long request, while which the other
/// connections wait. What stays behind has to be moved to the front before long (ADR 0009).
pub(crate) const WRITE_SLICE_BYTES: usize = 256 * 1024;

/// Chunks are this large unless one frame needs more; more than one read slice, so that the partial frame at the end of a
/// slice is not moved each time.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// How many times as long the place is to which a chunk moves that one frame outgrows, and by how many bytes longer at most.
pub(crate) const CHUNK_GROWTH: usize = 4;
pub(crate) const CHUNK_GROWTH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection that is never idle goes on in a chunk of up to this length when the frame has gone for which it grew: to move for each of
/// many frames of some hundred KiB would cost more copying than reading.
pub(crate) const CHUNK_BYTES_KEPT: usize = 1024 * 1024;

/// How long a shard keeps the memory of its last long frame for the next one.
pub(crate) const LONG_CHUNK_KEPT_FOR: Duration = Duration::from_secs(1);

/// With more lines than these a bulk job's short answers are copied out of the chunks they were read into: each of those would hold a whole
/// chunk for the few answers of one read, and there would soon be more of them than are kept.
pub(crate) const LINES_FOR_KEPT_CHUNKS_MAX: usize = 8;

/// Chunks a shard keeps for reuse.
pub(crate) const CHUNKS_KEPT_MAX: usize = 32;

/// A connection takes no new calls while this much of its output waits for the kernel, or its share of what the connections of a shard may
/// have together, but at least so much: some twenty calls, which one write takes. Ten thousand windows that are filled before
/// anything is written are 80 MB then, and were gigabytes.
pub(crate) const OUTBOX_BYTES_HIGH: usize = 1024 * 1024;
pub(crate) const OUTBOX_BYTES_HIGH_ALL: usize = 8 * 1024 * 1024;
pub(crate) const OUTBOX_BYTES_HIGH_MIN: usize = 8 * 1024;

/// Replies to the server and cancellations may go beyond the mark above, but not beyond this; then they are counted
/// as suppressed instead.
pub(crate) const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An outbox that has grown beyond this gives its memory back when it has been emptied [`OUTBOX_LULLS_MAX`] times without having
/// held more than this, and at once when it has grown beyond [`OUTBOX_BYTES_HIGH`].
pub(crate) const OUTBOX_BYTES_KEPT: usize = 64 * 1024;

/// Output of at most so much lends its memory to other connections while it is empty, and a shard keeps so many of these: at most 4 MiB.
pub(crate) const OUTBOX_BYTES_SPARE_MAX: usize = 4 * 1024;
pub(crate) const SPARES_MAX: usize = 1024;

/// A connection whose bursts the kernel does not take at once grows its outbox once, and not for each burst.
pub(crate) const OUTBOX_LULLS_MAX: u8 = 64;

/// Answers up to this length are copied into the slot of a single call; longer ones stay in their chunk. Copying 1 KiB
/// costs about as much as the contended reference count it saves.
pub(crate) const ANSWER_COPY_BYTES_MAX: usize = 4 * 1024;

/// Of what a server said when it refused to open, so much is told to callers.
pub(crate) const REASON_BYTES_MAX: usize = 1024;

/// A slot's buffers keep at most this capacity between calls.
pub(crate) const SLOT_BUFFER_BYTES_KEPT: usize = 16 * 1024;

/// Reads one connection may do in one turn before the next connection has its go.
pub(crate) const READS_PER_TURN_MAX: usize = 1;

/// The same where the shard is a task among those that it wakes: they come between two turns, and are more work than the read. With two slices the server
/// is woken half as often.
#[cfg(feature = "tokio")]
pub(crate) const READS_PER_TURN_OF_A_TASK_MAX: usize = 2;

/// Lines that are read in one turn, before what their answers make room for is written. With ten thousand connections a thousand were read
/// and then written to: what the kernel and we know of each had left the cache in between, and the server had nothing to do. 16 and 64 are as
/// good, 8 and all are slower (ADR 0026).
pub(crate) const LINES_PER_TURN_MAX: usize = 32;

/// Turns that have something to do without asking the poll, and bytes that they read, before it is asked all the same: only it
/// knows what came on other lines. A look takes 0.3 us, so it may not come with each turn; a slice of a long reply takes a hundred
/// times that, and each call of another connection waited for 32 of them once.
pub(crate) const UNLOOKED_TURNS_MAX: u32 = 32;
pub(crate) const UNLOOKED_BYTES_MAX: usize = READ_SLICE_BYTES;

/// What is asked of a read inside a long frame while short ones come in on other lines: they wait for one such read, and for one of their own.
/// Alone, or among others like it, a long frame is read in whole slices.
pub(crate) const CROWDED_READ_BYTES: usize = 8 * 1024;

/// So many reads inside long frames are short after a sign of others: half a megabyte.
pub(crate) const CROWDED_READS: u32 = 64;

/// Wakers that a shard left with the relay are woken by the shard itself after this (ns): 1 ms, short beside what a caller notices, and
/// longer than any executor that is not overloaded takes to poll a task.
pub(crate) const RELAY_WAIT_NS_MAX: u64 = 1_000_000;

/// Callers who were told of a free slot and leave it alone for this long (ns) are taken to be polled by nobody, and another is told: 20 ms, far longer than an
/// executor takes to come round, and short beside a call that somebody waits for.
pub(crate) const TOLD_WAIT_NS_MAX: u64 = 20_000_000;

/// Submissions one turn takes from the ring.
pub(crate) const SUBMISSIONS_PER_TURN_MAX: usize = 4096;

/// Deadlines are looked at no more often than this (ns): 10 ms.
pub(crate) const SWEEP_NS_MIN: u64 = 10_000_000;

/// Cancelled or timed-out calls whose answer may still come; beyond this the oldest is forgotten (its late answer is
/// then "unknown" instead of "late").
pub(crate) const ORPHANS_MAX: usize = 4096;

/// Ciphertext of one TLS connection that has been read and not yet decrypted.
#[cfg(feature = "tls")]
pub(crate) const TLS_READ_BYTES: usize = 16 * 1024;

/// Plaintext that one TLS connection encrypts before the kernel has taken all it encrypted earlier.
#[cfg(feature = "tls")]
pub(crate) const TLS_WRITE_BYTES_MAX: usize = 64 * 1024;

/// Reads in a row that one look at a transport may do without getting anything for the protocol: pings, tickets, pieces of a
/// record. Then the other connections have their go.
#[cfg(any(feature = "tls", feature = "websocket"))]
pub(crate) const FRUITLESS_READS_MAX: usize = 8;

/// The longest answer to the request that opens a WebSocket, headers and all.
#[cfg(feature = "websocket")]
pub(crate) const UPGRADE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a child's stderr that are kept.
pub(crate) const STDERR_RING_BYTES: usize = 64 * 1024;

/// Notifications that wait for a reader, and server requests that wait for a handler.
pub(crate) const INBOUND_QUEUE_MAX: usize = 1024;

/// Bytes of notifications that wait for one reader; one that is longer by itself is taken when nothing else waits.
pub(crate) const INBOUND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the head of one HTTP answer, interim heads before it included. Everyday heads take less than one KiB; the
/// rest is room for long challenges and cookies.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Header fields of one HTTP answer.
pub(crate) const HEADERS_MAX: usize = 128;

/// Bytes of one answer that an HTTP/2 server may send before they are read. An answer is read when it comes, so this is what
/// one round trip may carry: a MiB in 10 ms is 100 MB/s for one call.
#[cfg(feature = "http2")]
pub(crate) const H2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The same for all answers on one connection together.
#[cfg(feature = "http2")]
pub(crate) const H2_CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Streams that are opened before the server has said how many it allows: the least that RFC 9113 recommends to allow.
#[cfg(feature = "http2")]
pub(crate) const H2_STREAMS_UNTOLD_MAX: usize = 100;

/// Bytes of frames that wait for the kernel; what flow control holds back stays with the requests.
#[cfg(feature = "http2")]
pub(crate) const H2_WRITE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that were received and cannot be taken apart because the server reads nothing of what has to be said first: all that
/// the windows let it send, and as much again for what they do not count as one stream has.
#[cfg(feature = "http2")]
pub(crate) const H2_UNREAD_BYTES_MAX: usize =
    H2_CONNECTION_WINDOW_BYTES as usize + H2_STREAM_WINDOW_BYTES as usize;

/// Streams that were given up and are remembered for what the server had already sent on them.
#[cfg(feature = "http2")]
pub(crate) const H2_RESETS_KEPT_MAX: usize = 1024;

/// Bytes of the line that opens a chunk of an HTTP body: its size takes 16, the rest are extensions nobody reads.
pub(crate) const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;

/// Bytes of the trailers of one chunked HTTP body, which nobody reads either.
pub(crate) const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Schemas inside one another in the input schema of a tool.
pub(crate) const SCHEMA_DEPTH_MAX: usize = 128;

/// Pages of one list; more means that the server's cursor runs in a circle.
pub(crate) const LIST_PAGES_MAX: usize = 10_000;

/// Long answers that wait for a decode worker or are being read by one. Each is at least as long as the offload bound.
pub(crate) const DECODE_QUEUE_MAX: usize = 64;

/// Bytes of these answers: at a GB/s what waits is read in 32 ms. One that is longer by itself is taken when nothing else waits.
pub(crate) const DECODE_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Answers up to this length are read by simd-json, longer ones by serde_json, which needs neither a copy nor a tape: at 1 MiB
/// simd-json is up to 2.6 times as fast and at worst 0.69 times, at 10 MiB between 1.5 and 0.49 times, at 100 MiB never
/// faster by more than noise (ADR 0021).
pub(crate) const DECODE_SIMD_BYTES_MAX: usize = 1024 * 1024;

/// Values inside one another in an answer, as serde_json has it.
pub(crate) const DECODE_DEPTH_MAX: usize = 127;

/// What a thread of the caller's keeps to read the next answer with: enough for most up to the offload bound. The tape of structured content is several
/// times as long as what it is made of; not kept, it makes the allocator tidy up for each answer, which takes as long as reading it.
pub(crate) const DECODE_CALLER_BYTES_KEPT: usize = 1024 * 1024;

/// The same for a decode worker: enough for texts of `DECODE_SIMD_BYTES_MAX`.
pub(crate) const DECODE_WORKER_BYTES_KEPT: usize = 8 * 1024 * 1024;

/// Calls in one claim of a bulk job.
pub(crate) const CLAIM_CALLS_MAX: usize = 128;

/// Calls that may be configured for one JSON-RPC array.
pub(crate) const ARRAY_CALLS_CEILING: u32 = 10_000;

/// Probes for arrays that may be lost with their connection before an exchange stops to ask: a server that dies of arrays would
/// die of each.
pub(crate) const ARRAY_PROBES_LOST_MAX: u32 = 3;

/// Bytes of request bodies in one claim, unless one call alone is longer.
pub(crate) const CLAIM_BYTES_MAX: usize = 64 * 1024;

const _: () = {
    assert!(SLOTS_MAX.is_power_of_two());
    assert!(READ_SLICE_BYTES <= CHUNK_BYTES);
    assert!(LINES_FOR_KEPT_CHUNKS_MAX < CHUNKS_KEPT_MAX);
    assert!(OUTBOX_BYTES_KEPT <= OUTBOX_BYTES_HIGH && OUTBOX_BYTES_HIGH < OUTBOX_BYTES_MAX);
    assert!(OUTBOX_BYTES_HIGH_MIN <= OUTBOX_BYTES_HIGH && OUTBOX_BYTES_HIGH <= OUTBOX_BYTES_HIGH_ALL);
    assert!(FRAME_BYTES_MAX <= FRAME_BYTES_CEILING && FRAME_BYTES_CEILING <= u32::MAX as usize / 2);
    assert!(ANSWER_COPY_BYTES_MAX <= SLOT_BUFFER_BYTES_KEPT);
    assert!(HEAD_BYTES_MAX <= FRAME_BYTES_MAX, "a head fits where a frame fits");
    assert!(CHUNK_LINE_BYTES_MAX <= TRAILER_BYTES_MAX && TRAILER_BYTES_MAX <= HEAD_BYTES_MAX);
    assert!(CONNECTIONS_MAX < u32::MAX as usize / 4, "tokens are connection * 4 + stream");
};
