//! Standing calls: `subscriptions/listen`, the request that is answered only when it is over.
//!
//! A standing call brings its own place in the window and, over HTTP, sits on a lane of its own, so it takes none from the
//! calls. Until the server acknowledges it, it has the time-out of any call; from then on it has none. It ends with the
//! server's result, with the server's `notifications/cancelled`, with its connection, or when the caller gives it up.
//!
//! What the server tells in between names the call by its id, as a number. It is heard only after the acknowledgement, only on the
//! connection (over HTTP: the response) that carries the call, and what names no standing call belongs to everybody.
//!
//! Cost: while no call stands, one compare for each notification. Owner: one exchange. Always: `standing` counts the standing
//! calls that have not ended, and each window is wider by those that are on its connection.
//! Proof: the tests below; `tests/integration/subscriptions.rs`. Follows: MCP 2026-07-28, subscriptions.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Exchange;
use crate::{
    base::time::Instant,
    proto::{
        correlation::{NO_CONNECTION, Row, Standing},
        event::{ACKNOWLEDGED, Fate, Sink, Why},
    },
    slab::key::Key,
};

/// Who is to hear a notification.
pub(super) enum Heard {
    /// It belongs to no subscription.
    Everybody,
    /// It belongs to this one.
    Subscription(Key),
    /// It came too early.
    Nobody,
}

#[derive(Deserialize)]
struct Tagged<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<Tag<'a>>,
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Cancelled<'a> {
    #[serde(borrow, rename = "requestId")]
    id: &'a RawValue,
}

impl Exchange {
    /// A notification came on this line: whose is it?
    #[inline]
    pub(super) fn hear(
        &mut self,
        now: Instant,
        line: u32,
        method: &str,
        params: Option<&RawValue>,
        sink: &mut impl Sink,
    ) -> Heard {
        match params {
            Some(params) if self.standing > 0 => self.hear_standing(now, line, method, params, sink),
            _ => Heard::Everybody,
        }
    }

    fn hear_standing(
        &mut self,
        now: Instant,
        line: u32,
        method: &str,
        params: &RawValue,
        sink: &mut impl Sink,
    ) -> Heard {
        if method == "notifications/cancelled" {
            let cancelled = serde_json::from_str::<Cancelled<'_>>(params.get());
            if let Some(row) = cancelled.ok().and_then(|cancelled| self.standing_row(line, cancelled.id)) {
                self.revoked(now, &row, sink);
            }
            return Heard::Everybody;
        }
        let tag = serde_json::from_str::<Tagged<'_>>(params.get()).ok();
        let id = tag.and_then(|tagged| tagged.meta).and_then(|meta| meta.id);
        let Some(row) = id.and_then(|id| self.standing_row(line, id)) else { return Heard::Everybody };
        match (row.standing, method == ACKNOWLEDGED) {
            (Standing::Asked, true) => {
                self.acknowledged(&row);
                Heard::Subscription(row.key)
            }
            (Standing::Acknowledged, false) => Heard::Subscription(row.key),
            // Too early, or a second acknowledgement.
            _ => {
                self.stats.notifications_early += 1;
                Heard::Nobody
            }
        }
    }

    /// The standing call of this id that this line carries. An id is a number: the same digits as text are another id.
    fn standing_row(&self, line: u32, id: &RawValue) -> Option<Row> {
        let key = Key::from_wire(id.get().parse().ok()?)?;
        let row = self.correlation.find(key, self.connection_of(line))?;
        (row.standing != Standing::No && self.may_answer(line, row.lane)).then_some(*row)
    }

    /// An acknowledgement proves that the server works, as an answer does.
    fn acknowledged(&mut self, row: &Row) {
        self.correlation.acknowledge(row.key);
        self.prove_alive(row.connection);
    }

    /// The server ends a standing call without answering it. A result may follow; nobody waits for it.
    fn revoked(&mut self, now: Instant, row: &Row, sink: &mut impl Sink) {
        if self.is_http(row.connection) {
            self.shut(self.line_of(row.connection, row.lane));
        } else {
            self.connections[row.connection as usize].orphans.add_free(now, row.key);
        }
        self.give_back(now, row.connection);
        self.fail(now, row.key, Why::Revoked, Fate::Answered, sink);
        self.list(row.connection);
    }

    /// Fails a standing call that was about to be put on the connection of a server that has no such thing.
    pub(super) fn cannot_stand(
        &mut self,
        now: Instant,
        connection: u32,
        row: &Row,
        sink: &mut impl Sink,
    ) -> bool {
        let cannot = row.standing != Standing::No && !self.is_modern(connection);
        if cannot {
            self.fail(now, row.key, Why::NoStanding, Fate::NotSent, sink);
        }
        cannot
    }

    /// A standing call has ended, and has given its place in the window back.
    #[cold]
    pub(super) fn stand_down(&mut self, connection: u32) {
        self.standing -= 1;
        if connection != NO_CONNECTION {
            self.connections[connection as usize].window.narrow();
        }
    }

    /// Ends all standing calls, which would never end by themselves; the server is told.
    pub(crate) fn end_standing(&mut self, now: Instant, why: Why, sink: &mut impl Sink) {
        if self.standing == 0 {
            return;
        }
        let mut keys = Vec::new();
        self.correlation.all(&mut keys);
        for key in keys {
            if self.correlation.get(key).is_some_and(|row| row.standing != Standing::No) {
                self.abort(now, key, why, "the client is ending", sink);
            }
        }
    }
}
