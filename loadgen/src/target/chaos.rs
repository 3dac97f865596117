//! What becomes of an answer on its way out: doubled, lost, shuffled, cut in half.
//!
//! One answer comes in, any number of lines go out; every choice is drawn from the one seeded
//! generator, in the order of this file, so a seed replays a run as long as the calls arrive in
//! the same order. With no switch set the spliced path never comes here.
//! Proof: the tests below, one for each switch.

use std::io::Write as _;

use super::owed::{Answer, Destination};
use super::reply::{self, Fault, Outcome};
use super::revision::Revision;
use super::session::Session;
use super::tools;
use super::world::{Turn, World};

impl Session {
    /// What happens before a call is executed; an outcome is a refusal to execute it.
    pub(super) fn before_call(&self, turn: &mut Turn<'_>) -> Option<Outcome> {
        let world = &mut *turn.world;
        if world.behaviour.stderr_flood.is_some() {
            flood_stderr(STDERR_BYTES_PER_CALL);
        }
        world.behaviour.refuse.strikes(&mut world.rng).then(|| Fault::BUSY.into())
    }

    /// Sends the answer to a call, or whatever the switches make of it.
    pub(super) fn finish_call(&mut self, mut answer: Answer, turn: &mut Turn<'_>) {
        if turn.world.calls_are_plain {
            return self.reply_bytes(&answer.id, &answer.outcome, answer.to, turn);
        }
        let World { behaviour, rng, .. } = &mut *turn.world;
        if behaviour.noise.strikes(rng) {
            turn.out.extend_from_slice(NOISE[rng.usize(..NOISE.len())]);
        }
        if behaviour.notify.strikes(rng) {
            turn.out.extend_from_slice(NOTIFICATIONS[rng.usize(..NOTIFICATIONS.len())]);
        }
        if behaviour.null_id_errors.strikes(rng) {
            self.send_extra(b"null", &Fault::NOT_JSON.into(), turn);
        }
        let World { behaviour, rng, .. } = &mut *turn.world;
        if behaviour.unknown.strikes(rng) {
            let id = (UNUSED_ID + rng.u64(..1 << 40)).to_string();
            self.send_extra(id.as_bytes(), &tools::text("nobody asked", Revision::R2024_11_05), turn);
        }
        let World { behaviour, rng, .. } = &mut *turn.world;
        if behaviour.missing.strikes(rng) {
            return self.leave_unanswered(answer.to, turn);
        }
        if behaviour.wrong.strikes(rng) {
            answer.outcome = tools::text("this is not what you sent", Revision::R2026_07_28);
        }
        let twice = behaviour.duplicate.strikes(rng);
        if behaviour.string_id && answer.id[0] != b'"' {
            answer.id.insert(0, b'"');
            answer.id.push(b'"');
        }
        let mut frame = Vec::new();
        reply::render(&mut frame, &answer.id, &answer.outcome, behaviour.shape);
        if twice {
            self.send_call_frame(frame.clone(), answer.to, turn);
        }
        self.send_call_frame(frame, answer.to, turn);
        self.settle(answer.to, turn);
    }

    /// Sends all gathered answers in random order.
    pub(super) fn flush_shuffled(&mut self, turn: &mut Turn<'_>) {
        let mut frames = std::mem::take(&mut self.shuffled);
        turn.world.rng.shuffle(&mut frames);
        for frame in &frames {
            self.put_call_frame(frame, turn);
        }
    }

    /// Answers a request that is no call; only the shape of the reply is up to the switches.
    pub(super) fn reply(&mut self, id: &str, outcome: &Outcome, to: Destination, turn: &mut Turn<'_>) {
        self.reply_bytes(id.as_bytes(), outcome, to, turn);
    }

    pub(super) fn reply_fault(
        &mut self,
        id: Option<&str>,
        fault: Fault,
        to: Destination,
        turn: &mut Turn<'_>,
    ) {
        self.reply(id.unwrap_or("null"), &fault.into(), to, turn);
    }

    /// The same, for an id that is bytes.
    pub(super) fn reply_bytes(&mut self, id: &[u8], outcome: &Outcome, to: Destination, turn: &mut Turn<'_>) {
        let shape = turn.world.behaviour.shape;
        match self.batch_answers(to) {
            None => {
                reply::render(turn.out, id, outcome, shape);
                turn.out.push(b'\n');
            }
            Some(answers) => {
                let mut frame = Vec::new();
                reply::render(&mut frame, id, outcome, shape);
                answers.push(frame);
            }
        }
        self.settle(to, turn);
    }

    fn send_extra(&mut self, id: &[u8], outcome: &Outcome, turn: &mut Turn<'_>) {
        reply::render(turn.out, id, outcome, turn.world.behaviour.shape);
        turn.out.push(b'\n');
    }

    fn send_call_frame(&mut self, frame: Vec<u8>, to: Destination, turn: &mut Turn<'_>) {
        if let Some(answers) = self.batch_answers(to) {
            answers.push(frame);
        } else if turn.world.behaviour.reorder > 0 {
            self.shuffled.push(frame);
            if self.shuffled.len() >= turn.world.behaviour.reorder {
                self.flush_shuffled(turn);
            }
        } else {
            self.put_call_frame(&frame, turn);
        }
    }

    /// Writes one line, or the half of it that is the last thing this connection ever says.
    fn put_call_frame(&mut self, frame: &[u8], turn: &mut Turn<'_>) {
        if self.ending || turn.world.dying {
            return;
        }
        self.answered += 1;
        turn.world.answered += 1;
        turn.world.dying = turn.world.behaviour.die_after == Some(turn.world.answered);
        self.ending = turn.world.behaviour.drop_after == Some(self.answered);
        if turn.world.dying || self.ending {
            turn.out.extend_from_slice(&frame[..frame.len() / 2]);
        } else {
            turn.out.extend_from_slice(frame);
            turn.out.push(b'\n');
        }
    }
}

/// Writes so many bytes of log to stderr, and waits for whoever does not read it: so do real
/// servers.
pub(super) fn flood_stderr(bytes: u64) {
    let mut stderr = std::io::stderr().lock();
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(STDERR_LINE.len() as u64) as usize;
        if stderr.write_all(&STDERR_LINE[STDERR_LINE.len() - piece..]).is_err() {
            return;
        }
        left -= piece as u64;
    }
}

const STDERR_BYTES_PER_CALL: u64 = 200;
const STDERR_LINE: &[u8; 50] = b"target: a log line of fifty bytes, one of many ..\n";
/// Ids from here on are never used by a client that counts, and exact in any JSON reader.
const UNUSED_ID: u64 = 8_000_000_000_000_000;
const NOISE: [&[u8]; 4] =
    [b"target: started, this is no JSON\n", b"\n", b"\r\n", b"[2026-01-01] WARN {\"almost\": json\r\n"];
const NOTIFICATIONS: [&[u8]; 2] = [
    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n",
    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"unasked\"}}\n",
];

#[cfg(test)]
#[path = "chaos_tests.rs"]
mod tests;
