//! HTTP+SSE of revision 2024-11-05: one stream for every answer, and a place to post to.
//!
//! GET `/sse` opens the stream and is told first where to post; each POST there is acknowledged
//! with 202, and whatever comes of it travels on the stream. The conversation is that of a
//! newline-delimited connection and ends with its stream.
//! Clause: MCP 2024-11-05, transports, HTTP with SSE. Proof: `channel_tests`.

use super::super::reply::Fault;
use super::super::revision::Revision;
use super::super::session::Session;
use super::super::web_args::ReplyForm;
use super::super::world::Turn;
use super::answer::{self, Manner};
use super::current::Current;
use super::endpoint::Talk;
use super::exchange::{Exchange, Kind};
use super::head::Head;
use super::hub::{self, Hub};
use super::refusal::Refusal;

impl Talk {
    /// Serves a request at a listener for HTTP+SSE.
    pub(super) fn serve_channel(
        &mut self,
        head: &Head<'_>,
        body: &[u8],
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        match (head.method, head.path) {
            ("GET", STREAM_PATH) => self.open_channel(head, manner, hub, turn),
            ("POST", POST_PATH) => self.post_to_channel(head, body, manner, hub, turn),
            (_, STREAM_PATH | POST_PATH) => Err(Refusal::new(405, Fault::NOT_ALLOWED)),
            _ => Err(Refusal::new(404, Fault::NO_SUCH_PATH)),
        }
    }

    fn open_channel(
        &mut self,
        head: &Head<'_>,
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        if !head.accept.events {
            return Err(Refusal::new(406, Fault::NOT_ACCEPTABLE));
        }
        let world = &mut *turn.world;
        if hub.homes.len() >= world.web.sessions_max {
            return Err(Refusal::new(503, Fault::BUSY));
        }
        let session = Session::new();
        let home = hub.open_home(Revision::R2024_11_05, session.memory.clone());
        let id = hub.homes.get(home).map(|home| home.id.clone()).unwrap_or_default();
        let mut exchange = Box::new(Exchange::new(session, Kind::Channel, Some(home)));
        exchange.attached = Some(self.key);
        let key = hub.exchanges.reserve();
        hub::admit(hub, world, key, exchange);
        let prelude = [b"event: endpoint\ndata: /message?sessionId=", &*id, b"\n\n"].concat();
        self.attach(Current { prelude, ..Current::new(key, manner, ReplyForm::Sse) }, hub, turn);
        Ok(())
    }

    fn post_to_channel(
        &mut self,
        head: &Head<'_>,
        body: &[u8],
        manner: Manner,
        hub: &mut Hub,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        if !head.has_json() {
            return Err(Refusal::new(415, Fault::BAD_CONTENT_TYPE));
        }
        let text = std::str::from_utf8(body).map_err(|_| Refusal::new(400, Fault::NOT_JSON))?;
        let id = head.query.split('&').find_map(|pair| pair.strip_prefix("sessionId="));
        let id = id.ok_or_else(|| Refusal::new(400, Fault::NO_SESSION))?;
        let world = &mut *turn.world;
        let channel = hub.find_home(id.as_bytes()).and_then(|home| hub.first_exchange(home));
        let channel = channel.ok_or_else(|| Refusal::new(404, Fault::SESSION_GONE))?;
        hub::act(hub, world, channel, |session, turn| session.take_text(text.trim_ascii(), turn));
        answer::put_whole(turn.out, 202, Some("text/plain"), &[], b"Accepted", manner);
        self.finish(manner);
        Ok(())
    }
}

const STREAM_PATH: &str = "/sse";
const POST_PATH: &str = "/message";

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
