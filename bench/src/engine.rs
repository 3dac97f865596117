//! The engine as a contestant, in the ways its users drive it: inline, in bulk, and as one awaited call for each of many tasks.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use volley::{Client, Command, Config, Endpoint, Inline, InlineOutcome, Revision, Tool, ToolCall};

use crate::contestant::{Contestant, Failure};
use crate::floor::{Era, MESSAGE};
use crate::link::{Target, Transport};
use crate::meter::{Meter, Run, warm_up};
use crate::peer::Runtime;

/// A way to drive the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// On the measuring thread, sleeping when there is nothing to do.
    Inline,
    /// On the measuring thread, polling 50 us before it sleeps.
    InlineSpin,
    /// A job through the shared client.
    Bulk,
    /// As many tasks as calls in flight, each awaiting one call at a time on the shared client.
    Tasks(Runtime),
}

/// The engine, driven one way.
#[derive(Debug)]
pub struct Engine {
    /// How.
    pub drive: Drive,
    /// In which era.
    pub era: Era,
}

/// Where the server is and which process it is; over stdio it is started by the engine.
struct Place {
    endpoint: Endpoint,
    target: Option<Target>,
}

impl Place {
    fn new(transport: Transport) -> Result<Self, Failure> {
        if transport == Transport::Stdio {
            return Ok(Self { endpoint: Command::new(Target::program()?).into(), target: None });
        }
        let target = Target::start(transport)?;
        let endpoint = target.endpoint().ok_or("a socket target has an endpoint")?.parse()?;
        Ok(Self { endpoint, target: Some(target) })
    }

    /// The server's process. Over stdio: the child of this process that was started last.
    fn pid(&self) -> Result<u32, Failure> {
        match &self.target {
            Some(target) => Ok(target.pid()),
            None => children()?.into_iter().max().ok_or_else(|| "the engine started no server".into()),
        }
    }
}

fn children() -> Result<Vec<u32>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that has just gone is none of ours.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        if parent == Some(std::process::id()) && stat.contains("(fast-target)") {
            found.push(pid);
        }
    }
    Ok(found)
}

impl Contestant for Engine {
    fn name(&self) -> &'static str {
        match self.drive {
            Drive::Inline => "volley inline",
            Drive::InlineSpin => "volley inline, spin 50us",
            Drive::Bulk => "volley client, bulk",
            Drive::Tasks(Runtime::CurrentThread) => "volley client, tasks, current-thread",
            Drive::Tasks(Runtime::MultiThread) => "volley client, tasks, multi-thread",
        }
    }

    fn run(&self, transport: Transport, in_flight: NonZeroUsize, duration: Duration) -> Result<Run, Failure> {
        let revision = match self.era {
            Era::Modern => Revision::LATEST,
            Era::Legacy => Revision::LATEST_LEGACY,
        };
        let spin = if self.drive == Drive::InlineSpin { Duration::from_micros(50) } else { Duration::ZERO };
        let config = Config::builder()
            .in_flight(u32::try_from(in_flight.get())?)
            .revision(revision)
            .spin(spin)
            .build()?;
        let place = Place::new(transport)?;
        match self.drive {
            Drive::Inline | Drive::InlineSpin => inline(&place, &config, duration),
            Drive::Bulk => bulk(&place, config, duration),
            Drive::Tasks(runtime) => tasks(&place, config, runtime, in_flight.get(), duration),
        }
    }
}

fn inline(place: &Place, config: &Config, duration: Duration) -> Result<Run, Failure> {
    drive_inline(Inline::connect(&place.endpoint, config)?, duration, place.pid()?)
}

/// Keeps the windows of an engine full, and counts.
pub(crate) fn drive_inline(mut engine: Inline, duration: Duration, target_pid: u32) -> Result<Run, Failure> {
    let echo = Tool::new("echo");
    let arguments = format!(r#"{{"message":"{MESSAGE}"}}"#).into_bytes();
    let (mut answered, mut wrong) = (0_u64, 0_u64);
    let mut drive = |engine: &mut Inline, until: Instant| -> Result<u64, Failure> {
        let before = answered;
        // The clock is looked at once in many turns: it is the engine that is measured.
        while Instant::now() < until {
            for _ in 0..16 {
                let now = engine.now_ns();
                while engine.submit_at(&echo, &arguments, 0, now).is_ok() {}
                engine.turn(Duration::from_secs(1), |_, _, outcome| match outcome {
                    InlineOutcome::Result(_) => answered += 1,
                    _ => wrong += 1,
                })?;
            }
        }
        Ok(answered - before)
    };
    drive(&mut engine, Instant::now() + warm_up(duration))?;
    let meter = Meter::begin(target_pid)?;
    let until = meter.begun() + duration;
    let calls = drive(&mut engine, until)?;
    let run = meter.end(calls)?;
    engine.close(|_, _, _| ());
    if wrong == 0 { Ok(run) } else { Err(format!("{wrong} calls were not answered with a result").into()) }
}

fn bulk(place: &Place, config: Config, duration: Duration) -> Result<Run, Failure> {
    let client = volley::blocking::Client::connect(place.endpoint.clone(), config)?;
    let call = ToolCall::new("echo", &serde_json::json!({ "message": MESSAGE }))?;
    let mut answers = client.bulk(std::iter::repeat_with(move || call.clone()));
    let mut take = |until: Instant| -> Result<u64, Failure> {
        let mut answered = 0;
        while Instant::now() < until {
            for _ in 0..256 {
                let (_, outcome) = answers.next().ok_or("an endless job ended")?;
                let answer = outcome?;
                if !answer.message().ends_with(b"}") {
                    return Err("an answer is cut".into());
                }
                answered += 1;
            }
        }
        Ok(answered)
    };
    take(Instant::now() + warm_up(duration))?;
    let meter = Meter::begin(place.pid()?)?;
    let until = meter.begun() + duration;
    let run = meter.end(take(until)?)?;
    drop(answers);
    client.close();
    Ok(run)
}

fn tasks(
    place: &Place,
    config: Config,
    runtime: Runtime,
    in_flight: usize,
    duration: Duration,
) -> Result<Run, Failure> {
    runtime.build()?.block_on(async {
        let client = Client::connect(place.endpoint.clone(), config).await?;
        let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut callers = JoinSet::new();
        for _ in 0..in_flight {
            let (client, answered, over) = (client.clone(), answered.clone(), over.clone());
            callers.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    call(&client).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), Failure>(())
            });
        }
        tokio::time::sleep(warm_up(duration)).await;
        let before = answered.load(Ordering::Relaxed);
        let meter = Meter::begin(place.pid()?)?;
        tokio::time::sleep(duration).await;
        let run = meter.end(answered.load(Ordering::Relaxed) - before)?;
        over.store(true, Ordering::Relaxed);
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        client.close().await;
        Ok(run)
    })
}

/// One call, decoded and looked at, as the peer's is.
async fn call(client: &Client) -> Result<(), Failure> {
    let result = client.call_tool("echo", &serde_json::json!({ "message": MESSAGE })).await?;
    match result.content.first().and_then(|content| content.as_text()) {
        Some(text) if text == MESSAGE => Ok(()),
        _ => Err(format!("not the echo of {MESSAGE:?}: {result:?}").into()),
    }
}
