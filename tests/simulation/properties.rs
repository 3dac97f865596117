//! The five properties that the engine's core promises, each by its name. Worlds without a plan (`main.rs`) test them all
//! together; here each has worlds that are made for it.

use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::*;
use volley::internals::exchange::Wait;

use crate::{
    nature::Nature,
    server::Mode,
    world::{MS, World},
};

const PATIENT: Wait =
    Wait { timeout: Duration::from_secs(3600), at_most: Duration::from_secs(3600), progress: false };

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Modern),
        Just(Mode::Legacy),
        Just(Mode::LegacyElsewhere),
        Just(Mode::DiesOfProbe),
        Just(Mode::DeafToProbe),
    ]
}

/// Moves on by a little: the servers act, the driver turns.
fn go_on(world: &mut World) {
    world.now += MS;
    for _ in 0..4 {
        world.happen();
    }
    world.turn();
    world.release();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Servers answer in any order, in many spellings, some of it twice: each call gets its own answer, and one.
    #[test]
    fn correlation_is_one_to_one_under_reordering(
        seed: u64, mode in mode(), connections in 1usize..4, in_flight in 1u32..40, calls in 1usize..200, twice in 0u32..100,
    ) {
        let mut nature = Nature::calm(connections, in_flight, mode);
        (nature.habits.answers, nature.habits.odd_spelling, nature.habits.twice) = (60, 50, twice);
        let mut world = World::of(nature, Rng::with_seed(seed));
        let mut rounds = 0;
        while world.ledger.answered < calls as u64 {
            while world.ledger.calls.len() < calls && world.call_with(seed.is_multiple_of(2), PATIENT) {}
            go_on(&mut world);
            rounds += 1;
            prop_assert!(rounds < 100_000, "{} of {calls} calls answered", world.ledger.answered);
        }
        let stats = world.core.stats();
        prop_assert_eq!((stats.answered, stats.failed, stats.cancelled, stats.live), (calls as u64, 0, 0, 0));
        world.finish();
    }

    /// However often and whenever a call is cancelled, it ends once, and its server hears of it at most once.
    #[test]
    fn cancelling_twice_is_once(
        seed: u64, mode in mode(), in_flight in 1u32..20, cancels in prop::collection::vec((0usize..100, 1usize..5), 1..100),
    ) {
        let mut nature = Nature::calm(2, in_flight, mode);
        nature.habits.answers = 10;
        let mut world = World::of(nature, Rng::with_seed(seed));
        for (pick, times) in cancels {
            for shared in [true, false] {
                world.call_with(shared, PATIENT);
            }
            go_on(&mut world);
            let tag = pick % world.ledger.calls.len().max(1);
            let was_live = world.ledger.live.contains(&tag);
            let before = world.core.stats();
            for _ in 0..times {
                world.cancel(tag);
            }
            let after = world.core.stats();
            prop_assert_eq!(after.cancelled - before.cancelled, u64::from(was_live));
            prop_assert!(after.cancellations_sent - before.cancellations_sent <= u64::from(was_live));
        }
        world.nature.habits.answers = 100;
        world.finish();
    }

    /// Whatever happened in a world: at its end every call has ended, every place in every window is free, and every key
    /// can be had again.
    #[test]
    fn no_request_leaks(seed: u64, mode in mode(), breaks in 0u32..20, unusable in 0u32..50, blocks in 0u32..20) {
        let mut nature = Nature::calm(3, 8, mode);
        (nature.breaks, nature.blocks, nature.cancels, nature.naps) = (breaks, blocks, 30, 10);
        (nature.habits.answers, nature.habits.unusable, nature.habits.twice) = (50, unusable, 30);
        let mut world = World::of(nature, Rng::with_seed(seed));
        for _ in 0..300 {
            world.step();
        }
        world.finish();
    }

    /// With time standing still, the driver soon has nothing left to do, however the transports flap and whatever the era
    /// turns out to be; and what is due then lies ahead.
    #[test]
    fn the_state_machine_cannot_livelock(
        seed: u64, mode in mode(), breaks in 0u32..=100, fails_to_open in 0u32..=100, changes in 0u32..=100, blocks in 0u32..=100,
    ) {
        let mut nature = Nature::calm(4, 4, mode);
        (nature.breaks, nature.fails_to_open, nature.changes, nature.blocks) = (breaks, fails_to_open, changes, blocks);
        let mut world = World::of(nature, Rng::with_seed(seed));
        for _ in 0..100 {
            world.step();
            world.come_to_rest();
        }
        world.finish();
    }

    /// What a server says is told, all of it and in order, however it is cut; what the caller says leaves, or is counted as
    /// unsent. The world looks after each delivery, and adds up at its end. (`shard/mailbox.rs` has the reader's side.)
    #[test]
    fn notifications_are_never_dropped_silently(seed: u64, mode in mode(), breaks in 0u32..10, blocks in 0u32..50) {
        let mut nature = Nature::calm(2, 4, mode);
        (nature.habits.chatter, nature.breaks, nature.blocks) = (100, breaks, blocks);
        let mut world = World::of(nature, Rng::with_seed(seed));
        let mut refused = 0;
        for _ in 0..200 {
            world.call_with(true, PATIENT);
            let taken = world.notes_taken;
            world.notify();
            refused += u64::from(world.notes_taken == taken);
            go_on(&mut world);
        }
        prop_assert_eq!(world.notes_taken + refused, 200);
        world.finish();
    }
}
