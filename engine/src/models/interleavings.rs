//! The compositions that loom walks through. Each prints how many interleavings it saw.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering as Std},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use super::{
    Model, block_on, call,
    echo::{ECHOED, Echo, Seen},
    end, thread,
};
use crate::{
    api::bulk::{Bulk, BulkOptions},
    base::buffer::Frame,
    config::Config,
    engine::Engine,
    error::ErrorKind,
    model::{inbound::Notification, tool::ToolCall},
    queue::room::{Room, Seeker},
    shard::{
        inbox::{Command, Latch},
        mailbox::{Inbound, Mailbox, Notifications},
    },
    slab::{Slab, key::KeyLayout},
};

/// Preemptions a run, unless `LOOM_COMPOSED_PREEMPTIONS` says otherwise: with three threads and some fifty steps each, the three
/// that the small parts get (`just loom`) would take hours.
const PREEMPTIONS_MAX: usize = 2;

fn explore(name: &'static str, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions_max());
    builder.max_branches = 20_000;
    let bound = builder.preemption_bound;
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    builder.check(move || {
        count.fetch_add(1, Std::Relaxed);
        model();
    });
    println!("{name}: {} interleavings, preemptions {bound:?}", seen.load(Std::Relaxed));
}

fn preemptions_max() -> usize {
    std::env::var("LOOM_COMPOSED_PREEMPTIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(PREEMPTIONS_MAX)
}

/// A model with a running shard; `work` is the callers'. Then the shard closes, and all slots are there.
fn with_shard(singles: u32, work: impl FnOnce(&Arc<Engine>)) -> Seen {
    let model = Model::new(singles, 0, Config::default());
    let echo = Echo::of(&model);
    let shard = thread::spawn(move || echo.run());
    work(&model.engine);
    model.handle.command(Command::Close);
    let seen = shard.join().expect("the shard ends");
    model.check_slots();
    seen
}

/// A call finds its shard whether that sleeps, lies down or is at work; the answer finds the call whether that waits or not.
#[test]
fn loom_a_call_is_slept_over_by_nobody() {
    explore("a call", || {
        let seen = with_shard(1, |engine| end(call(engine, "a"), "a").expect("answered"));
        assert_eq!((seen.answered, seen.abandoned), (1, 0));
    });
}

/// Two callers at a time, each with its own answer.
#[test]
fn loom_two_callers_get_their_own_answers() {
    explore("two callers", || {
        let model = Model::new(2, 0, Config::default());
        let engine = Arc::clone(&model.engine);
        let other = thread::spawn(move || end(call(&engine, "other"), "other").expect("answered"));
        // This thread is the second caller and then the shard: a third one would take hours.
        let mine = call(&model.engine, "mine");
        assert_eq!(Echo::of(&model).run_until(2).answered, 2);
        end(mine, "mine").expect("answered");
        other.join().unwrap();
        model.check_slots();
    });
}

/// A call that comes while the shard closes is answered, by the shard or by whoever empties the ring, and once.
#[test]
fn loom_a_call_against_close_ends_once() {
    explore("a call against close", || {
        let model = Model::new(1, 0, Config::default());
        let echo = Echo::of(&model);
        let shard = thread::spawn(move || echo.run());
        let engine = Arc::clone(&model.engine);
        let caller = thread::spawn(move || match end(call(&engine, "a"), "a") {
            Ok(()) => 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed);
                0
            }
        });
        model.handle.command(Command::Close);
        let answered = caller.join().unwrap();
        let seen = shard.join().unwrap();
        assert_eq!(seen.answered, answered, "the shard's count and the caller's");
        model.check_slots();
    });
}

/// Two keys that came too late, two who empty the ring, and the shard: still each key once.
#[test]
fn loom_two_calls_against_close_end_once() {
    explore("two calls against close", || {
        let model = Model::new(2, 0, Config::default());
        let callers: Vec<_> = ["a", "b"]
            .map(|body| {
                let engine = Arc::clone(&model.engine);
                thread::spawn(move || {
                    if let Err(error) = end(call(&engine, body), body) {
                        assert_eq!(error.kind(), ErrorKind::Closed);
                    }
                })
            })
            .into();
        // The last thing that a shard does.
        model.handle.close(false);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        model.check_slots();
    });
}

/// A cancellation may overtake its submission: the shard then finds the cell abandoned. Either way the slot comes back once.
#[test]
fn loom_a_cancellation_may_overtake_its_submission() {
    explore("a call that is dropped", || {
        let seen = with_shard(1, |engine| drop(call(engine, "a")));
        assert_eq!(seen.answered + seen.abandoned, 1);
        assert!(seen.abandoned <= seen.cancels, "who goes before it is taken says so: {seen:?}");
    });
}

/// A call that was polled, and waits, is dropped while the answer is on its way.
#[test]
fn loom_a_waiting_call_is_dropped() {
    explore("a waiting call that is dropped", || {
        let seen = with_shard(1, |engine| {
            let mut call = Box::pin(call(engine, "a"));
            let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
        assert_eq!(seen.answered + seen.abandoned, 1);
    });
}

/// One slot, two callers: the second waits until the first is done, and is told.
#[test]
fn loom_the_room_tells_who_waits() {
    explore("waiting for room", || {
        let model = Model::new(1, 0, Config::default());
        let first = call(&model.engine, "first");
        let engine = Arc::clone(&model.engine);
        let waiter = thread::spawn(move || end(call(&engine, "second"), "second").expect("answered"));
        // This thread is the shard and the first caller in turn.
        assert_eq!(Echo::of(&model).run_until(1).answered, 1);
        end(first, "first").expect("answered");
        assert_eq!(Echo::of(&model).run_until(1).answered, 1);
        waiter.join().unwrap();
        model.check_slots();
    });
}

/// Waits for a slot of `slab`, as a `Call` does.
fn wait_for_slot(slab: &Slab<()>, room: &Arc<Room>) {
    let mut seeker = Seeker::new(false);
    block_on(poll_fn(|cx| seeker.poll(room, cx, || slab.reserve().map(drop), || !slab.is_full(), || {})));
}

/// Is woken in vain, but is no waker of which it is known beforehand.
struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

fn two_slots() -> (Arc<Slab<()>>, Arc<Room>) {
    (Arc::new(Slab::new(KeyLayout::new(1, 0, 1), 2, || ())), Arc::new(Room::new()))
}

/// Two slots come free one after the other, two callers wait and keep what they get: nobody sleeps beside a free slot.
#[test]
fn loom_two_slots_wake_two() {
    explore("two slots", || {
        let (slab, room) = two_slots();
        let held = [slab.reserve().unwrap(), slab.reserve().unwrap()];
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (slab, room) = (Arc::clone(&slab), Arc::clone(&room));
                thread::spawn(move || wait_for_slot(&slab, &room))
            })
            .collect();
        for key in held {
            slab.release(key);
            room.tell_one();
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

/// Two slots come free while one waits; another comes, at any moment. It does not look as long as the first was told of a slot and has not looked, and is told of
/// the second slot by whoever sees it.
#[test]
fn loom_who_comes_later_is_not_left_behind() {
    explore("who comes later", || {
        let (slab, room) = two_slots();
        let held = [slab.reserve().unwrap(), slab.reserve().unwrap()];
        let waiter = {
            let (slab, room) = (Arc::clone(&slab), Arc::clone(&room));
            thread::spawn(move || wait_for_slot(&slab, &room))
        };
        let frees = {
            let (slab, room) = (Arc::clone(&slab), Arc::clone(&room));
            thread::spawn(move || {
                for key in held {
                    slab.release(key);
                    room.tell_one();
                }
            })
        };
        wait_for_slot(&slab, &room);
        waiter.join().unwrap();
        frees.join().unwrap();
    });
}

/// One of two who wait goes away just then: what it was told is passed on.
#[test]
fn loom_who_leaves_the_room_passes_it_on() {
    explore("who leaves the room", || {
        let (slab, room) = two_slots();
        let (_kept, held) = (slab.reserve().unwrap(), slab.reserve().unwrap());
        let mut first = Seeker::new(false);
        let waker = Waker::from(Arc::new(Nobody));
        let mut cx = Context::from_waker(&waker);
        assert!(first.poll(&room, &mut cx, || slab.reserve(), || !slab.is_full(), || {}).is_pending());
        let waiter = {
            let (slab, room) = (Arc::clone(&slab), Arc::clone(&room));
            thread::spawn(move || wait_for_slot(&slab, &room))
        };
        let leaver = thread::spawn(move || drop(first));
        slab.release(held);
        room.tell_one();
        waiter.join().unwrap();
        leaver.join().unwrap();
    });
}

/// A shard that takes no more calls says so to those who wait for a place.
#[test]
fn loom_refusing_wakes_who_waits_for_room() {
    explore("refusing", || {
        let model = Model::new(1, 0, Config::default());
        let kept = call(&model.engine, "kept");
        let engine = Arc::clone(&model.engine);
        let waiter = thread::spawn(move || end(call(&engine, "a"), "a"));
        model.handle.refuse();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        model.handle.close(false);
        drop(kept);
        model.check_slots();
    });
}

fn tools(count: usize) -> impl Iterator<Item = ToolCall> {
    (0..count).map(|n| ToolCall::new("echo", &serde_json::json!({"n": n})).expect("an object"))
}

/// Takes all outcomes of a job; how many were answered, how many came too late.
fn exhaust(mut bulk: Bulk<impl Iterator<Item = ToolCall>>, calls: usize) -> (usize, usize) {
    let (mut seen, mut echoed) = (vec![false; calls], 0);
    while let Some((index, outcome)) = block_on(bulk.next()) {
        assert!(!std::mem::replace(&mut seen[index as usize], true), "{index} had two outcomes");
        let kind = outcome.expect_err("an echo is no answer").kind();
        let echo = crate::Error::from_failure(
            crate::proto::event::Failure { why: ECHOED, fate: crate::Fate::Answered },
            None,
        );
        if kind == echo.kind() {
            echoed += 1;
        } else {
            assert_eq!(kind, ErrorKind::Closed);
        }
    }
    assert!(seen.iter().all(|seen| *seen), "a call without an outcome");
    (echoed, calls - echoed)
}

/// A claim is not slept over by the shard, its batch not by the consumer.
#[test]
fn loom_a_claim_is_slept_over_by_nobody() {
    explore("a bulk job", || {
        let seen = with_shard(1, |engine| {
            let bulk = Bulk::new(Arc::clone(engine), tools(2), BulkOptions::default()).buffer(1);
            assert_eq!(exhaust(bulk, 2), (2, 0));
        });
        assert_eq!(seen.bulk, 2);
    });
}

/// Two claims, as calls of two patiences are: the second's outcome goes into the first's batch if the consumer has not come for that, and is not slept
/// over by a consumer who has just looked for it in vain.
#[test]
fn loom_a_batch_that_is_gone_on_with_is_slept_over_by_nobody() {
    explore("a bulk job of two claims", || {
        let seen = with_shard(1, |engine| {
            let patient = |(call, seconds): (ToolCall, u64)| call.timeout(Duration::from_secs(seconds));
            let calls = tools(2).zip(1..).map(patient);
            let bulk = Bulk::new(Arc::clone(engine), calls, BulkOptions::default()).buffer(2);
            assert_eq!(exhaust(bulk, 2), (2, 0));
        });
        assert_eq!(seen.bulk, 2);
    });
}

/// A job that begins while the shard closes: each call has one outcome, the shard's or "closed".
#[test]
fn loom_a_job_against_close_ends_once() {
    explore("a bulk job against close", || {
        let model = Model::new(1, 0, Config::default());
        let echo = Echo::of(&model);
        let shard = thread::spawn(move || echo.run());
        let engine = Arc::clone(&model.engine);
        let consumer = thread::spawn(move || {
            exhaust(Bulk::new(engine, tools(1), BulkOptions::default()).buffer(1), 1).0
        });
        model.handle.command(Command::Close);
        let echoed = consumer.join().unwrap();
        assert_eq!(shard.join().unwrap().bulk, echoed, "the shard's count and the consumer's");
    });
}

/// A consumer who goes wakes the shard, which lets the job go.
#[test]
fn loom_a_job_is_left() {
    explore("a bulk job that is dropped", || {
        with_shard(1, |engine| {
            let mut bulk = Bulk::new(Arc::clone(engine), tools(1), BulkOptions::default());
            let mut next = pin!(bulk.next());
            let _ = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
    });
}

/// What comes into a mailbox is not slept over, and its end neither.
#[test]
fn loom_a_mailbox_is_slept_over_by_nobody() {
    explore("a mailbox", || {
        let mailbox = Arc::new(Mailbox::new());
        let postman = Arc::clone(&mailbox);
        let thread = thread::spawn(move || {
            assert!(postman.post(Notification { method: "n".into(), message: Frame::from_vec(vec![1]) }));
            postman.close();
        });
        let mut reader = Notifications { mailbox, listener: None };
        assert!(matches!(block_on(reader.next()), Some(Inbound::Notification(_))));
        assert!(block_on(reader.next()).is_none());
        thread.join().unwrap();
    });
}

/// A door that opens is not slept over.
#[test]
fn loom_a_latch_is_slept_over_by_nobody() {
    explore("a latch", || {
        let latch = Arc::new(Latch::default());
        let opens = Arc::clone(&latch);
        let thread = thread::spawn(move || opens.open());
        block_on(latch.wait());
        thread.join().unwrap();
    });
}
