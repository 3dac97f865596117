//! The vocabulary between the protocol core and its drivers: calls in, outcomes out.

use std::{sync::Arc, time::Duration};

use crate::{
    base::{buffer::FrameRef, time::Instant},
    slab::key::Key,
};

/// The notification by which a server opens a subscription.
pub(crate) const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// How far a call got before it failed; what a caller needs to know before repeating it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// No byte of the request left this process: repeat freely.
    NotSent,
    /// Bytes left and no answer came: the server may have executed the call. Repeat only what is safe to repeat.
    Unknown,
    /// The peer answered, with an error: its code decides.
    Answered,
}

/// Why a call ended without an answer. Small and `Copy`; the words are made by `error.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) why: Why,
    pub(crate) fate: Fate,
}

/// The facts behind a [`Failure`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// The call's own time ran out.
    TimedOut { after: Duration },
    /// The connection ended with the call on it.
    ConnectionLost,
    /// The caller cancelled.
    Cancelled,
    /// The server ended a standing request with a cancellation of its own.
    Revoked,
    /// A standing request came to a server of the handshake era, which has none.
    NoStanding,
    /// The answer was longer than the frame bound.
    Oversized { bytes: u64, bytes_max: u64 },
    /// The answer named the call but was neither a result nor an error.
    Malformed,
    /// The server answered with a status of HTTP that is no success, and without a JSON-RPC error.
    Http { status: u16, retry_after_s: Option<u32> },
    /// No connection could be had within the configured attempts.
    Unreachable,
    /// No connection could be had, because the server wants a token that nobody brought.
    Unauthorized,
    /// The engine is closing or closed.
    Closed,
    /// The keys of the shard are used up.
    Exhausted,
    /// The shard's thread panicked.
    Panicked,
}

/// What became of one call.
#[derive(Clone, Copy)]
pub(crate) enum Outcome<'a> {
    /// A response with `result`; the whole message.
    Result(FrameRef<'a>),
    /// A response with `error`; the whole message.
    Error(FrameRef<'a>),
    /// No response, or none that can be used.
    Failed(Failure),
}

/// Who waits for a call: the driver's own number, handed back with the outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) tag: u64,
    /// The driver's sort of owner.
    pub(crate) kind: OwnerKind,
}

/// Where a call's key came from, which decides who releases it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnerKind {
    /// The exchange's magazine; released by the exchange.
    Drawn,
    /// The client's slab; released by whoever is last at the cell.
    Shared,
}

/// One ended call.
pub(crate) struct Ended<'a> {
    pub(crate) key: Key,
    pub(crate) owner: Owner,
    pub(crate) outcome: Outcome<'a>,
}

/// A message that the server started.
pub(crate) enum Inbound<'a> {
    /// No answer is expected. With `subscription`, it belongs to the standing call of this key.
    Notification { method: &'a str, frame: FrameRef<'a>, subscription: Option<Key> },
    /// The handler must answer through `Exchange::respond`.
    Request { connection: u32, epoch: u32, method: &'a str, frame: FrameRef<'a> },
}

/// What became of a message that the server started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reception {
    /// Somebody has it, and will answer it if it is a request.
    Taken,
    /// There is nobody for messages of this kind.
    Nobody,
    /// There is somebody, who has too much to do already.
    Full,
}

/// Where the core puts what it has to tell. Called in the middle of a turn: it must not block.
pub(crate) trait Sink {
    /// A call ended. Once for each call.
    fn ended(&mut self, now: Instant, call: Ended<'_>);

    /// The server started something.
    fn inbound(&mut self, _message: Inbound<'_>) -> Reception {
        Reception::Nobody
    }

    /// Why calls that end now have no answer, if there is a reason beyond each call's own.
    fn blamed(&mut self, _reason: &Arc<str>) {}

    /// Has it something that its owner has not been told yet? Then a turn must not sleep on it.
    fn owes(&self) -> bool {
        false
    }

    /// Request bytes of a call that waits in the exchange (only for [`OwnerKind::Shared`]).
    fn body(&mut self, _key: Key, _write: &mut dyn FnMut(&[u8])) {}
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Patience {
    /// From submission, or from the last progress, to the answer.
    pub(crate) timeout: Duration,
    /// From submission to the answer, whatever the progress.
    pub(crate) at_most: Duration,
    /// Ask the server for progress notifications.
    pub(crate) progress: bool,
    /// A standing request (`subscriptions/listen`): outside the window, and without an end once it is acknowledged.
    pub(crate) standing: bool,
}
