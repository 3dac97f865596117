//! Playing the fixtures: a script names the steps, the session takes them.
//!
//! A script that waits is held like any other call: by a timer, or by the request of ours that the
//! client has not answered yet. What a fixture cannot keep is kept in the session's memory, which
//! all exchanges of a session share.
//!
//! What always holds: a script is in one place only, a timer's or `asked`, until it answers.
//! Clauses: MCP utilities of each revision. Proof: `script_tests`.

use serde_json::{Map, Value, json};

use super::envelope::Request;
use super::fixtures::{self, Asked, Step};
use super::owed::{Answer, Destination, Running, Waiting};
use super::reply::Outcome;
use super::revision::Revision;
use super::session::Session;
use super::tools;
use super::world::{Turn, Work};

impl Session {
    /// Plays the fixture that answers this request, if there is one.
    pub(super) fn play(
        &mut self,
        request: &Request<'_>,
        revision: Revision,
        to: Destination,
        turn: &mut Turn<'_>,
    ) -> bool {
        let method = request.method.as_str();
        let params = request.params.to_value();
        if !fixtures::knows(method, &params) {
            return false;
        }
        let modern = revision.is_modern();
        let meta = &params["_meta"];
        let memory = self.memory.borrow();
        let level = &meta["io.modelcontextprotocol/logLevel"];
        let asked = Asked {
            method,
            params: &params,
            modern,
            revision: revision.text(),
            client_capabilities: match modern {
                true => &meta["io.modelcontextprotocol/clientCapabilities"],
                false => &memory.capabilities,
            },
            session: None,
            log_level: if modern { level.as_str() } else { memory.log_level.as_deref() },
        };
        let now = turn.world.unix_time();
        let script = turn.world.tasks.begin(&asked, now).unwrap_or_else(|| fixtures::begin(&asked));
        drop(memory);
        let is_call = method == "tools/call";
        if is_call && let Some(refusal) = self.before_call(turn) {
            self.conclude(Answer { id: request.id.into(), outcome: refusal, to }, turn);
            return true;
        }
        let mut running = Box::new(Running { id: request.id.into(), to, script, is_call, revision });
        let step = running.script.next(None);
        if let Step::Answer(Ok(result)) = step {
            let result = self.complete(method, &params, result, revision, turn);
            self.end_script(*running, Ok(result), turn);
        } else {
            self.take_steps(running, step, turn);
        }
        true
    }

    /// Adds to a fixture's result what it could not know, and remembers what it cannot keep.
    fn complete(
        &mut self,
        method: &str,
        params: &Value,
        mut result: Value,
        revision: Revision,
        turn: &Turn<'_>,
    ) -> Value {
        let text = |key: &str| params[key].as_str().map(str::to_owned);
        let mut memory = self.memory.borrow_mut();
        match method {
            "tools/list" => {
                let own =
                    tools::list(revision).filter_map(|tool| serde_json::from_str(&tool.json(revision)).ok());
                if let Some(list) = result["tools"].as_array_mut() {
                    list.extend(own);
                }
            }
            "server/discover" => {
                let versions = serde_json::from_str(&turn.world.protocol.offer.modern_json());
                result["supportedVersions"] = versions.unwrap_or_default();
            }
            "logging/setLevel" => memory.log_level = text("level"),
            "resources/subscribe" if memory.resources.len() < RESOURCES_MAX => {
                memory.resources.extend(text("uri"));
            }
            "resources/unsubscribe" => {
                text("uri").map(|uri| memory.resources.remove(&uri));
            }
            _ => {}
        }
        result
    }

    /// Goes on with a script whose pause is over.
    pub(super) fn go_on_with(&mut self, mut running: Box<Running>, turn: &mut Turn<'_>) {
        let step = running.script.next(None);
        self.take_steps(running, step, turn);
    }

    /// Goes on with a script that asked; `reply` is the whole response of the client.
    pub(super) fn hand_reply(&mut self, mut running: Box<Running>, reply: &str, turn: &mut Turn<'_>) {
        let mut reply: Map<String, Value> = serde_json::from_str(reply).unwrap_or_default();
        let error = reply.remove("error");
        let reply = error.map_or_else(|| Ok(reply.remove("result").unwrap_or_default()), Err);
        let step = running.script.next(Some(reply));
        self.take_steps(running, step, turn);
    }

    /// Takes steps until one of them waits or is the last.
    fn take_steps(&mut self, mut running: Box<Running>, first: Step, turn: &mut Turn<'_>) {
        let mut step = first;
        loop {
            match step {
                Step::Notify { method, params } => put_message(turn.out, None, &method, params),
                Step::Ask { method, params } => {
                    turn.world.asked += 1;
                    let number = turn.world.asked;
                    put_message(turn.out, Some(number), &method, params);
                    self.asked.push((number, Waiting::Script(running)));
                    return;
                }
                Step::Pause(wait) => return self.hold(wait, Work::Script(running), turn),
                Step::CloseStream => self.leaves_at = Some(turn.out.len()),
                Step::Answer(answer) => return self.end_script(*running, answer, turn),
                Step::Broadcast { method, params } => turn.world.broadcasts.push((method, params)),
            }
            step = running.script.next(None);
        }
    }

    fn end_script(&mut self, running: Running, answer: Result<Value, fixtures::Fault>, turn: &mut Turn<'_>) {
        let Running { id, to, is_call, revision, .. } = running;
        let outcome = match answer {
            Ok(result) => Outcome::result(result.to_string()),
            Err(fault) => {
                self.status = fault.status.filter(|_| revision.is_modern());
                let data = fault.data.map(|data| data.to_string());
                let code = i32::try_from(fault.code).unwrap_or(-32603);
                Outcome::error(code, &fault.message, data.as_deref())
            }
        };
        if is_call {
            return self.conclude(Answer { id, outcome, to }, turn);
        }
        self.reply_bytes(&id, &outcome, to, turn);
    }
}

/// Appends a notification, or a request of ours with this number, as a line.
pub(super) fn put_message(out: &mut Vec<u8>, number: Option<u64>, method: &str, params: Value) {
    let mut message = json!({ "jsonrpc": "2.0", "method": method });
    if let Some(number) = number {
        message["id"] = format!("srv-{number}").into();
    }
    if !params.is_null() {
        message["params"] = params;
    }
    out.extend_from_slice(message.to_string().as_bytes());
    out.push(b'\n');
}

/// Resources that one session may be subscribed to.
const RESOURCES_MAX: usize = 1024;

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
