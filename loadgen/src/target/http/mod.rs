//! The HTTP family: Streamable HTTP of both eras on one URL, and HTTP+SSE.
//!
//! ```text
//! bytes -> wire -> request (head, chunks) -> endpoint -> modern --\
//!                                                  \--------------> session -> lines
//! bytes <- wire <- answer <- exchange <- hub <---------------------------------/
//! ```
//!
//! The rooms know no socket. What a message means is decided by the same conversations that
//! serve the newline-delimited streams; here it is decided which of them a request belongs to,
//! and how their messages travel back.

mod answer;
mod chunks;
mod endpoint;
mod exchange;
mod head;
mod hub;
mod modern;
mod request;
mod slots;
mod wire;

pub(super) use endpoint::Talk;
pub(super) use hub::{Hub, broadcast, handle_due};
pub(super) use slots::SlotKey as ExchangeKey;
pub(super) use wire::Http;
