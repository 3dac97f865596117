//! Calls of tools: executed now, answered now or later, or never when they are cancelled.
//!
//! This half of [`Session`] keeps what is owed to the client: answers held by a timer and answers
//! that wait for the client's own word. A held answer is found again by the id of its request, so
//! a cancellation costs one look-up, however many are pending.
//!
//! What always holds: `held` has an entry for each armed job of this session, and both go
//! together. Should a client use an id twice at a time, the later call takes the entry.
//! Clauses: MCP cancellation and progress. Proof: the tests of `session` and `chaos`.

use std::io::Write as _;
use std::time::Duration;

use super::envelope::{Members, Request};
use super::owed::{Answer, Destination, IdKey, Progress, Waiting};
use super::reply::{Fault, Outcome, quote};
use super::revision::Revision;
use super::session::{Era, Session};
use super::tools::{self, Execution};
use super::world::{Turn, Work, World};

impl Session {
    /// Handles a request `tools/call` that was admitted under this revision.
    pub(super) fn call(
        &mut self,
        request: &Request<'_>,
        revision: Revision,
        to: Destination,
        turn: &mut Turn<'_>,
    ) {
        let answer = |outcome| Answer { id: request.id.as_bytes().to_vec(), outcome, to };
        let params = &request.params;
        let arguments = match params.get("arguments") {
            None => Some(Members::default()),
            Some(_) => params.object("arguments"),
        };
        let (Some(name), Some(arguments)) = (params.text("name"), arguments) else {
            return self.reply(request.id, &Fault::BAD_PARAMS.into(), to, turn);
        };
        if let Some(refusal) = self.before_call(turn) {
            return self.conclude(answer(refusal), turn);
        }
        match tools::execute(&name, &arguments, revision, turn.world) {
            Ok(Execution::Done(outcome)) => self.conclude(answer(outcome), turn),
            Ok(Execution::Later(wait, outcome)) => {
                let wait = wait + self.extra_delay(turn.world);
                self.hold(wait, Work::Answer(answer(outcome)), turn);
            }
            Ok(Execution::Steps { steps, each, outcome }) => {
                let token = params.object("_meta").and_then(|meta| meta.get("progressToken"));
                let token = token.map(str::to_owned);
                let progress = Progress { answer: answer(outcome), token, step: 0, steps, each };
                let wait = each + self.extra_delay(turn.world);
                self.hold(wait, Work::Progress(Box::new(progress)), turn);
            }
            Ok(Execution::AskClient { method }) => {
                self.ask_client(&method, answer(Outcome::result("")), turn)
            }
            Err(error) => self.conclude(answer(error.outcome(revision)), turn),
        }
    }

    /// Sends the client a request of ours; its response becomes the text of the answer.
    fn ask_client(&mut self, method: &str, answer: Answer, turn: &mut Turn<'_>) {
        if self.asked.len() >= ASKED_MAX {
            return self.conclude(Answer { outcome: Fault::BUSY.into(), ..answer }, turn);
        }
        turn.world.asked += 1;
        let number = turn.world.asked;
        let method = quote(method);
        write!(turn.out, r#"{{"jsonrpc":"2.0","id":"srv-{number}","method":{method}}}"#).expect(IN_MEMORY);
        turn.out.push(b'\n');
        self.asked.push((number, Waiting::Answer(answer)));
    }

    /// Passes the client's response on to the call that asked for it.
    pub(super) fn handle_response(&mut self, id: &str, json: &str, turn: &mut Turn<'_>) {
        let number = id.strip_prefix("\"srv-").and_then(|id| id.strip_suffix('"')?.parse().ok());
        let place = self.asked.iter().position(|&(asked, _)| Some(asked) == number);
        let (Some(place), Era::Legacy(revision)) = (place, self.era) else {
            self.keep_stray(json);
            return;
        };
        match self.asked.swap_remove(place).1 {
            Waiting::Script(running) => self.hand_reply(running, json, turn),
            Waiting::Answer(mut answer) => {
                answer.outcome = tools::text(json, revision);
                self.conclude(answer, turn);
            }
        }
    }

    /// Keeps a message that is meant for another exchange.
    fn keep_stray(&mut self, json: &str) {
        if let Some(strays) = self.strays.as_mut().filter(|strays| strays.len() < STRAYS_MAX) {
            strays.push(json.to_owned());
        }
    }

    /// Handles a notification; `json` is all of it.
    pub(super) fn handle_notification(
        &mut self,
        method: &str,
        params: &Members<'_>,
        json: &str,
        turn: &mut Turn<'_>,
    ) {
        if method != "notifications/cancelled" {
            return;
        }
        let Some(id) = params.get("requestId") else { return };
        let held = self.held.remove(&IdKey::new(id.as_bytes()));
        let job = held.and_then(|ticket| turn.world.timers.cancel(ticket));
        let asked = self.asked.iter().position(|(_, waiting)| waiting.id() == id.as_bytes());
        if let Some(to) = job.and_then(|job| job.work.destination()) {
            self.settle(to, turn);
        } else if let Some(place) = asked {
            let (_, waiting) = self.asked.swap_remove(place);
            self.settle(waiting.to(), turn);
        } else if self.stop_listening(id) {
            self.settle(Destination::Line, turn);
        } else {
            self.keep_stray(json);
        }
    }

    /// Continues with work whose time has come.
    pub(super) fn handle_due(&mut self, work: Work, turn: &mut Turn<'_>) {
        match work {
            Work::Answer(answer) => {
                self.held.remove(&IdKey::new(&answer.id));
                self.finish_call(answer, turn);
            }
            Work::Progress(mut progress) => {
                progress.step += 1;
                if let Some(token) = &progress.token {
                    let Progress { step, steps, .. } = *progress;
                    writeln!(
                        turn.out,
                        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step},"total":{steps}}}}}"#
                    )
                    .expect(IN_MEMORY);
                }
                if progress.step < progress.steps {
                    let each = progress.each;
                    self.hold(each, Work::Progress(progress), turn);
                } else {
                    self.held.remove(&IdKey::new(&progress.answer.id));
                    self.finish_call(progress.answer, turn);
                }
            }
            Work::Script(running) => {
                self.held.remove(&IdKey::new(&running.id));
                self.go_on_with(running, turn);
            }
            Work::ReadOne | Work::Close | Work::Accept | Work::Comment => {}
        }
    }

    /// Forgets what is owed; the connection is gone.
    pub(super) fn abandon(&mut self, world: &mut World) {
        for (_, ticket) in self.held.drain() {
            world.timers.cancel(ticket);
        }
    }

    /// Sends an answer now, or holds it for as long as `--delay` says.
    pub(super) fn conclude(&mut self, answer: Answer, turn: &mut Turn<'_>) {
        match turn.world.behaviour.delay {
            None => self.finish_call(answer, turn),
            Some(_) => {
                let wait = self.extra_delay(turn.world);
                self.hold(wait, Work::Answer(answer), turn);
            }
        }
    }

    fn extra_delay(&self, world: &mut World) -> Duration {
        world.behaviour.delay.map(|delay| delay.draw(&mut world.rng)).unwrap_or_default()
    }

    /// Lets work wait for its time.
    pub(super) fn hold(&mut self, wait: Duration, work: Work, turn: &mut Turn<'_>) {
        let Some(id) = work.id().map(IdKey::new) else { return };
        let ticket = turn.world.arm(wait, turn.owner, work);
        self.held.insert(id, ticket);
    }
}

impl Work {
    /// Where the answer goes that this work was for.
    fn destination(&self) -> Option<Destination> {
        match self {
            Self::Answer(answer) => Some(answer.to),
            Self::Progress(progress) => Some(progress.answer.to),
            Self::Script(running) => Some(running.to),
            Self::ReadOne | Self::Close | Self::Accept | Self::Comment => None,
        }
    }

    /// The request that this work is for.
    fn id(&self) -> Option<&[u8]> {
        match self {
            Self::Answer(answer) => Some(&answer.id),
            Self::Progress(progress) => Some(&progress.answer.id),
            Self::Script(running) => Some(&running.id),
            Self::ReadOne | Self::Close | Self::Accept | Self::Comment => None,
        }
    }
}

/// Requests to the client that may be unanswered at a time.
const ASKED_MAX: usize = 4096;
/// Messages for other exchanges that one exchange keeps.
const STRAYS_MAX: usize = 4096;
const IN_MEMORY: &str = "writing to memory does not fail";
