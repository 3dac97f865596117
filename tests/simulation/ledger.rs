//! The ledger of a world: every call from its submission to its end, and what may and may not be said of it.
//!
//! It sees the same things as the engine, from the other side: what the kernel took, what was delivered, when. It cannot
//! be wrong, only slow.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use volley::{
    ErrorKind, Fate,
    internals::exchange::{End, Told, Wait},
};

/// A transport: which connection, and which of its transports.
pub(crate) type Place = (u32, u32);

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) shared: bool,
    pub(crate) submitted_at: u64,
    pub(crate) wait: Wait,
    /// Its caller gave it up.
    pub(crate) cancelled: bool,
    /// In whose outbox its frame was seen last.
    pub(crate) placed: Option<Place>,
    /// Over which transport a byte of it left.
    pub(crate) left: Option<Place>,
    /// Transports over which somebody answered it who was never asked.
    pub(crate) forged: HashSet<Place>,
    pub(crate) ended: bool,
}

/// All calls of a world. A call's tag is its place in the list, and the argument that its answer must contain.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) calls: Vec<Call>,
    by_id: HashMap<u64, usize>,
    pub(crate) live: Vec<usize>,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) closed: bool,
    pub(crate) live_most: usize,
}

/// The sweep may be this late (ns).
const SWEEP_NS: u64 = 10_000_000;

impl Ledger {
    /// A call was made.
    pub(crate) fn enter(&mut self, id: u64, shared: bool, now: u64, wait: Wait) {
        let tag = self.calls.len();
        assert!(self.by_id.insert(id, tag).is_none(), "the id {id} came a second time");
        self.calls.push(Call {
            id,
            shared,
            submitted_at: now,
            wait,
            cancelled: false,
            placed: None,
            left: None,
            forged: HashSet::new(),
            ended: false,
        });
        self.live.push(tag);
        self.live_most = self.live_most.max(self.live.len());
    }

    pub(crate) fn by_id(&mut self, id: u64) -> Option<&mut Call> {
        self.by_id.get(&id).map(|tag| &mut self.calls[*tag])
    }

    /// A frame of `id` stands in an outbox.
    pub(crate) fn place(&mut self, id: u64, place: Place) {
        if let Some(call) = self.by_id(id) {
            assert!(call.left.is_none(), "{id} was sent, and is to be sent again");
            assert!(!call.ended, "{id} has ended, and is to be sent");
            call.placed = Some(place);
        }
    }

    /// The kernel took the first byte of a frame of `id`.
    pub(crate) fn leave(&mut self, id: u64, place: Place) {
        if let Some(call) = self.by_id(id) {
            assert!(call.left.is_none(), "{id} was sent twice");
            call.left = Some(place);
        }
    }

    /// The engine says that a call ended.
    pub(crate) fn end(&mut self, now: u64, told: &Told) {
        let Told::Ended { id, tag, shared, end } = told else { return };
        let call = self.calls.get_mut(*tag as usize).expect("a tag that was given");
        assert_eq!((call.id, call.shared), (*id, *shared), "the tag {tag} came back with another call");
        assert!(!call.ended, "{id} ended twice, now with {end:?}");
        call.ended = true;
        self.live.retain(|live| *live != *tag as usize);
        match end {
            End::Result(message) => check_answer(call, *tag, message, "result"),
            End::Error(message) => check_answer(call, *tag, message, "error"),
            End::Failed(kind, fate) => check_failure(call, now, *kind, *fate, self.closed),
        }
        match end {
            End::Failed(ErrorKind::Cancelled, _) => self.cancelled += 1,
            End::Failed(..) => self.failed += 1,
            _ => self.answered += 1,
        }
    }

    /// Nobody waits longer than he said.
    pub(crate) fn check_deadlines(&self, now: u64) {
        for tag in &self.live {
            let call = &self.calls[*tag];
            let limit = call.submitted_at + call.wait.at_most.as_nanos() as u64;
            assert!(now <= limit + SWEEP_NS, "call {} is alive {} ns after its limit", call.id, now - limit);
        }
    }
}

fn check_answer(call: &Call, tag: u64, message: &[u8], member: &str) {
    let message: Value = serde_json::from_slice(message).expect("an answer is JSON");
    let body = &message[member];
    let arg = if member == "result" { &body["arg"] } else { &body["data"]["arg"] };
    if arg == "forged" {
        let place = call.placed.expect("it was sent");
        assert!(call.forged.contains(&place), "{} was ended by a server that it was never sent to", call.id);
        return;
    }
    assert!(call.left.is_some(), "{} was answered and never sent", call.id);
    assert_eq!(*arg, tag, "{} got the answer of another call: {message}", call.id);
}

fn check_failure(call: &Call, now: u64, kind: ErrorKind, fate: Fate, closed: bool) {
    let id = call.id;
    match fate {
        Fate::NotSent => {
            assert!(call.left.is_none(), "{id} failed as not sent ({kind:?}), and bytes of it had left")
        }
        Fate::Unknown => {
            let may_leave =
                matches!(kind, ErrorKind::Timeout | ErrorKind::Cancelled) && call.placed.is_some();
            assert!(
                call.left.is_some() || may_leave,
                "{id} failed as unknown ({kind:?}), and no byte of it had left"
            );
        }
        Fate::Answered => {
            assert!(call.left.is_some(), "{id} was answered and never sent");
            assert!(matches!(kind, ErrorKind::FrameTooLarge | ErrorKind::Protocol), "{id}: {kind:?}");
        }
    }
    match kind {
        ErrorKind::Timeout => {
            let due = call.submitted_at + call.wait.timeout.min(call.wait.at_most).as_nanos() as u64;
            assert!(now >= due, "{id} timed out {} ns early", due - now);
        }
        ErrorKind::Cancelled => assert!(call.cancelled, "{id} was cancelled by nobody"),
        ErrorKind::Closed => assert!(closed, "{id} failed as closed, and nobody closed"),
        ErrorKind::ConnectionLost
        | ErrorKind::Unreachable
        | ErrorKind::FrameTooLarge
        | ErrorKind::Protocol => {}
        other => panic!("{id} failed with {other:?}"),
    }
}
