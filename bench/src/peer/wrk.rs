//! wrk, in a process of its own: one thread, the bytes of one call posted for ever, replies counted.
//!
//! It neither reads the replies nor knows their ids, so it is no client; it shows what the kernel and the
//! target leave to one. Its script (`bench/wrk/call.lua`) makes the request once and runs nothing for a
//! reply. wrk has no warm-up: its run includes the opening of its connections. That every reply was the
//! right one is seen from their bytes: all have one length, which no error has.

use std::process::{Command, Stdio};

use crate::call::{Era, MESSAGE};
use crate::contestant::{Contestant, Course, Failure, Kind};
use crate::http::Replier;
use crate::link::{Target, Transport};
use crate::meter::{Meter, Run};

/// wrk, with one thread.
#[derive(Debug)]
pub struct Wrk;

/// What the script says at the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    requests: u64,
    duration_us: u64,
    bytes: u64,
    errors: u64,
}

impl Wrk {
    /// Whether it is installed. It has no way to say its version and succeed; that it starts is enough.
    pub fn is_installed() -> bool {
        Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }
}

impl Contestant for Wrk {
    fn name(&self) -> &'static str {
        "wrk -t1"
    }

    fn kind(&self) -> Kind {
        Kind::Wrk
    }

    fn runs(&self, course: &Course) -> bool {
        course.transport == Transport::Http && course.in_flight == 1 && course.array == 1
    }

    fn run(&self, course: &Course) -> Result<Run, Failure> {
        let target = Target::start(course.transport, course.connections)?;
        let url = target.endpoint().ok_or("an HTTP target has an endpoint")?;
        let connections = course.connections as u64;
        // It knows whole seconds only.
        let seconds = course.seconds.ceil().max(1.0);
        let mut command = Command::new("wrk");
        command.arg("-t1").arg(format!("-c{connections}")).arg(format!("-d{seconds}s"));
        command.args(["-s", SCRIPT]).arg(&url);
        if course.era == Era::Legacy {
            command.args(["--", "legacy"]);
        }
        let meter = Meter::begin_child(target.pid())?;
        let output = command.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(said) = text.lines().find_map(Said::read).filter(|_| output.status.success()) else {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("wrk ended with {}: {}", output.status, why.trim()).into());
        };
        let expected = reply_bytes(course.era) * said.requests;
        // A reply that was cut off by the end of the run is in the bytes, not in the requests.
        let cut = said.bytes.abs_diff(expected) > connections * reply_bytes(course.era);
        if said.errors > 0 || said.requests == 0 || cut {
            return Err(format!("wrk was not answered as expected, {expected} bytes: {said:?}").into());
        }
        // Its own account of the time: what is around it is the start of a process.
        Ok(Run { seconds: said.duration_us as f64 / 1e6, ..meter.end(said.requests)? })
    }
}

impl Said {
    fn read(line: &str) -> Option<Self> {
        let mut said = Self::default();
        for word in line.strip_prefix("driver: ")?.split(' ') {
            let (name, value) = word.split_once('=')?;
            let place = match name {
                "requests" => &mut said.requests,
                "duration_us" => &mut said.duration_us,
                "bytes" => &mut said.bytes,
                "errors" => &mut said.errors,
                _ => continue,
            };
            *place = value.parse().ok()?;
        }
        Some(said)
    }
}

/// The length of the right reply to the script's call.
fn reply_bytes(era: Era) -> u64 {
    let revision = match era {
        Era::Modern => r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
        Era::Legacy => "",
    };
    let body = format!(
        r#"{{"id":{ID},"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{MESSAGE}"}}{revision}}}}}"#
    );
    let request = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut reply = Vec::new();
    Replier::new().answer(request.as_bytes(), &mut reply);
    reply.len() as u64
}

/// The id the script writes.
const ID: u32 = 11;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wrk/call.lua");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read() {
        let said = Said::read("driver: requests=5 duration_us=7 bytes=600 errors=1 p50_us=2");
        assert_eq!(said, Some(Said { requests: 5, duration_us: 7, bytes: 600, errors: 1 }));
        assert_eq!(Said::read("Requests/sec: 5"), None);
        assert_eq!(Said::read("driver: requests=many"), None);
    }

    /// The script and the constants of this crate say the same.
    #[test]
    fn the_script_sends_the_common_call() {
        let script = std::fs::read_to_string(SCRIPT).unwrap();
        for part in [format!("\"id\":{ID},"), format!("\"message\":\"{MESSAGE}\""), "2026-07-28".into()] {
            assert!(script.contains(&part), "{part}");
        }
        assert_eq!(
            reply_bytes(Era::Modern) - reply_bytes(Era::Legacy),
            r#","resultType":"complete""#.len() as u64 + 1
        );
    }
}
