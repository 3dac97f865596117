//! Why a request over HTTP gets no conversation: a status, and an error to go with it.

use super::super::reply::Outcome;

/// Why a request gets no conversation.
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Of the request, as JSON.
    pub(super) id: Option<String>,
    pub(super) outcome: Outcome,
}

impl Refusal {
    pub(super) fn new(status: u16, outcome: impl Into<Outcome>) -> Self {
        Self { status, id: None, outcome: outcome.into() }
    }
}
