//! The HTTP side of one connection: its lanes, which of them are free, what identifies the session, and what waits for a
//! lane.
//!
//! A connection over HTTP is one session with the server (or, in the modern era, none) over as many sockets as calls are in
//! flight, opened as demand asks. Free lanes are used last in, first out (or, if so configured, first in, first out): the fewest sockets stay busy, and those at the
//! bottom of the pile are the ones that go when they have been idle for long.
//!
//! Lanes: one for each call of the window, one for each subscription, and [`SPARE_LANES`] for what must not wait behind either
//! (replies, cancellations, the stream of events). Owner: one connection. Always: a lane stands in `idle` exactly if its socket is open and it has no
//! load.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    census::Census,
    lane::{Lane, Load, Socket},
    plans::ToolPlans,
    settings::HttpSettings,
    template::Template,
};
use crate::{
    base::{limits::OUTBOX_BYTES_MAX, time::Instant},
    proto::{message::encode::is_of_caller, revision::Revision},
    slab::key::Key,
};

/// Lanes beyond the window: two for errands, one for a stream of events.
pub(crate) const SPARE_LANES: u32 = 3;

/// Sockets of one connection over HTTP/2: each carries a hundred exchanges or so, and one that is closing may need a successor
/// while it still has answers to bring.
pub(crate) const CARRIERS_MAX: usize = 8;

/// Which of the two HTTP transports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// Each request's answers come as the response to its POST.
    Streamable,
    /// All answers come as events of one GET (2024-11-05).
    Events,
}

/// The HTTP side of one connection.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Their loads and sockets change through [`Pool::set_load`], [`Pool::set_socket`] and [`Pool::unload`] only.
    pub(crate) lanes: Vec<Lane>,
    census: Census,
    /// Free lanes with an open socket, the one that has been free for longest in front.
    idle: VecDeque<u32>,
    oldest_first: bool,
    /// The server speaks HTTP/2.
    pub(crate) multiplexes: bool,
    /// Lanes whose sockets carry others.
    carriers: Vec<u32>,
    /// Streams that the server allows on one socket, as it said last.
    pub(crate) streams_told: Option<usize>,
    pub(crate) dialect: Dialect,
    pub(crate) template: Template,
    /// Messages that wait for a lane, as JSON.
    errands: VecDeque<Vec<u8>>,
    errand_bytes: usize,
    /// Errands in a row whose streams a server refused unseen (HTTP/2).
    pub(crate) errand_refusals: u8,
    /// Calls whose streams ended early and go on later.
    pub(crate) resumes: Vec<Resume>,
    /// The server closes sockets without saying so.
    pub(crate) wary: bool,
    /// A socket may be opened; not so for a while after one could not be.
    pub(crate) may_dial: bool,
    pub(crate) dial_again_at: Instant,
    /// Whether the server has a stream for what it starts: until it refuses.
    pub(crate) listening: Listening,
    /// It has had that stream in this session; and how often in a row it could not give it, though it might.
    pub(crate) has_listened: bool,
    pub(crate) listening_refusals: u32,
    /// What the opening's request asks.
    pub(crate) stage: Stage,
    /// What the opening has found out so far.
    pub(crate) found: Option<(Revision, Value)>,
    /// A request of the opening that waits for a lane.
    pub(crate) pending_opening: Option<(Vec<u8>, Load)>,
    /// Pages of the list of tools read so far, and their bytes.
    pub(crate) pages: (usize, usize),
    /// Why `initialize` was refused, while HTTP+SSE is tried.
    pub(crate) refusal: Option<String>,
    /// The list of tools, while it is being read; no calls meanwhile.
    pub(crate) listing: Option<ToolPlans>,
    pub(crate) plans: Option<Arc<ToolPlans>>,
    /// How long the server wants to be left alone before a stream is taken up again.
    pub(crate) retry: Duration,
    /// Which token the template has.
    pub(crate) token: u64,
    /// The server has accepted it.
    pub(crate) token_proven: bool,
    /// Sessions in a row that ended with a 400 and carried no call.
    pub(crate) sessions_refused: u32,
}

/// How far an opening has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// `server/discover`.
    Discover,
    /// `tools/list`, for the parameters that tools want mirrored.
    ListTools,
    /// The GET of HTTP+SSE, whose first event names the endpoint.
    Endpoint,
    /// `initialize`.
    Initialize,
    /// `notifications/initialized`, which has to be there before the first call.
    Initialized,
}

/// The stream for what the server starts outside of calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listening {
    /// Nobody wants it, or the server has none.
    Off,
    /// It is to be opened at this time.
    At(Instant),
    /// It is open or being opened.
    On,
}

/// A call whose stream is to be taken up again.
#[derive(Debug)]
pub(crate) struct Resume {
    pub(crate) key: Key,
    pub(crate) last_event: Box<str>,
    pub(crate) at: Instant,
}

impl Pool {
    /// A pool with a lane for each of so many calls and subscriptions, and the spare ones.
    pub(crate) fn new(settings: &HttpSettings, places: u32, frame_bytes_max: usize) -> Self {
        let lanes: Vec<Lane> = (0..lanes_for(settings, places)).map(|_| Lane::new(frame_bytes_max)).collect();
        Self {
            census: Census::of(&lanes),
            lanes,
            idle: VecDeque::new(),
            oldest_first: settings.oldest_first,
            multiplexes: false,
            carriers: Vec::new(),
            streams_told: None,
            dialect: if settings.events_only { Dialect::Events } else { Dialect::Streamable },
            template: Template::new(settings),
            errands: VecDeque::new(),
            errand_bytes: 0,
            errand_refusals: 0,
            resumes: Vec::new(),
            wary: false,
            may_dial: true,
            dial_again_at: Instant::NEVER,
            listening: Listening::Off,
            has_listened: false,
            listening_refusals: 0,
            stage: Stage::Discover,
            found: None,
            pending_opening: None,
            pages: (0, 0),
            refusal: None,
            listing: None,
            plans: None,
            retry: RETRY_DEFAULT,
            token: 0,
            token_proven: false,
            sessions_refused: 0,
        }
    }

    /// Is there a lane for another call, of at most `calls_max`? None while the list of tools is being read. Lanes whose calls
    /// are answered and whose responses have not ended are soon free: but for one, no further sockets are opened in their place,
    /// and the spare lanes stay what they are.
    #[inline]
    pub(crate) fn has_lane(&self, calls_max: u32) -> bool {
        debug_assert_eq!(self.census, Census::of(&self.lanes), "a lane changed behind the census");
        let may_open = || self.multiplexes || self.census.calls() <= calls_max as usize;
        self.listing.is_none() && (!self.idle.is_empty() || may_open() && self.has_any_lane())
    }

    /// Gives a lane another load.
    #[inline]
    pub(crate) fn set_load(&mut self, lane: u32, load: Load) {
        self.change(lane, |lane| lane.load = load);
    }

    /// A lane's socket stands otherwise from now on.
    #[inline]
    pub(crate) fn set_socket(&mut self, lane: u32, socket: Socket) {
        self.change(lane, |lane| {
            if socket == Socket::Dialling {
                // Until it is dialled; the lane may have been before, in vain.
                lane.dial_until = Instant::NEVER;
            }
            lane.socket = socket;
        });
    }

    /// A lane's exchange rides on a carrier from now on.
    pub(crate) fn ride(&mut self, lane: u32, carrier: u32) {
        self.change(lane, |lane| lane.rides = Some(carrier));
    }

    /// It does no longer. On which it did.
    pub(crate) fn alight(&mut self, lane: u32) -> Option<u32> {
        self.change(lane, |lane| lane.rides.take())
    }

    /// Does any lane wait for a carrier?
    pub(crate) fn has_waiting(&self) -> bool {
        self.census.waiting() > 0
    }

    /// The exchange of a lane is over ([`Lane::unload`]).
    #[inline]
    pub(crate) fn unload(&mut self, lane: u32) -> Load {
        self.change(lane, Lane::unload)
    }

    #[inline]
    fn change<R>(&mut self, at: u32, change: impl FnOnce(&mut Lane) -> R) -> R {
        let at = at as usize;
        self.census.leave(at, &self.lanes[at]);
        let changed = change(&mut self.lanes[at]);
        self.census.enter(at, &self.lanes[at]);
        changed
    }

    /// Is there a lane for another exchange?
    #[inline]
    pub(crate) fn has_any_lane(&self) -> bool {
        if self.multiplexes {
            let has_room = self.carrier_with_room().is_some() || self.may_dial_carrier();
            return !self.idle.is_empty() || has_room && self.has_spare_lane();
        }
        !self.idle.is_empty() || self.may_dial && self.free_lane().is_some()
    }

    /// Is there a free lane with an open socket?
    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// A lane for another exchange: one with an open socket if there is any. It leaves the pile.
    pub(crate) fn take_lane(&mut self) -> Option<u32> {
        let idle = if self.oldest_first { self.idle.pop_front() } else { self.idle.pop_back() };
        match idle {
            Some(lane) => Some(lane),
            None if self.multiplexes => self.has_spare_lane().then(|| self.free_lane()).flatten(),
            None if self.may_dial => self.free_lane(),
            None => None,
        }
    }

    /// Is there a free lane beyond those that are kept for the exchanges of lanes that become carriers?
    fn has_spare_lane(&self) -> bool {
        let kept = CARRIERS_MAX.saturating_sub(self.carriers_in_use());
        self.census.free() > kept
    }

    /// Carriers that may still be asked something. Those that have said goodbye stand as long as something rides on them, for hours
    /// perhaps, and take nothing new.
    fn carriers_in_use(&self) -> usize {
        let takes_more = |lane: &&u32| {
            self.lanes[**lane as usize].h2.as_ref().is_some_and(|machine| machine.is_closing().is_none())
        };
        self.carriers.iter().filter(takes_more).count()
    }

    /// A lane without socket and load.
    pub(crate) fn free_lane(&self) -> Option<u32> {
        self.census.first_free()
    }

    /// A carrier on which another exchange may ride.
    pub(crate) fn carrier_with_room(&self) -> Option<u32> {
        let has_room =
            |lane: &u32| self.lanes[*lane as usize].h2.as_ref().is_some_and(|machine| machine.room() > 0);
        self.carriers.iter().copied().find(has_room)
    }

    /// May another socket be opened to carry exchanges? One at a time, up to a bound.
    pub(crate) fn may_dial_carrier(&self) -> bool {
        // With a lane to spare: what the one that dials has to send moves there.
        let has_place = self.carriers_in_use() < CARRIERS_MAX && self.census.free() > 0;
        self.may_dial && has_place && self.census.dialling() == 0
    }

    /// A lane's socket carries others from now on.
    pub(crate) fn add_carrier(&mut self, lane: u32) {
        self.multiplexes = true;
        self.carriers.push(lane);
    }

    /// Does any socket carry others?
    pub(crate) fn has_carriers(&self) -> bool {
        !self.carriers.is_empty()
    }

    /// A lane's socket is open and its exchange over.
    pub(crate) fn rest(&mut self, lane: u32, now: Instant) {
        debug_assert!(!self.idle.contains(&lane));
        self.lanes[lane as usize].idle_since = now;
        self.idle.push_back(lane);
    }

    /// A lane has lost its socket.
    pub(crate) fn leave(&mut self, lane: u32) {
        self.carriers.retain(|carrier| *carrier != lane);
        self.idle.retain(|idle| *idle != lane);
    }

    /// The free lane that has been free for longest.
    pub(crate) fn oldest_idle(&self) -> Option<(u32, Instant)> {
        let lane = *self.idle.front()?;
        Some((lane, self.lanes[lane as usize].idle_since))
    }

    /// Is any socket open or being opened?
    pub(crate) fn has_sockets(&self) -> bool {
        self.lanes.iter().any(|lane| lane.socket != Socket::None)
    }

    /// Does any socket stand that has proved to work?
    pub(crate) fn has_open_socket(&self) -> bool {
        self.lanes.iter().any(|lane| lane.socket == Socket::Open)
    }

    /// A message waits for a lane; `false` if too many do.
    pub(crate) fn add_errand(&mut self, message: Vec<u8>) -> bool {
        let fits = self.errand_bytes + message.len() <= OUTBOX_BYTES_MAX || self.errands.is_empty();
        if fits {
            self.errand_bytes += message.len();
            self.errands.push_back(message);
        }
        fits
    }

    pub(crate) fn has_errand(&self) -> bool {
        !self.errands.is_empty()
    }

    pub(crate) fn next_errand(&mut self) -> Option<Vec<u8>> {
        let errand = self.errands.pop_front()?;
        self.errand_bytes -= errand.len();
        Some(errand)
    }

    /// Nothing waits for a lane any more; returns how many notifications of the caller did.
    #[must_use]
    pub(crate) fn forget_errands(&mut self) -> u64 {
        self.errand_bytes = 0;
        self.errands.drain(..).filter(|errand| is_of_caller(errand)).count() as u64
    }

    /// The next moment at which something here is due.
    pub(crate) fn next_deadline(&self, idle_timeout: Duration) -> Instant {
        // The time of a dial that has failed is no deadline: it would have passed for ever.
        let dial_until =
            |lane: &Lane| if lane.socket == Socket::Dialling { lane.dial_until } else { Instant::NEVER };
        let lanes =
            self.lanes.iter().map(|lane| lane.until.min(dial_until(lane))).min().unwrap_or(Instant::NEVER);
        let resumes = self.resumes.iter().map(|resume| resume.at).min().unwrap_or(Instant::NEVER);
        let idle = self.oldest_idle().map_or(Instant::NEVER, |(_, since)| since.after(idle_timeout));
        let listening = match self.listening {
            Listening::At(at) => at,
            Listening::Off | Listening::On => Instant::NEVER,
        };
        lanes.min(resumes).min(idle).min(listening).min(self.dial_again_at)
    }

    /// No lane is free any more: all sockets are given up.
    pub(crate) fn clear_idle(&mut self) {
        self.idle.clear();
    }

    /// Everything that belonged to the session is void; sockets are the caller's to shut. Returns how many notifications of the caller were
    /// among it.
    #[must_use]
    pub(crate) fn forget_session(&mut self) -> u64 {
        self.template.forget_session();
        self.template.forget_post_target();
        self.resumes.clear();
        (self.listening, self.has_listened, self.listening_refusals) = (Listening::Off, false, 0);
        (self.found, self.refusal, self.listing) = (None, None, None);
        (self.pending_opening, self.pages) = (None, (0, 0));
        self.retry = RETRY_DEFAULT;
        self.errand_refusals = 0;
        self.forget_errands()
    }
}

/// Lanes of a connection with places for so many calls and subscriptions.
pub(crate) fn lanes_for(settings: &HttpSettings, places: u32) -> u32 {
    places + SPARE_LANES + if settings.may_multiplex { CARRIERS_MAX as u32 } else { 0 }
}

/// Until the server says how long (WHATWG leaves it to the client: "a few seconds").
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However loads and sockets come and go, the census says what a walk over all lanes says.
        #[test]
        fn agrees_with_a_walk(steps in proptest::collection::vec((0u32..130, 0u8..3, 0usize..11), 0..200)) {
            let mut pool = Pool::new(&settings(), 127, 1 << 20);
            let loads = |n: usize| {
                let key = Key::from_wire(n as u64 + 1).unwrap();
                [
                    Load::Nothing, Load::Call(key), Load::Array, Load::Answered, Load::Orphan(key), Load::Opening(key),
                    Load::Errand, Load::Events, Load::Listening, Load::Resumed(key), Load::Carrier,
                ][n]
            };
            let sockets = [Socket::None, Socket::Dialling, Socket::Open, Socket::Shutting];
            for (lane, what, value) in steps {
                let lane = lane % pool.lanes.len() as u32;
                match what {
                    0 => pool.set_load(lane, loads(value)),
                    1 => pool.set_socket(lane, sockets[value % 4]),
                    _ => {
                        pool.unload(lane);
                    }
                }
                prop_assert_eq!(&pool.census, &Census::of(&pool.lanes));
                let first = pool.lanes.iter().position(Lane::is_free).map(|lane| lane as u32);
                prop_assert_eq!(pool.free_lane(), first);
            }
        }
    }

    fn settings() -> HttpSettings {
        HttpSettings {
            target: "/mcp".to_owned(),
            host: "localhost".to_owned(),
            origin: "http://localhost".to_owned(),
            headers: String::new(),
            events_only: false,
            listen: false,
            may_multiplex: false,
            prior_knowledge: false,
            idle_timeout: Duration::MAX,
            oldest_first: false,
        }
    }

    /// The time of a dial that had failed stayed the next deadline, so that the shard of an idle client woke a thousand times a second.
    #[test]
    fn a_dial_that_is_over_is_no_deadline() {
        let mut pool = Pool::new(&settings(), 4, 1 << 20);
        let until = Instant::from_ns(7);
        pool.set_socket(0, Socket::Dialling);
        pool.lanes[0].dial_until = until;
        assert_eq!(pool.next_deadline(Duration::MAX), until);
        pool.set_socket(0, Socket::None);
        assert_eq!(pool.next_deadline(Duration::MAX), Instant::NEVER);
        // When the lane was next used, the time of that dial had run out before it was dialled.
        pool.set_socket(0, Socket::Dialling);
        assert_eq!(pool.next_deadline(Duration::MAX), Instant::NEVER);
    }
}
