//! The HTTP family: Streamable HTTP of both eras on one URL, HTTP+SSE, and the door to WebSocket.
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
mod channel;
mod chunks;
mod current;
mod endpoint;
mod exchange;
mod head;
mod hub;
mod modern;
mod opening;
mod refusal;
mod request;
#[cfg(test)]
mod web_peer;
mod wire;

pub(super) use endpoint::{Service, Talk};
pub(super) use hub::{Hub, broadcast, handle_due, release};
pub(super) use opening::{Opening, put_refusal, put_switch};
pub(super) use wire::Http;
