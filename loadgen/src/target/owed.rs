//! What is owed to a client: answers, with the request that each belongs to and where it goes.

use std::time::Duration;

use super::fixtures::Script;
use super::reply::Outcome;
use super::revision::Revision;

/// An answer and where it goes.
#[derive(Debug)]
pub(super) struct Answer {
    /// As JSON.
    pub(super) id: Vec<u8>,
    pub(super) outcome: Outcome,
    pub(super) to: Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Line,
    Batch(u32),
}

/// A call that reports its progress, between two steps.
pub(super) struct Progress {
    pub(super) answer: Answer,
    /// The client's token as JSON; without one nothing is reported.
    pub(super) token: Option<String>,
    pub(super) step: u64,
    pub(super) steps: u64,
    pub(super) each: Duration,
}

/// A script between two steps.
pub(super) struct Running {
    /// The request it answers, as JSON.
    pub(super) id: Vec<u8>,
    pub(super) to: Destination,
    pub(super) script: Script,
    /// Its answer is that of a call, to which the switches apply.
    pub(super) is_call: bool,
    pub(super) revision: Revision,
}

/// What waits for the client's word.
pub(super) enum Waiting {
    /// A call whose answer will be that word.
    Answer(Answer),
    Script(Box<Running>),
}

impl Waiting {
    pub(super) fn id(&self) -> &[u8] {
        match self {
            Self::Answer(answer) => &answer.id,
            Self::Script(running) => &running.id,
        }
    }

    pub(super) fn to(&self) -> Destination {
        match self {
            Self::Answer(answer) => answer.to,
            Self::Script(running) => running.to,
        }
    }
}

/// A request id, for finding the request again.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum IdKey {
    Number(u64),
    Text(Box<[u8]>),
}

impl IdKey {
    pub(super) fn new(json: &[u8]) -> Self {
        let number = std::str::from_utf8(json).ok().and_then(|text| text.parse().ok());
        number.map_or_else(|| Self::Text(json.into()), Self::Number)
    }
}
