//! The floor: what the kernel and the target leave to any client.
//!
//! One thread, one connection, a window of calls that were serialised once; each reply counts as
//! its newline, nothing is parsed. The target answers in order, so the frames go round in a ring:
//! a frame is sent again only after its answer, and no id is twice in flight. All ids have the
//! same number of digits, the fewest that the window allows, so a frame is a number of bytes.
//!
//! Three modes, because none is best everywhere ([`Mode`]); the floor of a row is the best of them.
//! Writing never blocks: a window larger than the pipes would lock up against a target that
//! waits for its answers to be read. Cost: two system calls a turn, one clock reading.

use std::io::{self, Error};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use memchr::memchr_iter;

use crate::link::{Link, Target, Transport};
use crate::meter::{Meter, Run, warm_up};

/// How the floor reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Blocking reads of up to 1 MiB; everything free goes out in one write. Fewest system calls.
    Coalesced,
    /// Blocking reads of at most 16 KiB, so that both sides work at the same time.
    Sliced,
    /// As sliced, but asking again instead of sleeping. Worth nothing on one core.
    Spin,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Coalesced, Self::Sliced, Self::Spin];

    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coalesced => "floor coalesced",
            Self::Sliced => "floor sliced",
            Self::Spin => "floor spin",
        }
    }

    fn read_bytes_max(self) -> usize {
        match self {
            Self::Coalesced => 1024 * 1024,
            Self::Sliced | Self::Spin => 16 * 1024,
        }
    }
}

/// Which of the protocol's two eras the calls belong to. Modern ones carry their metadata: 200 bytes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// `server/discover`, then calls with `_meta`.
    Modern,
    /// `initialize`, then calls without.
    Legacy,
}

/// Measures one mode against a fresh target.
///
/// # Errors
///
/// When the target cannot be started, refuses, or is lost.
pub fn measure(
    transport: Transport,
    mode: Mode,
    era: Era,
    in_flight: NonZeroUsize,
    duration: Duration,
) -> io::Result<Run> {
    let mut target = Target::start(transport)?;
    let link = target.connect()?;
    open(&link, era)?;
    link.set_polled(mode == Mode::Spin)?;
    drive(&link, mode, &Ring::new(era, in_flight.get()), duration, target.pid())
}

/// Measures each mode once and returns the fastest.
///
/// # Errors
///
/// As [`measure`].
pub fn best_of_modes(
    transport: Transport,
    era: Era,
    in_flight: NonZeroUsize,
    duration: Duration,
) -> io::Result<(Mode, Run)> {
    let mut best = (Mode::Coalesced, measure(transport, Mode::Coalesced, era, in_flight, duration)?);
    for mode in [Mode::Sliced, Mode::Spin] {
        let run = measure(transport, mode, era, in_flight, duration)?;
        if run.rate() > best.1.rate() {
            best = (mode, run);
        }
    }
    Ok(best)
}

/// Does what the era asks for before the first call.
fn open(link: &Link, era: Era) -> io::Result<()> {
    let (ask, tell, sign) = match era {
        Era::Modern => (
            format!(r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{{META}}}}}"#),
            "",
            "supportedVersions",
        ),
        Era::Legacy => (
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"floor","version":"0.1.0"}}}"#.to_owned(),
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n",
            "protocolVersion",
        ),
    };
    write_all(link, format!("{ask}\n").as_bytes())?;
    let (mut reply, mut part) = (Vec::new(), vec![0; 4096]);
    while reply.last() != Some(&b'\n') {
        let got = link.read(&mut part)?.ok_or(io::ErrorKind::WouldBlock)?;
        reply.extend_from_slice(&part[..got]);
    }
    let reply = String::from_utf8_lossy(&reply);
    if !reply.contains(sign) {
        return Err(Error::other(format!("the target refused: {reply}")));
    }
    write_all(link, tell.as_bytes())
}

/// Only for the opening, where nothing waits to be read.
fn write_all(link: &Link, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[link.write(bytes)?..];
    }
    Ok(())
}

/// The loop itself.
fn drive(link: &Link, mode: Mode, ring: &Ring, duration: Duration, target_pid: u32) -> io::Result<Run> {
    let mut inbox = vec![0; mode.read_bytes_max()];
    // Where in the ring the next byte to send stands, and how many may go.
    // sent + due == (answered + in_flight) * frame_bytes, until the run is over.
    let (mut at, mut due) = (0, ring.bytes);
    let mut answered = 0_u64;
    let measured_from = Instant::now() + warm_up(duration);
    let mut running: Option<(Meter, u64)> = None;
    loop {
        if due > 0 {
            let wrote = link.write(&ring.frames[at..at + due])?;
            at = (at + wrote) % ring.bytes;
            due -= wrote;
        }
        // What did not fit goes out when there is room; until then answers are taken as they come.
        if due > 0 && mode != Mode::Spin && !link.wait()? {
            continue;
        }
        let Some(got) = link.read(&mut inbox)? else {
            std::hint::spin_loop();
            continue;
        };
        let replies = memchr_iter(b'\n', &inbox[..got]).count();
        answered += replies as u64;
        due += replies * ring.frame_bytes;

        let now = Instant::now();
        match &running {
            None if now >= measured_from => running = Some((Meter::begin(target_pid)?, answered)),
            Some((meter, _)) if now - meter.begun() >= duration => break,
            _ => {}
        }
    }
    let (meter, before) = running.ok_or_else(|| Error::other("the run ended before it began"))?;
    meter.end(answered - before)
}

/// A window of calls, one after the other, written twice so that any run of them is one slice.
#[derive(Debug)]
struct Ring {
    frames: Vec<u8>,
    /// Of one window: half of `frames`.
    bytes: usize,
    frame_bytes: usize,
}

impl Ring {
    fn new(era: Era, in_flight: usize) -> Self {
        let mut first = 1;
        while first * 9 < in_flight {
            first *= 10;
        }
        let window: String = (first..first + in_flight).map(|id| call(era, id) + "\n").collect();
        let (bytes, frame_bytes) = (window.len(), window.len() / in_flight);
        Self { frames: window.repeat(2).into_bytes(), bytes, frame_bytes }
    }
}

/// One call, as any client would write it.
fn call(era: Era, id: usize) -> String {
    let meta = match era {
        Era::Modern => format!(",{META}"),
        Era::Legacy => String::new(),
    };
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{MESSAGE}"}}{meta}}}}}"#
    )
}

/// What every contestant sends and gets back.
pub const MESSAGE: &str = "hello";

const META: &str = concat!(
    r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"floor","version":"0.1.0"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":{}}"#
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_valid_and_of_one_size() {
        for in_flight in [1, 9, 10, 64, 1_024, 32_768] {
            for era in [Era::Modern, Era::Legacy] {
                let ring = Ring::new(era, in_flight);
                assert_eq!(ring.bytes, in_flight * ring.frame_bytes);
                for frame in ring.frames.chunks(ring.frame_bytes) {
                    let value: serde_json::Value = serde_json::from_slice(frame).unwrap();
                    assert_eq!(value["params"]["arguments"]["message"], MESSAGE);
                    assert_eq!(frame.last(), Some(&b'\n'));
                }
            }
        }
    }
}
