//! All sessions and exchanges of the HTTP family, which belong to no connection.
//!
//! A session is not a connection: a call may come on one, its cancellation on another, and what
//! the client answers to a request of ours on a third. The hub finds the exchange that is meant,
//! lets it act and wakes the connection that writes for it. Exchanges that are over before their
//! connection had to wait never come here.
//!
//! Owned by the event loop, beside the world. Bounds: sessions by `--session-limit`, exchanges of a
//! session by [`EXCHANGES_MAX`]; beyond it the oldest is forgotten, of those that are over if
//! there is any.
//! Clauses: MCP 2025-03-26 to 2025-11-25, transports, sessions. Proof: `wire_tests`.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_json::Value;

use super::super::revision::Revision;
use super::super::session::{Era, Session};
use super::super::slots::{SlotKey, Slots};
use super::super::subscription::Memory;
use super::super::world::{ConnectionKey, Owner, Turn, Work, World};
use super::exchange::{Exchange, Kind, Parking, Track};

/// The exchanges and the sessions.
pub(in super::super) struct Hub {
    pub(super) exchanges: Slots<Box<Exchange>>,
    pub(super) homes: Slots<Home>,
    /// Exchanges whose answers wait to be shuffled.
    pub(super) parked: Vec<SlotKey>,
    by_id: HashMap<Box<[u8]>, SlotKey>,
    /// Makes the ids of sessions; apart from the dice, so that a seed replays a run all the same.
    names: fastrand::Rng,
    streams: u64,
}

/// One session.
pub(super) struct Home {
    pub(super) id: Box<[u8]>,
    pub(super) revision: Revision,
    /// Calls so far.
    pub(super) calls: u64,
    /// What the client said about itself.
    pub(super) memory: Rc<RefCell<Memory>>,
    /// Those that run, and those that are over and may be asked for again; oldest first.
    exchanges: Vec<SlotKey>,
}

impl Hub {
    pub(in super::super) fn new() -> Self {
        Self {
            exchanges: Slots::new(),
            homes: Slots::new(),
            parked: Vec::new(),
            by_id: HashMap::new(),
            names: fastrand::Rng::new(),
            streams: 0,
        }
    }

    /// Opens a session and gives it a name.
    pub(super) fn open_home(&mut self, revision: Revision, memory: Rc<RefCell<Memory>>) -> SlotKey {
        let id: Box<[u8]> = format!("{:032x}", self.names.u128(..)).into_bytes().into();
        let home = Home { id: id.clone(), revision, calls: 0, memory, exchanges: Vec::new() };
        let key = self.homes.insert(home);
        self.by_id.insert(id, key);
        key
    }

    pub(super) fn find_home(&self, id: &[u8]) -> Option<SlotKey> {
        self.by_id.get(id).copied()
    }

    /// The one exchange of a session that has no other.
    pub(super) fn first_exchange(&self, home: SlotKey) -> Option<SlotKey> {
        self.homes.get(home)?.exchanges.first().copied()
    }

    /// A track for a new stream.
    pub(super) fn new_track(&mut self) -> Track {
        self.streams += 1;
        Track::new(self.streams)
    }

    /// The exchange of this session whose events belong to that stream.
    pub(super) fn find_stream(&self, home: SlotKey, stream: u64) -> Option<SlotKey> {
        let exchanges = &self.homes.get(home)?.exchanges;
        exchanges.iter().copied().find(|&key| {
            let track = self.exchanges.get(key).and_then(|exchange| exchange.track.as_ref());
            track.is_some_and(|track| track.stream == stream)
        })
    }
}

/// Puts an exchange in the place that was reserved for it.
pub(super) fn admit(hub: &mut Hub, world: &mut World, key: SlotKey, exchange: Box<Exchange>) {
    let home = exchange.home;
    hub.exchanges.put(key, exchange);
    let Some(home) = home.and_then(|home| hub.homes.get_mut(home)) else { return };
    home.exchanges.push(key);
    if home.exchanges.len() > EXCHANGES_MAX {
        let exchanges = &hub.exchanges;
        let is_kept = |key: &&SlotKey| {
            exchanges.get(**key).is_some_and(|exchange| exchange.is_over() && exchange.attached.is_none())
        };
        let oldest = home.exchanges.iter().find(is_kept).copied().unwrap_or(home.exchanges[0]);
        end(hub, world, oldest);
    }
}

/// Lets an exchange act on something, wakes whoever writes for it, and passes on what was meant
/// for others of its session.
pub(super) fn act(
    hub: &mut Hub,
    world: &mut World,
    key: SlotKey,
    work: impl FnOnce(&mut Session, &mut Turn<'_>),
) {
    let Some(mut exchange) = hub.exchanges.take(key) else { return };
    let mut turn = turn(world, &mut exchange.lines, key);
    work(&mut exchange.session, &mut turn);
    exchange.session.flush_shuffled(&mut turn);
    exchange.heed(|| hub.new_track());
    if exchange.park(world.behaviour.reorder) {
        hub.parked.push(key);
    }
    let is_lost = exchange.attached.is_none()
        && (exchange.lines.len() > LINES_BYTES_MAX || exchange.track.is_none() && exchange.is_over());
    let home = exchange.home;
    let strays = exchange.session.take_strays();
    world.woken.extend(exchange.attached);
    hub.exchanges.put(key, exchange);
    if is_lost {
        end(hub, world, key);
    }
    route(hub, world, home, &strays, key);
}

/// Shows messages that one exchange had no use for to the others of its session.
pub(super) fn route(
    hub: &mut Hub,
    world: &mut World,
    home: Option<SlotKey>,
    strays: &[String],
    from: SlotKey,
) {
    let Some(home) = home.filter(|_| !strays.is_empty()) else { return };
    let Some(home) = hub.homes.get(home) else { return };
    for key in home.exchanges.clone() {
        let Some(mut exchange) = hub.exchanges.take(key).filter(|_| key != from) else { continue };
        let mut turn = turn(world, &mut exchange.lines, key);
        for stray in strays {
            exchange.session.handle_stray(stray, &mut turn);
        }
        exchange.session.take_strays();
        world.woken.extend(exchange.attached);
        hub.exchanges.put(key, exchange);
    }
}

/// Ends an exchange and whatever it still waits for.
pub(super) fn end(hub: &mut Hub, world: &mut World, key: SlotKey) {
    let Some(mut exchange) = hub.exchanges.remove(key) else { return };
    exchange.session.abandon(world);
    if let Some(ticket) = exchange.comment.take() {
        world.timers.cancel(ticket);
    }
    world.woken.extend(exchange.attached);
    if let Some(home) = exchange.home.and_then(|home| hub.homes.get_mut(home)) {
        home.exchanges.retain(|&other| other != key);
    }
}

/// Ends a session with all its exchanges.
pub(super) fn end_home(hub: &mut Hub, world: &mut World, key: SlotKey) {
    let Some(home) = hub.homes.remove(key) else { return };
    hub.by_id.remove(&home.id);
    for exchange in home.exchanges {
        end(hub, world, exchange);
    }
}

/// The connection that wrote for an exchange does so no longer.
///
/// A modern client cancels that way. A legacy one may come back for the rest.
pub(super) fn leave(hub: &mut Hub, world: &mut World, key: SlotKey, connection: ConnectionKey) {
    let Some(exchange) = hub.exchanges.get_mut(key) else { return };
    if exchange.attached != Some(connection) {
        return;
    }
    exchange.attached = None;
    if let Some(ticket) = exchange.comment.take() {
        world.timers.cancel(ticket);
    }
    let goes_on = exchange.home.is_some()
        && match exchange.kind {
            Kind::Request => exchange.track.is_some() || !exchange.is_over(),
            Kind::Stream => exchange.track.is_some(),
            Kind::Channel => false,
        };
    let (kind, home) = (exchange.kind, exchange.home);
    if !goes_on {
        end(hub, world, key);
    }
    if let (Kind::Channel, Some(home)) = (kind, home) {
        end_home(hub, world, home);
    }
}

/// Lets the parked answers go, in random order, when there are enough of them or nothing else is
/// to be done.
pub(in super::super) fn release(hub: &mut Hub, world: &mut World, is_idle: bool) {
    let parked = hub.parked.len();
    if parked == 0 || parked < world.behaviour.reorder && !is_idle {
        return;
    }
    let mut keys = std::mem::take(&mut hub.parked);
    world.rng.shuffle(&mut keys);
    for key in keys {
        let Some(exchange) = hub.exchanges.get_mut(key) else { continue };
        exchange.parking = Parking::Behind;
        world.woken.extend(exchange.attached);
    }
}

/// Passes a notification to everybody on: to subscriptions, and to one stream of each session,
/// of those that a connection writes for if there is any.
pub(in super::super) fn broadcast(hub: &mut Hub, world: &mut World, method: &str, params: &Value) {
    let mut keys: Vec<SlotKey> = hub.exchanges.keys().collect();
    let is_detached = |key: &SlotKey| hub.exchanges.get(*key).is_none_or(|one| one.attached.is_none());
    keys.sort_by_key(is_detached);
    let mut told = HashSet::new();
    for key in keys {
        let Some(exchange) = hub.exchanges.get(key) else { continue };
        let is_modern = matches!(exchange.session.era, Era::Modern(_));
        let hears = match exchange.kind {
            Kind::Request => is_modern,
            Kind::Stream => exchange.home.is_some_and(|home| told.insert(home)),
            Kind::Channel => true,
        };
        if hears {
            act(hub, world, key, |session, turn| session.hear(method, params, turn));
        }
    }
}

/// Does work of an exchange whose time has come, and says which connection writes for it.
pub(in super::super) fn handle_due(
    hub: &mut Hub,
    world: &mut World,
    key: SlotKey,
    work: Work,
) -> Option<ConnectionKey> {
    if matches!(work, Work::Comment) {
        let exchange = hub.exchanges.get_mut(key)?;
        (exchange.comment, exchange.comment_is_due) = (None, true);
    } else {
        act(hub, world, key, |session, turn| session.handle_due(work, turn));
    }
    hub.exchanges.get(key)?.attached
}

/// The leave to act for an exchange.
pub(super) fn turn<'a>(world: &'a mut World, lines: &'a mut Vec<u8>, key: SlotKey) -> Turn<'a> {
    Turn { world, out: lines, out_bytes_full: usize::MAX, owner: Owner::Exchange(key) }
}

/// Exchanges that a session has or keeps.
const EXCHANGES_MAX: usize = 1024;
/// What an exchange gathers while nobody writes for it.
const LINES_BYTES_MAX: usize = 4 << 20;
