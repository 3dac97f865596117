//! The engine on the measuring thread.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use volley::{Config, Inline, InlineOutcome, Tool};

use super::place::{Place, arguments};
use crate::call::{is_echo, is_whole};
use crate::contestant::{Course, Failure};
use crate::meter::{Idle, Latencies, Run};

/// Keeps the windows full, and counts.
pub(super) fn run(place: &Place, config: &Config, course: &Course, turn_each: bool) -> Result<Run, Failure> {
    let mut engine = Inline::connect(&place.endpoint, config)?;
    open_all(&mut engine, course.connections)?;
    let idle = Idle::now()?;
    let (mut answered, mut latencies) = (0_u64, None);
    let duration = course.duration();
    let mut echo = Echo::to_fill(course.calls_in_flight());
    drive(
        &mut engine,
        &mut echo,
        Instant::now() + course.warm_up(),
        turn_each,
        &mut answered,
        &mut latencies,
    )?;
    latencies = course.latency.then(Latencies::new);
    let meter = idle.begin(place.pid()?, answered)?;
    let until = meter.begun() + duration;
    drive(&mut engine, &mut echo, until, turn_each, &mut answered, &mut latencies)?;
    let run = meter.end(answered)?;
    engine.close(|_, _, _| ());
    Ok(Run { latency: latencies.as_ref().and_then(Latencies::summary), ..run })
}

/// The same with calls put together, as many as the course says. Fails if they did not leave as arrays.
pub(super) fn run_arrays(place: &Place, config: &Config, course: &Course) -> Result<Run, Failure> {
    let mut engine = Inline::connect(&place.endpoint, config)?;
    open_all(&mut engine, course.connections)?;
    let idle = Idle::now()?;
    let echo = Echo::new(course.array);
    let mut answered = 0_u64;
    let mut drive = |engine: &mut Inline, until: Instant| -> Result<u64, Failure> {
        while Instant::now() < until {
            for _ in 0..16 {
                while engine.submit_batch(&echo.tool, &echo.calls) == echo.calls.len() {}
                let mut answers = Answers::default();
                engine.turn(Duration::from_secs(1), |_, _, outcome| _ = answers.look(&outcome))?;
                answered += answers.right()?;
            }
        }
        Ok(answered)
    };
    // The server is asked on demand whether it answers arrays, so the first calls go by themselves.
    let warm = drive(&mut engine, Instant::now() + course.warm_up())?;
    let meter = idle.begin(place.pid()?, warm)?;
    let before = engine.stats().calls_in_arrays;
    let until = meter.begun() + course.duration();
    let run = meter.end(drive(&mut engine, until)?)?;
    let together = engine.stats().calls_in_arrays - before;
    engine.close(|_, _, _| ());
    if together < run.calls / 2 {
        return Err(format!("of {} calls only {together} left in arrays", run.calls).into());
    }
    Ok(run)
}

/// Waits until all connections are ready, and a little longer, so that they rest.
fn open_all(engine: &mut Inline, connections: usize) -> Result<(), Failure> {
    let until = Instant::now() + OPEN_MAX;
    while engine.ready_connections() < connections {
        engine.turn(Duration::from_millis(5), |_, _, _| ())?;
        if Instant::now() > until {
            let ready = engine.ready_connections();
            return Err(format!("{ready} of {connections} connections are ready after {OPEN_MAX:?}").into());
        }
    }
    for _ in 0..4 {
        engine.turn(Duration::from_millis(5), |_, _, _| ())?;
    }
    Ok(())
}

/// Ten thousand of them take a second or two.
pub(super) const OPEN_MAX: Duration = Duration::from_secs(30);

fn drive(
    engine: &mut Inline,
    echo: &mut Echo,
    until: Instant,
    turn_each: bool,
    answered: &mut u64,
    latencies: &mut Option<Latencies>,
) -> Result<(), Failure> {
    // The clock is looked at once in many turns: it is the engine that is measured.
    while Instant::now() < until {
        for _ in 0..16 {
            *answered += fill_and_turn(engine, echo, turn_each, latencies)?;
        }
    }
    Ok(())
}

/// Submits the calls that are due, in windows that have room for them, and takes a turn; returns how many were answered.
///
/// # Errors
///
/// When one of them ended with anything but a result that looks whole, or the first with another than the echo.
pub(crate) fn fill_and_turn(
    engine: &mut Inline,
    echo: &mut Echo,
    turn_each: bool,
    latencies: &mut Option<Latencies>,
) -> Result<u64, Failure> {
    let mut answers = Answers::default();
    let mut sink = |submitted_ns: u64, now_ns: u64, outcome: InlineOutcome<'_>| {
        if answers.look(&outcome)
            && let Some(latencies) = latencies
        {
            latencies.note(now_ns.saturating_sub(submitted_ns));
        }
    };
    let now = engine.now_ns();
    if turn_each {
        while engine.submit_at(&echo.tool, &ARGUMENTS, now, now).is_ok() {
            engine.turn(Duration::ZERO, &mut sink)?;
        }
    } else {
        while echo.due > 0 {
            let calls = echo.due.min(echo.calls.len());
            let calls = &mut echo.calls[..calls];
            calls.iter_mut().for_each(|(_, tag)| *tag = now);
            let taken = engine.submit_batch(&echo.tool, calls);
            echo.due -= taken;
            if taken < calls.len() {
                break;
            }
        }
    }
    engine.turn(Duration::from_secs(1), &mut sink)?;
    let right = answers.right()?;
    if !turn_each {
        echo.ended(right);
    }
    Ok(right)
}

/// The answers of a turn.
#[derive(Default)]
pub(crate) struct Answers {
    right: u64,
    wrong: u64,
}

impl Answers {
    /// Looks at one, the first of them closely, and says whether it is right.
    pub(crate) fn look(&mut self, outcome: &InlineOutcome<'_>) -> bool {
        let is_first = self.right + self.wrong == 0;
        let is_right = match outcome {
            InlineOutcome::Result(message) if is_first => is_echo(message),
            InlineOutcome::Result(message) => is_whole(message),
            _ => false,
        };
        *(if is_right { &mut self.right } else { &mut self.wrong }) += 1;
        is_right
    }

    /// How many there were.
    ///
    /// # Errors
    ///
    /// When one was wrong.
    pub(crate) fn right(&self) -> Result<u64, Failure> {
        match self.wrong {
            0 => Ok(self.right),
            wrong => Err(format!("{wrong} calls were not answered with the right result").into()),
        }
    }
}

/// The common call's, which are the same for everybody.
static ARGUMENTS: LazyLock<Vec<u8>> = LazyLock::new(|| arguments().into_bytes());

/// Calls that are handed over at a time.
const SUBMITTED_AT_ONCE: usize = 256;

/// The common call, as often as it is handed over at a time.
pub(crate) struct Echo {
    tool: Tool,
    calls: Vec<(&'static [u8], u64)>,
    /// Calls that are not in flight and are to be.
    due: usize,
}

impl Echo {
    fn new(at_once: usize) -> Self {
        Self { tool: Tool::new("echo"), calls: vec![(&ARGUMENTS, 0); at_once], due: 0 }
    }

    /// For windows that take so many in all, and are to be kept full.
    pub(crate) fn to_fill(in_flight: usize) -> Self {
        Self { due: in_flight, ..Self::new(in_flight.min(SUBMITTED_AT_ONCE)) }
    }

    /// So many of them are not in flight any more.
    pub(crate) fn ended(&mut self, calls: u64) {
        self.due += calls as usize;
    }
}
