//! The exchange that a connection is writing for, and how far it has got.

use super::super::slots::SlotKey;
use super::super::web_args::ReplyForm;
use super::answer::Manner;

/// The exchange whose answer is being written.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) key: SlotKey,
    pub(super) manner: Manner,
    pub(super) form: ReplyForm,
    /// A field that names the new session, with its line end.
    pub(super) session_field: Vec<u8>,
    /// The head of a stream was written.
    pub(super) began: bool,
    /// The client came back for what followed this event.
    pub(super) again_after: Option<u64>,
    /// Goes out before the first event.
    pub(super) prelude: Vec<u8>,
}

impl Current {
    pub(super) fn new(key: SlotKey, manner: Manner, form: ReplyForm) -> Self {
        let (session_field, prelude) = (Vec::new(), Vec::new());
        Self { key, manner, form, session_field, began: false, again_after: None, prelude }
    }
}
