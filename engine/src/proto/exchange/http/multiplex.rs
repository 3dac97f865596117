//! HTTP/2: the exchanges of many lanes on the socket of one.
//!
//! A lane whose socket turns out to speak HTTP/2 becomes a *carrier*: it has no exchange of its own any more, and other lanes
//! ride on it, each as a stream. From then on a request is put on a carrier with room; if none has any, another socket is
//! opened, up to a bound, and the request waits in its lane for whichever comes first. For all that follows a head, a body and
//! an end are the same whether they came in a stream or on a socket.
//!
//! Always: a lane that rides has no socket, a carrier has no exchange. Proof: `tests/integration/http2.rs` and `http2_losses.rs`.

use std::time::Duration;

use crate::{
    base::time::Instant,
    proto::{
        event::{Fate, Sink, Why},
        exchange::Exchange,
        http::{
            body::Step,
            h2::{self, Event as StreamEvent, RequestHead, Unsent},
            head::Head,
            lane::{Load, Socket},
        },
    },
    slab::key::Key,
};

/// Times that one call's stream may be refused unprocessed before the call is told, and those of errands in a row.
const REFUSALS_MAX: u8 = 16;

impl Exchange {
    /// A socket stands and speaks HTTP/2: it carries from now on, and what its lane had to send rides on it.
    pub(super) fn carry(&mut self, now: Instant, line: u32) -> bool {
        let (connection, lane) = self.of_line(line);
        let Some(machine) = h2::machine(self.http(connection).streams_told) else { return false };
        let place = self.lane(line);
        place.h2 = Some(machine);
        let request = std::mem::take(&mut place.request);
        let (body_at, until, last_event) = (place.body_at, place.until, place.last_event.take());
        let (session, token) = (place.session, place.token);
        let array = std::mem::take(&mut place.array);
        let pool = self.http(connection);
        let load = pool.unload(lane as u32);
        pool.set_load(lane as u32, Load::Carrier);
        pool.leave(lane as u32);
        self.http(connection).add_carrier(lane as u32);
        if load != Load::Nothing {
            // There is a free lane: the pool has one for each carrier beyond those for exchanges.
            if let Some(free) = self.http(connection).free_lane() {
                let pool = self.http(connection);
                pool.set_load(free, load);
                let place = &mut pool.lanes[free as usize];
                (place.request, place.body_at) = (request, body_at);
                (place.until, place.last_event) = (until, last_event);
                (place.session, place.token) = (session, token);
                if let Load::Call(key) | Load::Resumed(key) = load
                    && let Some(row) = self.correlation.get_mut(key)
                {
                    row.lane = free;
                }
                if load == Load::ArrayProbe {
                    self.probe_moved(free);
                }
                self.array_moved(connection, free, array);
            } else if load == Load::Array {
                self.array_unplaced(connection, &array, &request[body_at..]);
            } else if let Load::Call(key) = load {
                // Sockets asked for before the first of them turned out to be a carrier may be more than there are such lanes.
                self.park(connection, key, request[body_at..].to_vec());
            } else if load == Load::Errand {
                self.queue_errand(connection, request[body_at..].to_vec());
            }
        }
        self.mark_line_dirty(line);
        self.board(now, connection);
        self.rest_carrier(connection, lane as u32);
        true
    }

    /// A lane that found no room on a carrier is to become one, if there may be another.
    pub(super) fn dial_carrier(&mut self, line: u32) {
        let (connection, _) = self.of_line(line);
        if self.http(connection).may_dial_carrier() {
            self.set_socket(line, Socket::Dialling);
            self.wanted.push_back(line);
        }
    }

    /// A socket stands that speaks HTTP/1.1. If the server has stopped to speak HTTP/2, nobody waits for it any more.
    pub(super) fn dismount(&mut self, connection: u32) {
        let pool = self.http(connection);
        if !pool.multiplexes || pool.has_carriers() {
            return;
        }
        pool.multiplexes = false;
        for lane in 0..self.lanes {
            let line = self.line_of(connection, lane);
            if self.lane(line).waits() {
                self.set_socket(line, Socket::Dialling);
                self.wanted.push_back(line);
            }
        }
    }

    /// Puts lanes that wait for a carrier on one, as far as there is room, and asks for another if there is not.
    pub(super) fn board(&mut self, now: Instant, connection: u32) {
        let pool = self.http(connection);
        if !pool.multiplexes || !pool.has_waiting() {
            return;
        }
        for lane in 0..self.lanes {
            if self.http(connection).lanes[lane as usize].waits() && !self.ride(now, connection, lane) {
                self.dial_carrier(self.line_of(connection, lane));
                return;
            }
        }
    }

    /// Puts a lane's request on a carrier. `false`: none has room.
    pub(super) fn ride(&mut self, now: Instant, connection: u32, lane: u32) -> bool {
        let Some(carrier) = self.http(connection).carrier_with_room() else { return false };
        let scheme = self.scheme(connection);
        let pool = self.http(connection);
        let Some(mut machine) = pool.lanes[carrier as usize].h2.take() else { return false };
        let place = &mut pool.lanes[lane as usize];
        let sent = match RequestHead::of_http_1(scheme, &place.request[..place.body_at]) {
            Some(head) => machine.send(lane, &head, &place.request[place.body_at..]),
            None => Err(Unsent::Unspeakable("the head of the request".to_owned())),
        };
        pool.lanes[carrier as usize].h2 = Some(machine);
        match sent {
            Ok(()) => {
                let pool = self.http(connection);
                pool.ride(lane, carrier);
                let place = &mut pool.lanes[lane as usize];
                (place.keep_alive, place.idle_since) = (true, now);
                self.mark_line_dirty(self.line_of(connection, carrier));
                true
            }
            Err(Unsent::NoRoom) => false,
            Err(Unsent::Unspeakable(reason)) => {
                // Nothing of it was sent; its time will end it, with this as the reason.
                self.blame(reason);
                let line = self.line_of(connection, lane);
                if let Load::Call(key) | Load::Resumed(key) = self.lane(line).load {
                    self.set_no_lane(key);
                } else if self.lane(line).load == Load::Array {
                    self.array_unspeakable(line);
                }
                self.shut(line);
                true
            }
        }
    }

    fn scheme(&mut self, connection: u32) -> &'static str {
        if self.http(connection).template.origin().starts_with("https:") { "https" } else { "http" }
    }

    /// Has any byte of a lane's request left?
    pub(super) fn lane_has_left(&mut self, line: u32) -> bool {
        let (connection, lane) = self.of_line(line);
        let pool = self.http(connection);
        match pool.lanes[lane].rides {
            Some(carrier) => {
                pool.lanes[carrier as usize].h2.as_ref().is_some_and(|machine| machine.has_left(lane as u32))
            }
            None => pool.lanes[lane].has_left(),
        }
    }

    /// May any byte of a lane's request have left, or leave yet? What a machine was given it writes, and the reset after it.
    pub(super) fn lane_is_committed(&mut self, line: u32) -> bool {
        let place = self.lane(line);
        place.rides.is_some() || place.has_left()
    }

    /// A call's time is over. If its carrier has said nothing since the call was put on it, the carrier may be dead without
    /// anybody having told: it gets no more calls. (Over HTTP/1.1 the call's socket would be shut.)
    pub(super) fn suspect_carrier(&mut self, line: u32) {
        let (connection, lane) = self.of_line(line);
        let pool = self.http(connection);
        let place = &pool.lanes[lane];
        let (Some(carrier), since) = (place.rides, place.idle_since) else { return };
        let carrier = &mut pool.lanes[carrier as usize];
        if carrier.idle_since <= since
            && let Some(machine) = &mut carrier.h2
        {
            machine.retire("the server has said nothing for as long as a call may take");
        }
    }

    /// Bytes came in on a carrier.
    pub(super) fn carrier_received(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let Self { connections, pool, lanes, .. } = self;
        let (connection, lane) = (line / *lanes, (line % *lanes) as usize);
        let Some(http) = &mut connections[connection as usize].http else { return };
        let place = &mut http.lanes[lane];
        place.idle_since = now;
        if let Some(machine) = &mut place.h2 {
            machine.receive(place.inbox.unread());
        }
        let unread = place.inbox.unread().len();
        place.inbox.consume(unread);
        place.inbox.rest(pool);
        self.hear_carrier(now, line, sink);
    }

    /// Hears what the machine of a carrier has to say, and lets it say its part.
    pub(in crate::proto::exchange) fn hear_carrier(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let (connection, carrier) = self.of_line(line);
        // The machine is out of its lane only while it is asked, so that handling an answer may send the next request.
        while let Some((lane, event)) = self.lane(line).h2.as_mut().and_then(|machine| machine.poll()) {
            let rider = self.line_of(connection, lane);
            if self.lane(rider).rides == Some(carrier as u32) {
                self.stream_event(now, rider, event, sink);
            }
        }
        if let Some(told) = self.lane(line).h2.as_ref().and_then(|machine| machine.streams_max()) {
            self.http(connection).streams_told = Some(told);
        }
        self.board(now, connection);
        self.list(connection);
        let Some(machine) = &mut self.lane(line).h2 else { return };
        let (is_over, has_output) =
            (machine.is_closing().is_some() && machine.streams() == 0, !machine.waiting().is_empty());
        if is_over {
            self.shut(line);
        } else if has_output {
            self.mark_line_dirty(line);
        }
    }

    fn stream_event(&mut self, now: Instant, line: u32, event: StreamEvent, sink: &mut impl Sink) {
        match event {
            StreamEvent::Head(head) => self.stream_begins(line, head),
            StreamEvent::Data(bytes) => {
                let (connection, lane) = self.of_line(line);
                let Self { connections, pool, .. } = self;
                if let Some(http) = &mut connections[connection as usize].http {
                    http.lanes[lane].reader.feed(&bytes, pool);
                }
                self.stream_steps(now, line, sink);
            }
            StreamEvent::End => {
                self.lane(line).reader.feed_end();
                // The stream is gone; what its lane does next is no business of the machine's.
                self.stream_steps(now, line, sink);
            }
            StreamEvent::Lost { reason, unprocessed } => {
                self.rider_lost(now, line, &reason, unprocessed, sink);
            }
        }
    }

    fn stream_begins(&mut self, line: u32, head: Head) {
        let want = self.http_head(line, head);
        let reader = &mut self.lane(line).reader;
        let taking = want.taking(|| reader.events());
        reader.take(taking);
    }

    /// What the pieces of a stream's body amount to.
    fn stream_steps(&mut self, now: Instant, line: u32, sink: &mut impl Sink) {
        let (connection, lane) = self.of_line(line);
        let place = self.lane(line);
        let generation = place.generation;
        let mut reader = std::mem::take(&mut place.reader);
        while let Some(step) = reader.fed_step(&mut self.pool) {
            match step {
                Step::Json(place) => {
                    if let Some(frame) = reader.fed_frame(place) {
                        self.http_json(now, line, frame, sink);
                    }
                    reader.fed_consume(place);
                }
                Step::Event(event, place) => {
                    self.http_event_of(
                        now,
                        line,
                        &event,
                        place.and_then(|place| reader.fed_frame(place)),
                        sink,
                    );
                    if let Some(place) = place {
                        reader.fed_consume(place);
                    }
                }
                Step::Oversized(oversized) => self.http_oversized(now, line, &oversized, sink),
                Step::End => self.http_end(now, line, sink),
                Step::NeedMore | Step::Head(_) | Step::Broken(_) => break,
            }
            if self.http(connection).lanes[lane].generation != generation {
                reader.reset(&mut self.pool);
                break;
            }
        }
        self.lane(line).reader = reader;
    }

    /// A carrier's socket is gone, and with it all that rode on it.
    pub(super) fn carrier_lost(&mut self, now: Instant, line: u32, reason: &str, sink: &mut impl Sink) {
        let (connection, carrier) = self.of_line(line);
        if let Some(machine) = &mut self.lane(line).h2 {
            machine.receive_end();
        }
        self.hear_carrier(now, line, sink);
        for lane in 0..self.lanes {
            let rider = self.line_of(connection, lane);
            if self.lane(rider).rides == Some(carrier as u32) {
                let unprocessed = !self.lane_has_left(rider);
                self.rider_lost(now, rider, reason, unprocessed, sink);
            }
        }
    }

    /// A stream ended without an answer.
    fn rider_lost(&mut self, now: Instant, line: u32, reason: &str, unprocessed: bool, sink: &mut impl Sink) {
        let place = self.lane(line);
        if unprocessed {
            // As good as never sent.
            place.left = 0;
        } else {
            place.left = place.left.max(1);
        }
        let (connection, lane) = self.of_line(line);
        let carrier = self.http(connection).alight(lane as u32);
        if unprocessed && carrier.is_some() && self.lane(line).load == Load::Errand {
            // What a server refuses, on a carrier that goes on or on each new one that it says goodbye to at once, it might refuse for ever, at the
            // speed of the wire.
            let refusals = &mut self.http(connection).errand_refusals;
            *refusals = refusals.saturating_add(1);
            if *refusals > REFUSALS_MAX {
                self.stats.errands_refused += 1;
                self.lane(line).left = 1;
            }
        }
        if let Load::Call(key) = self.lane(line).load
            && unprocessed
            && self.refused_too_often(key)
        {
            self.unload(line);
            self.reset_lane(line);
            self.blame(reason);
            self.give_back(now, connection);
            self.fail(now, key, Why::ConnectionLost, Fate::NotSent, sink);
            self.list(connection);
        } else {
            self.http_exchange_lost(now, line, reason, true, sink);
        }
        if let Some(carrier) = carrier {
            self.rest_carrier(connection, carrier);
        }
    }

    /// Counts a refusal. A server that refuses each stream at once would otherwise be asked again at the speed of the wire.
    fn refused_too_often(&mut self, key: Key) -> bool {
        self.correlation.get_mut(key).is_some_and(|row| {
            row.refusals = row.refusals.saturating_add(1);
            row.refusals > REFUSALS_MAX
        })
    }

    /// A lane that rode gives its place on the carrier back.
    pub(super) fn alight(&mut self, line: u32) {
        let (connection, lane) = self.of_line(line);
        if self.lane(line).rides.is_none() {
            return;
        }
        let Some(carrier) = self.http(connection).alight(lane as u32) else { return };
        let carrier_line = self.line_of(connection, carrier);
        if let Some(machine) = &mut self.lane(carrier_line).h2 {
            machine.reset(lane as u32);
            self.mark_line_dirty(carrier_line);
            self.rest_carrier(connection, carrier);
        }
    }

    /// A carrier that carries nothing has a time to go: at once, if it takes nothing any more.
    fn rest_carrier(&mut self, connection: u32, carrier: u32) {
        let line = self.line_of(connection, carrier);
        let Some(machine) = self.lane(line).h2.as_ref().filter(|machine| machine.streams() == 0) else {
            return;
        };
        let (is_closing, now) = (machine.is_closing().is_some(), self.last_now);
        let idle_timeout = self.settings.http.as_ref().map_or(Duration::ZERO, |http| http.idle_timeout);
        let until = if is_closing { now } else { now.after(idle_timeout) };
        self.set_until(connection, carrier, until);
    }

    /// A carrier has been idle for long.
    pub(super) fn retire_carrier(&mut self, line: u32) {
        if self.lane(line).h2.as_ref().is_some_and(|machine| machine.streams() == 0) {
            self.shut(line);
        }
    }
}
