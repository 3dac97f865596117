//! What a subscription of the modern era is about: the lists, resources and tasks whose changes a client wants to hear of.

use serde::{Deserialize, Serialize};

use super::tool::Members;

/// What a client wants to be told, and, in the acknowledgement, what the server will tell.
///
/// ```
/// use volley::mcp::SubscriptionFilter;
///
/// let filter = SubscriptionFilter {
///     tools_list_changed: true,
///     resource_subscriptions: vec!["file:///notes.txt".to_owned()],
///     ..SubscriptionFilter::default()
/// };
/// let text = serde_json::to_string(&filter)?;
/// assert_eq!(text, r#"{"toolsListChanged":true,"resourceSubscriptions":["file:///notes.txt"]}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionFilter {
    /// The list of tools has changed.
    #[serde(skip_serializing_if = "is_false")]
    pub tools_list_changed: bool,
    /// The list of prompts has changed.
    #[serde(skip_serializing_if = "is_false")]
    pub prompts_list_changed: bool,
    /// The list of resources has changed.
    #[serde(skip_serializing_if = "is_false")]
    pub resources_list_changed: bool,
    /// One of these resources has changed, by their addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_subscriptions: Vec<String>,
    /// One of these tasks has moved on, by their ids; only with the extension `io.modelcontextprotocol/tasks`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub task_ids: Vec<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// The params of `notifications/subscriptions/acknowledged`.
#[derive(Debug, Deserialize)]
pub(crate) struct Acknowledged {
    pub(crate) notifications: SubscriptionFilter,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_goes_through_with_what_it_does_not_know() {
        let wire = json!({
            "promptsListChanged": true, "resourcesListChanged": true, "taskIds": ["t"], "somethingNew": {"x": 1},
        });
        let filter: SubscriptionFilter = serde_json::from_value(wire.clone()).unwrap();
        assert!(filter.prompts_list_changed && filter.resources_list_changed && !filter.tools_list_changed);
        assert_eq!(filter.task_ids, ["t"]);
        assert_eq!(serde_json::to_value(&filter).unwrap(), wire);
        assert_eq!(serde_json::to_value(SubscriptionFilter::default()).unwrap(), json!({}));
    }
}
