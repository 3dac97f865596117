//! Longer histories under shuttle: many callers and many calls, some dropped at once and some after a look, jobs beside them, and a
//! shard that closes when it likes. Schedules are drawn at random; a run prints its seed, and `VOLLEY_SEED` repeats it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use shuttle::{
    Config as Rules, Runner,
    rand::{Rng, thread_rng},
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};

use super::{Model, block_on, call, echo::Echo, end, full::Full, thread};
use crate::{
    api::bulk::{Bulk, BulkOptions},
    config::Config,
    engine::Engine,
    error::ErrorKind,
    model::tool::ToolCall,
    proto::revision::Revision,
    shard::inbox::Command,
};

/// Schedules a test, unless `VOLLEY_SHUTTLE_SCHEDULES` says otherwise.
const SCHEDULES: usize = 2000;

/// Decisions in one schedule; beyond it something runs in circles.
const STEPS_MAX: usize = 1_000_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Half of the schedules are drawn uniformly, half with few changes of priority (S. Burckhardt et al., ASPLOS 2010).
fn explore(name: &str, history: fn()) {
    let seed = number("VOLLEY_SEED").unwrap_or_else(|| fastrand::u64(..));
    let schedules = number("VOLLEY_SHUTTLE_SCHEDULES").map_or(SCHEDULES, |n| n as usize);
    println!("{name}: {schedules} schedules, repeated by VOLLEY_SEED={seed}");
    run(RandomScheduler::new_from_seed(seed, schedules.div_ceil(2)), history);
    run(PctScheduler::new_from_seed(seed, 3, schedules.div_ceil(2)), history);
}

fn run(scheduler: impl Scheduler + 'static, history: fn()) {
    let mut rules = Rules::new();
    rules.max_steps = shuttle::MaxSteps::FailAfter(STEPS_MAX);
    rules.stack_size = 256 * 1024;
    Runner::new(scheduler, rules).run(history);
}

/// What a caller may do with a call.
fn caller(engine: &Arc<Engine>, name: usize, calls: usize) -> (usize, usize) {
    let (mut answered, mut refused) = (0, 0);
    for n in 0..calls {
        let body = body(name * 1000 + n);
        let mut made = call(engine, &body);
        match thread_rng().gen_range(0..5) {
            0 => drop(made),
            1 => {
                let _ = Pin::new(&mut made).poll(&mut Context::from_waker(Waker::noop()));
            }
            _ => match end(made, &argument(name * 1000 + n)) {
                Ok(()) => answered += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                    refused += 1;
                }
            },
        }
    }
    (answered, refused)
}

fn argument(n: usize) -> String {
    format!("{{\"n\":{n}}}")
}

fn body(n: usize) -> String {
    format!(r#""method":"tools/call","params":{{"name":"echo","arguments":{}"#, argument(n))
}

/// A consumer of a job, who may go before its end. Each call has one outcome, its own.
fn consumer(engine: Arc<Engine>, calls: usize, bound: usize) {
    let tools = (0..calls).map(|n| ToolCall::new("echo", &serde_json::json!({"n": n})).expect("an object"));
    let mut bulk = Bulk::new(engine, tools, BulkOptions::default()).buffer(bound);
    if thread_rng().gen_bool(0.3) {
        bulk = bulk.ordered();
    }
    let until = if thread_rng().gen_bool(0.3) { thread_rng().gen_range(0..calls) } else { calls };
    let mut seen = vec![false; calls];
    for _ in 0..until {
        let (index, outcome) = block_on(bulk.next()).expect("an outcome for each call");
        assert!(!std::mem::replace(&mut seen[index as usize], true), "{index} had two outcomes");
        match outcome {
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.frame.to_vec()).into_owned();
                assert!(text.contains(&argument(index as usize)), "{index} got {text}");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
        }
    }
    if until == calls {
        assert!(block_on(bulk.next()).is_none(), "an outcome too many");
    }
}

/// Callers and jobs before a shard with everything that is real; it closes at some moment or when all is done.
fn history(closes_early: bool) {
    let config = Config::builder().in_flight(3).revision(Revision::V2025_11_25).build().expect("valid");
    let mut model = Model::new(4, 3, config);
    let full = Full::of(&mut model);
    let shard = thread::spawn(move || full.run());
    let callers: Vec<_> = (0..3)
        .map(|name| {
            let engine = Arc::clone(&model.engine);
            thread::spawn(move || caller(&engine, name, 8))
        })
        .collect();
    let jobs: Vec<_> = [(12, 5), (5, 1)]
        .map(|(calls, bound)| {
            let engine = Arc::clone(&model.engine);
            thread::spawn(move || consumer(engine, calls, bound))
        })
        .into();
    if closes_early {
        model.handle.command(Command::Close);
    }
    let ends: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    jobs.into_iter().for_each(|job| job.join().unwrap());
    if !closes_early {
        assert!(ends.iter().all(|(_, refused)| *refused == 0));
        model.handle.command(Command::Close);
    }
    let stats = shard.join().unwrap();
    assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled, "{stats:?}");
    assert_eq!(stats.live, 0);
    let answered: usize = ends.iter().map(|(answered, _)| answered).sum();
    assert!(stats.answered >= answered as u64);
    model.check_slots();
}

#[test]
fn shuttle_callers_and_jobs_end_once() {
    explore("callers and jobs", || history(false));
}

#[test]
fn shuttle_callers_and_jobs_end_once_against_close() {
    explore("callers and jobs against close", || history(true));
}

/// The shard of loom's models, with many more callers than slots: nobody waits for ever.
#[test]
fn shuttle_ten_callers_share_two_slots() {
    explore("ten callers, two slots", || {
        let model = Model::new(2, 0, Config::default());
        let echo = Echo::of(&model);
        let shard = thread::spawn(move || echo.run());
        let callers: Vec<_> = (0..10)
            .map(|name| {
                let engine = Arc::clone(&model.engine);
                thread::spawn(move || caller(&engine, name, 4))
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap().1, 0);
        }
        model.handle.command(Command::Close);
        shard.join().unwrap();
        model.check_slots();
    });
}
