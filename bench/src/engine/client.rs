//! The engine through its shared client: bulk jobs, awaited calls, blocking calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use volley::{Client, Config, Error, RawAnswer, ToolCall, ToolResult};

use super::inline::OPEN_MAX;
use super::place::Place;
use crate::call::{MESSAGE, is_echo, is_whole};
use crate::contestant::{Course, Failure};
use crate::counted;
use crate::meter::{Idle, Run};
use crate::peer::{Caller, Runtime, Tasks};

/// One endless job. Its caller brings the bodies of the calls; what these take from the allocator is not the engine's,
/// and is left out of its account.
pub(super) fn bulk(place: &Place, config: Config, course: &Course) -> Result<Run, Failure> {
    let call = ToolCall::new("echo", &serde_json::json!({ "message": MESSAGE }))?;
    // (The compiler knows that what is cloned and dropped need not be allocated.)
    let body = counted::taken_by(|| drop(std::hint::black_box(call.clone())));
    let client = volley::blocking::Client::connect(place.endpoint.clone(), config)?;
    open_all(client.as_async(), course.connections)?;
    let idle = Idle::now()?;
    let pulled = AtomicU64::new(0);
    let mut answers = client.bulk(std::iter::repeat_with(|| {
        pulled.fetch_add(1, Ordering::Relaxed);
        call.clone()
    }));
    let mut answered = 0_u64;
    let mut take = |until: Instant| -> Result<u64, Failure> {
        while Instant::now() < until {
            take_some(&mut answers)?;
            answered += TAKEN_AT_ONCE;
        }
        Ok(answered)
    };
    let warm = take(Instant::now() + course.warm_up())?;
    let (meter, before) = (idle.begin(place.pid()?, warm)?, pulled.load(Ordering::Relaxed));
    let until = meter.begun() + course.duration();
    let run = meter.end(take(until)?)?;
    let bodies = pulled.load(Ordering::Relaxed) - before;
    drop(answers);
    client.close();
    let allocations = run.allocations.zip(body).map(|(all, body)| all.without(body, bodies));
    Ok(Run { allocations, ..run })
}

/// Answers of a job that are taken between two looks at the clock.
const TAKEN_AT_ONCE: u64 = 256;

/// Takes so many, and looks at each: at the first closely.
fn take_some<N>(answers: &mut impl Iterator<Item = (N, Result<RawAnswer, Error>)>) -> Result<(), Failure> {
    for n in 0..TAKEN_AT_ONCE {
        let (_, outcome) = answers.next().ok_or("an endless job ended")?;
        let answer = outcome?;
        let is_right = if n == 0 { is_echo(answer.message()) } else { is_whole(answer.message()) };
        if !is_right {
            return Err("a call was not answered with the right result".into());
        }
    }
    Ok(())
}

/// So many tasks, of which as many have a call in flight as the course has places.
pub(super) fn tasks(
    place: &Place,
    config: Config,
    runtime: Runtime,
    course: &Course,
    callers: usize,
) -> Result<Run, Failure> {
    runtime.build()?.block_on(async {
        let client = connect(place, config, course).await?;
        let idle = Idle::now()?;
        let mut tasks = Tasks::new(course);
        for _ in 0..callers {
            tasks.spawn(Task(client.clone()));
        }
        let run = tasks.measure(idle, place.pid()?).await?;
        client.close().await;
        Ok(run)
    })
}

/// A task that makes its calls on a client of its own, which is one of the shared client's.
struct Task(Client);

impl Caller for Task {
    async fn call(&self) -> Result<(), Failure> {
        // The call has its own copy of the arguments: they are not kept while it is awaited.
        let call = self.0.call_tool("echo", &serde_json::json!({ "message": MESSAGE }));
        check(&call.await?)
    }
}

/// The same with so many calls together.
struct ArrayTask(Client, usize);

impl Caller for ArrayTask {
    async fn call(&self) -> Result<(), Failure> {
        let Self(client, calls) = self;
        let mut batch = client.batch();
        for _ in 0..*calls {
            batch.push_tool("echo", &serde_json::json!({ "message": MESSAGE }));
        }
        let answers = batch.send().await;
        if answers.len() != *calls {
            return Err(format!("{} answers to {calls} calls", answers.len()).into());
        }
        answers.into_iter().try_for_each(|answer| check(&answer?))
    }
}

/// A task for each array in flight. Fails if the calls did not leave as arrays.
pub(super) fn arrays(
    place: &Place,
    config: Config,
    runtime: Runtime,
    course: &Course,
) -> Result<Run, Failure> {
    runtime.build()?.block_on(async {
        let client = connect(place, config, course).await?;
        let idle = Idle::now()?;
        let (mut tasks, calls) = (Tasks::new(course), course.array);
        for _ in 0..course.calls_in_flight() / calls {
            tasks.spawn(ArrayTask(client.clone(), calls));
        }
        let run = tasks.measure(idle, place.pid()?).await?;
        let together = client.stats().calls_in_arrays;
        client.close().await;
        if together < run.calls / 2 {
            return Err(format!("of {} calls only {together} left in arrays", run.calls).into());
        }
        Ok(run)
    })
}

/// A client, and all its connections opened before anything is measured.
async fn connect(place: &Place, config: Config, course: &Course) -> Result<Client, Failure> {
    let client = Client::connect(place.endpoint.clone(), config).await?;
    let until = Instant::now() + OPEN_MAX;
    while !is_open(&client, course.connections, until)? {
        // The runtime may have to drive the connections itself.
        tokio::time::sleep(POLL).await;
    }
    Ok(client)
}

/// A thread for each call in flight.
pub(super) fn blocking(place: &Place, config: Config, course: &Course) -> Result<Run, Failure> {
    on_threads(place, config, course, course.calls_in_flight(), |client, over, answered| {
        while !over.load(Ordering::Relaxed) {
            check(&client.call_tool("echo", &serde_json::json!({ "message": MESSAGE }))?)?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// An endless job for each connection, each on a thread of its own.
pub(super) fn jobs(place: &Place, config: Config, course: &Course) -> Result<Run, Failure> {
    on_threads(place, config, course, course.connections, |client, over, answered| {
        let call = ToolCall::new("echo", &serde_json::json!({ "message": MESSAGE }))?;
        let mut answers = client.bulk(std::iter::repeat(call));
        while !over.load(Ordering::Relaxed) {
            take_some(&mut answers)?;
            answered.fetch_add(TAKEN_AT_ONCE, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// A blocking client, and so many threads that call until it is over and count what was answered.
fn on_threads(
    place: &Place,
    config: Config,
    course: &Course,
    threads: usize,
    call: fn(&volley::blocking::Client, &AtomicBool, &AtomicU64) -> Result<(), Failure>,
) -> Result<Run, Failure> {
    let client = volley::blocking::Client::connect(place.endpoint.clone(), config)?;
    open_all(client.as_async(), course.connections)?;
    let idle = Idle::now()?;
    let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = Vec::new();
    for _ in 0..threads {
        let (client, answered, over) = (client.clone(), answered.clone(), over.clone());
        let caller = move || call(&client, &over, &answered);
        callers.push(thread::Builder::new().stack_size(STACK_BYTES).spawn(caller)?);
    }
    thread::sleep(course.warm_up());
    let meter = idle.begin(place.pid()?, answered.load(Ordering::Relaxed))?;
    thread::sleep(course.duration());
    let run = meter.end(answered.load(Ordering::Relaxed))?;
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().map_err(|_| "a calling thread panicked")??;
    }
    client.close();
    Ok(run)
}

/// A thousand of them are small.
const STACK_BYTES: usize = 256 * 1024;

fn check(result: &ToolResult) -> Result<(), Failure> {
    match result.content.first().and_then(|content| content.as_text()) {
        Some(text) if text == MESSAGE => Ok(()),
        _ => Err(format!("not the echo of {MESSAGE:?}: {result:?}").into()),
    }
}

/// Waits, before anything is measured, until all connections are ready.
fn open_all(client: &Client, connections: usize) -> Result<(), Failure> {
    let until = Instant::now() + OPEN_MAX;
    while !is_open(client, connections, until)? {
        thread::sleep(POLL);
    }
    Ok(())
}

fn is_open(client: &Client, connections: usize, until: Instant) -> Result<bool, Failure> {
    let ready = client.ready_connections();
    if ready < connections && Instant::now() > until {
        return Err(format!("{ready} of {connections} connections are ready after {OPEN_MAX:?}").into());
    }
    Ok(ready == connections)
}

const POLL: Duration = Duration::from_millis(2);
