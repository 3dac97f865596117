//! Telling those who want to know: subscriptions, and notifications to everybody.
//!
//! A modern client listens by a request that is never answered while it lasts: first it is told
//! which part of its wish was accepted, then it hears what fits, each message tagged with the id
//! of that request. A legacy client hears of changed lists unasked, and of the resources it
//! subscribed to. Clause: MCP 2026-07-28, subscriptions. Proof: `script_tests`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::envelope::Request;
use super::owed::Destination;
use super::reply::Fault;
use super::scripts::put_message;
use super::session::{Era, Session};
use super::subscription::{Listener, RESOURCE_UPDATED};
use super::world::Turn;

impl Session {
    /// Opens a subscription.
    pub(super) fn listen(&mut self, request: &Request<'_>, to: Destination, turn: &mut Turn<'_>) {
        let params = request.params.to_value();
        let Some(wish) = params["notifications"].as_object() else {
            return self.reply(request.id, &Fault::BAD_PARAMS.into(), to, turn);
        };
        if self.listeners.len() >= LISTENERS_MAX {
            return self.reply(request.id, &Fault::BUSY.into(), to, turn);
        }
        let mut accepted = Map::new();
        let mut lists = Vec::new();
        for (key, list) in LISTS {
            if wish.get(key) == Some(&Value::Bool(true)) {
                accepted.insert(key.to_owned(), true.into());
                lists.push(list);
            }
        }
        let uris = wish.get("resourceSubscriptions").and_then(Value::as_array);
        let uris = uris.into_iter().flatten().filter_map(|uri| Some(uri.as_str()?.to_owned()));
        let resources: BTreeSet<String> = uris.take(RESOURCES_MAX).collect();
        if wish.contains_key("resourceSubscriptions") {
            accepted.insert("resourceSubscriptions".to_owned(), json!(resources));
        }
        let listener = Listener { id: request.id.to_owned(), lists, resources };
        let params = listener.tag(json!({ "notifications": accepted }));
        put_message(turn.out, None, "notifications/subscriptions/acknowledged", params);
        self.listeners.push(listener);
    }

    /// Ends the subscription that this request opened, without a word; says whether there was one.
    pub(super) fn stop_listening(&mut self, id: &str) -> bool {
        let before = self.listeners.len();
        self.listeners.retain(|listener| listener.id != id);
        self.listeners.len() < before
    }

    /// Passes a notification to everybody on to this client, if it wants to hear of such things.
    pub(super) fn hear(&mut self, method: &str, params: &Value, turn: &mut Turn<'_>) {
        match self.era {
            Era::Undecided => {}
            Era::Legacy(_) => {
                if self.wants(method, params) {
                    put_message(turn.out, None, method, params.clone());
                }
            }
            Era::Modern(_) => {
                for listener in self.listeners.iter().filter(|listener| listener.wants(method, params)) {
                    put_message(turn.out, None, method, listener.tag(params.clone()));
                }
            }
        }
    }

    /// Whether a legacy client wants to hear of this.
    pub(super) fn wants(&self, method: &str, params: &Value) -> bool {
        method != RESOURCE_UPDATED
            || params["uri"].as_str().is_some_and(|uri| self.memory.borrow().resources.contains(uri))
    }
}

const LISTS: [(&str, &str); 3] =
    [("toolsListChanged", "tools"), ("promptsListChanged", "prompts"), ("resourcesListChanged", "resources")];
/// Subscriptions of one conversation at a time.
const LISTENERS_MAX: usize = 1024;
/// Resources that one subscription names.
const RESOURCES_MAX: usize = 1024;
