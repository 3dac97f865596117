//! How the run is going, on stderr: one live line on a terminal, a plain line now and then otherwise.
//!
//! A thread of its own that reads the gauges a few times a second; the generators never wait
//! for a terminal. Owner: [`Progress`], which stops and joins it, and wipes the live line, when
//! dropped.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::words::{brief, grouped};
use crate::drive::{Gauges, Phase};

/// The progress of one run, shown until this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Dropping it is the signal to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to show it.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(crate) fn start(gauges: Arc<Gauges>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let live = io::stderr().is_terminal();
        let pause = if live { LIVE_PAUSE } else { PLAIN_PAUSE };
        let thread = thread::Builder::new().name("progress".into()).spawn(move || {
            let mut line = Line::new(Instant::now());
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let text = line.next(&gauges, Instant::now());
                // Whether anybody reads along does not matter to the run.
                let _ = match live {
                    true => write!(io::stderr(), "\r\x1b[2K{text}"),
                    false => writeln!(io::stderr(), "{text}"),
                };
            }
            if live {
                let _ = write!(io::stderr(), "\r\x1b[2K");
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and then there is nothing more to show.
            let _ = thread.join();
        }
    }
}

/// What was last shown, to know how fast it goes.
struct Line {
    phase: Phase,
    phase_began: Instant,
    answered: u64,
    at: Instant,
}

impl Line {
    const fn new(now: Instant) -> Self {
        Self { phase: Phase::Connecting, phase_began: now, answered: 0, at: now }
    }

    fn next(&mut self, gauges: &Gauges, now: Instant) -> String {
        let reading = gauges.read();
        if reading.phase != self.phase {
            *self = Self { phase: reading.phase, phase_began: now, answered: 0, at: self.at };
        }
        let elapsed_s = now.duration_since(self.at).as_secs_f64().max(1e-9);
        let rate = reading.answered.saturating_sub(self.answered) as f64 / elapsed_s;
        (self.answered, self.at) = (reading.answered, now);
        let phase = match reading.phase {
            Phase::Connecting => return "connecting".to_owned(),
            Phase::WarmingUp => "warming up",
            Phase::Measuring => "measuring",
            Phase::Over => return "closing".to_owned(),
        };
        format!(
            "{phase} {:.0} s  {} calls/s  answered {}  errors {}  lost or wrong {}",
            now.duration_since(self.phase_began).as_secs_f64(),
            brief(rate),
            grouped(reading.answered),
            grouped(reading.errors),
            grouped(reading.untrue)
        )
    }
}

const LIVE_PAUSE: Duration = Duration::from_millis(250);
const PLAIN_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_since_the_last_line() {
        let gauges = Gauges::new(1);
        let start = Instant::now();
        let mut line = Line::new(start);
        assert_eq!(line.next(&gauges, start), "connecting");
        gauges.preset(Phase::Measuring, 50_000);
        let first = line.next(&gauges, start + Duration::from_secs(1));
        assert_eq!(first, "measuring 0 s  50K calls/s  answered 50,000  errors 0  lost or wrong 0");
        gauges.preset(Phase::Measuring, 250_000);
        let second = line.next(&gauges, start + Duration::from_secs(3));
        assert_eq!(second, "measuring 2 s  100K calls/s  answered 250,000  errors 0  lost or wrong 0");
    }

    #[test]
    fn it_stops_when_dropped() {
        let progress = Progress::start(Arc::new(Gauges::new(1))).unwrap();
        drop(progress);
    }
}
