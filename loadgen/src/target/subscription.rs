//! What a conversation has to remember of its client, and what a subscription wants to hear.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// What a legacy session has to remember of its client.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What the client declared in its handshake.
    pub(super) capabilities: Value,
    pub(super) log_level: Option<String>,
    /// The resources it subscribed to.
    pub(super) resources: BTreeSet<String>,
}

/// One subscription.
pub(super) struct Listener {
    /// The id of the request, as JSON.
    pub(super) id: String,
    /// The lists it wants to hear of: `tools`, `prompts`, `resources`.
    pub(super) lists: Vec<&'static str>,
    pub(super) resources: BTreeSet<String>,
}

impl Listener {
    /// Whether it wants to hear of this.
    pub(super) fn wants(&self, method: &str, params: &Value) -> bool {
        if method == RESOURCE_UPDATED {
            return params["uri"].as_str().is_some_and(|uri| self.resources.contains(uri));
        }
        let list = method.strip_prefix("notifications/").and_then(|rest| rest.strip_suffix("/list_changed"));
        list.is_some_and(|list| self.lists.contains(&list))
    }

    /// Adds to the parameters of a notification whose it is.
    pub(super) fn tag(&self, mut params: Value) -> Value {
        let id: Value = serde_json::from_str(&self.id).unwrap_or_default();
        if !params.is_object() {
            params = json!({});
        }
        params["_meta"] = json!({ "io.modelcontextprotocol/subscriptionId": id });
        params
    }
}

/// The one notification that names what it is about.
pub(super) const RESOURCE_UPDATED: &str = "notifications/resources/updated";
