//! The five properties over HTTP/1.1, in both eras, by the names that `properties.rs` has them under on streams.

use fastrand::Rng;
use proptest::prelude::*;
use volley::Revision;

use crate::http_world::{CALM, Habits, HttpWorld};

/// Nobody's time runs out.
const PATIENT_MS: u64 = 3_600_000;

fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![Just(Revision::V2025_11_25), Just(Revision::V2026_07_28)]
}

/// So many patient calls are made and answered, each by a server that was asked once.
fn answer_all(world: &mut HttpWorld, calls: usize, shared: bool) {
    let mut rounds = 0;
    while world.answered() < calls {
        while world.calls.len() < calls && world.call(shared, PATIENT_MS) {}
        world.go_on();
        rounds += 1;
        assert!(rounds < 100_000, "{} of {calls} calls answered", world.answered());
    }
    assert!(world.calls.iter().all(|call| call.asked == 1), "each is asked once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Requests on many sockets are answered in any order, in any form, cut anywhere: each call gets its own answer, and one.
    #[test]
    fn correlation_is_one_to_one_under_reordering_over_http(
        seed: u64, revision in revision(), in_flight in 1u32..20, calls in 1usize..80,
    ) {
        let mut world = HttpWorld::new(revision, in_flight, CALM, seed);
        answer_all(&mut world, calls, seed.is_multiple_of(2));
        world.finish();
    }

    /// However often and whenever a call is cancelled, it ends once, and its server hears of it at most once.
    #[test]
    fn cancelling_twice_is_once_over_http(
        seed: u64, revision in revision(), in_flight in 1u32..10, cancels in prop::collection::vec((0usize..60, 1usize..4), 1..60),
    ) {
        let mut world = HttpWorld::new(revision, in_flight, Habits { answers: 10, ..CALM }, seed);
        for (pick, times) in cancels {
            for shared in [true, false] {
                world.call(shared, PATIENT_MS);
            }
            world.go_on();
            if world.calls.is_empty() {
                continue;
            }
            let tag = pick % world.calls.len();
            let was_live = world.calls[tag].end.is_none();
            let before = world.core.stats().cancelled;
            (0..times).for_each(|_| world.cancel(tag));
            prop_assert_eq!(world.core.stats().cancelled - before, u64::from(was_live));
        }
        world.habits.answers = 100;
        world.finish();
        let mut told = world.cancellations.clone();
        told.sort_unstable();
        told.dedup();
        prop_assert_eq!(told.len(), world.cancellations.len(), "a server was told twice");
        for id in told {
            let call = world.calls.iter().find(|call| call.id == id);
            prop_assert!(call.is_some_and(|call| call.cancelled), "{} was cancelled by nobody", id);
        }
    }

    /// Whatever breaks: at the end every call has ended, every place is free, and no socket is left.
    #[test]
    fn no_request_leaks_over_http(
        seed: u64, revision in revision(), breaks in 0u32..60, refuses in 0u32..40, fails_to_open in 0u32..40,
    ) {
        let habits = Habits { answers: 60, breaks, refuses, fails_to_open, chatter: 20, puts_off: 20, forgets: 1 };
        let mut world = HttpWorld::new(revision, 6, habits, seed);
        let mut rng = Rng::with_seed(seed);
        for _ in 0..200 {
            for _ in 0..rng.usize(..3) {
                world.call(rng.bool(), rng.u64(1..400));
            }
            if rng.u8(..10) == 0 && !world.calls.is_empty() {
                let tag = rng.usize(..world.calls.len());
                world.cancel(tag);
            }
            if rng.u8(..30) == 0 {
                world.now += rng.u64(..1000) * 1_000_000;
            }
            world.go_on();
        }
        world.finish();
    }

    /// With time standing still, the driver soon has nothing left to do, however sockets break and refuse to open.
    #[test]
    fn the_state_machine_cannot_livelock_over_http(
        seed: u64, revision in revision(), breaks in 0u32..=100, refuses in 0u32..=100, fails_to_open in 0u32..=100,
    ) {
        let habits = Habits { answers: 80, breaks, refuses, fails_to_open, chatter: 10, puts_off: 20, forgets: 1 };
        let mut world = HttpWorld::new(revision, 4, habits, seed);
        for _ in 0..60 {
            world.call(true, 200);
            world.call(false, 200);
            world.go_on();
            world.come_to_rest();
        }
        world.finish();
    }

    /// A stream that ends early is taken up again for its answer, however often.
    #[test]
    fn answers_that_are_put_off_come_over_http(seed: u64, puts_off in 1u32..80, calls in 1usize..40) {
        let habits = Habits { puts_off, chatter: 10, ..CALM };
        let mut world = HttpWorld::new(Revision::V2025_11_25, 6, habits, seed);
        answer_all(&mut world, calls, seed.is_multiple_of(2));
        prop_assert_eq!(world.core.stats().streams_resumed, world.taken_up);
        world.finish();
    }

    /// Whatever is under way: closing ends it, what is due never lies in the past, and of no notification it is unknown what became of it. A
    /// connection that closed kept the time at which it was to take a stream up, and its shard went round without sleeping until its session
    /// had ended; one that was to dial again did so when it had closed, for a notification that waited, and nobody closed that socket.
    #[test]
    fn closing_at_any_moment_comes_to_rest_over_http(
        seed: u64, revision in revision(), breaks in 0u32..40, refuses in 0u32..40, fails_to_open in 0u32..20, rounds in 0usize..120,
    ) {
        let habits = Habits { answers: 60, breaks, refuses, fails_to_open, chatter: 10, puts_off: 50, forgets: 1 };
        let mut world = HttpWorld::new(revision, 6, habits, seed);
        let mut taken = 0;
        for _ in 0..rounds {
            world.call(true, PATIENT_MS);
            world.call(false, 200);
            taken += u64::from(world.core.notify("user/note", Some(r#"{"x":1}"#)));
            world.note();
            world.go_on();
        }
        // Also of what nothing was done for yet.
        taken += u64::from(seed.is_multiple_of(2) && world.core.notify("user/note", None));
        world.shut();
        let stats = world.core.stats();
        let known = world.notes_read + world.notes_refused + stats.notifications_unsent;
        prop_assert!(known <= taken && taken <= known + world.notes_unread, "{known} of {taken}: {stats:?}");
    }

    /// What a server says before its answers is told, all of it, once; what the caller says is read by the server.
    #[test]
    fn notifications_are_never_dropped_silently_over_http(seed: u64, revision in revision(), breaks in 0u32..20) {
        let mut world = HttpWorld::new(revision, 4, Habits { chatter: 100, breaks, ..CALM }, seed);
        let mut taken = 0;
        for _ in 0..100 {
            world.call(true, PATIENT_MS);
            taken += u64::from(world.core.notify("user/note", Some(r#"{"x":1}"#)));
            world.note();
            world.go_on();
        }
        world.habits.breaks = 0;
        while world.live() > 0 {
            world.go_on();
        }
        for _ in 0..50 {
            world.go_on();
        }
        let unsent = world.core.stats().notifications_unsent + world.core.stats().errands_refused;
        prop_assert_eq!(world.notes_read + unsent, taken, "notifications read, or counted as unsent");
        prop_assert!(world.told.len() as u64 >= world.said && (world.said > 0 || breaks > 0));
        world.finish();
    }
}

/// A response in each form, in pieces of each size: always the same.
#[test]
fn a_response_may_be_cut_at_every_byte() {
    for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
        for piece in 1..300 {
            let mut world = HttpWorld::new(revision, 3, Habits { chatter: 30, ..CALM }, piece as u64);
            world.piece = piece;
            while world.answered() < 6 {
                while world.calls.len() < 6 && world.call(true, PATIENT_MS) {}
                world.go_on();
            }
            world.finish();
        }
    }
}

/// A notification is taken or refused, and what is taken is read. Beyond the bound of what waits for a lane it was taken and dropped.
#[test]
fn a_notification_without_room_is_refused_over_http() {
    for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
        let mut world = HttpWorld::new(revision, 1, CALM, 7);
        while !world.core.view(0).ready {
            world.go_on();
        }
        let params = format!(r#"{{"x":"{}"}}"#, "y".repeat(1 << 20));
        let taken = (0..100).filter(|_| world.core.notify("user/note", Some(&params))).count();
        assert!((4..100).contains(&taken), "{taken} of 100");
        for _ in 0..2_000 {
            world.go_on();
        }
        let stats = world.core.stats();
        assert_eq!(
            (world.notes_read, stats.notifications_unsent, stats.output_suppressed),
            (taken as u64, 0, 0)
        );
        world.finish();
    }
}
