//! Elicitation: a server asks the client's user for something, in a form, or at an address.
//!
//! The wanted schema stays as it came. What the form left open is filled in with the schema's defaults (SEP-1034), and only a
//! form that was accepted has content at all; both is done by [`ElicitResult::settle`], once for all ways of asking.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{text::open_text, tool::Members};

/// A form: something that the user is to fill in.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElicitForm {
    /// What to tell the user.
    pub message: String,
    /// The schema of what is wanted: an object with flat properties. As it came.
    pub requested_schema: Value,
    /// All other members; `mode` among them, if it was given.
    #[serde(flatten)]
    pub rest: Members,
}

/// An address: something that the user is to do elsewhere. Never open or fetch it unasked.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElicitUrl {
    /// What to tell the user.
    pub message: String,
    /// The address.
    pub url: String,
    /// By which 2025-11-25 says later that it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elicitation_id: Option<String>,
    /// All other members; `mode` among them.
    #[serde(flatten)]
    pub rest: Members,
}

/// The params of `elicitation/create`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum ElicitRequest {
    /// `mode: form`, or no mode.
    Form(ElicitForm),
    /// `mode: url`.
    Url(ElicitUrl),
    /// A mode that this version does not know.
    Other(Members),
}

impl<'de> Deserialize<'de> for ElicitRequest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        let read = match members.get("mode").map(Value::as_str) {
            None | Some(Some("form")) => serde_json::from_value(Value::Object(members)).map(Self::Form),
            Some(Some("url")) => serde_json::from_value(Value::Object(members)).map(Self::Url),
            Some(_) => Ok(Self::Other(members)),
        };
        read.map_err(serde::de::Error::custom)
    }
}

open_text! {
    /// What the user did.
    ElicitAction {
        /// Filled it in, or agreed to go there.
        Accept = "accept",
        /// Said no.
        Decline = "decline",
        /// Closed it without a choice.
        Cancel = "cancel",
    }
}

/// The answer to `elicitation/create`.
///
/// ```
/// use serde_json::json;
/// use volley::mcp::{ElicitAction, ElicitResult};
///
/// let result = ElicitResult::accept(&json!({"name": "Ada"}));
/// assert_eq!(result.action, ElicitAction::Accept);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ElicitResult {
    /// What the user did.
    pub action: ElicitAction,
    /// What the form holds, if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Members>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

impl ElicitResult {
    fn of(action: ElicitAction, content: Option<Members>) -> Self {
        Self { action, content, rest: Members::new() }
    }

    /// An accepted form with this content, a JSON object; what is no object counts as empty. Properties that are left out
    /// get the schema's defaults.
    pub fn accept(content: &Value) -> Self {
        Self::of(ElicitAction::Accept, Some(content.as_object().cloned().unwrap_or_default()))
    }

    /// The user agreed to go to the address.
    pub fn agree() -> Self {
        Self::of(ElicitAction::Accept, None)
    }

    /// The user said no.
    pub fn decline() -> Self {
        Self::of(ElicitAction::Decline, None)
    }

    /// The user closed it without a choice.
    pub fn cancel() -> Self {
        Self::of(ElicitAction::Cancel, None)
    }

    /// As it goes to the server: an accepted form has content, with the defaults of `schema` for what is missing; anything
    /// else has none.
    #[must_use]
    pub(crate) fn settle(mut self, schema: Option<&Value>) -> Self {
        self.content = match schema {
            Some(schema) if self.action == ElicitAction::Accept => {
                let mut content = self.content.unwrap_or_default();
                let properties = schema.get("properties").and_then(Value::as_object);
                for (name, property) in properties.into_iter().flatten() {
                    if let (None, Some(default)) = (content.get(name), property.get("default")) {
                        content.insert(name.clone(), default.clone());
                    }
                }
                Some(content)
            }
            _ => None,
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn accepted_forms_get_the_defaults_of_what_they_leave_open() {
        let schema = json!({"type": "object", "properties": {
            "name": {"type": "string", "default": "nobody"},
            "age": {"type": "integer", "default": 0},
            "tags": {"type": "array", "default": ["a"]},
            "sure": {"type": "boolean", "default": false},
            "note": {"type": "string"},
        }});
        let settled = ElicitResult::accept(&json!({"name": "Ada", "extra": null})).settle(Some(&schema));
        let expected = json!({"name": "Ada", "age": 0, "tags": ["a"], "sure": false, "extra": null});
        assert_eq!(settled.content.map(Value::Object), Some(expected));
        // An empty form that was accepted still has content.
        let bare = ElicitResult::agree().settle(Some(&json!({"type": "object", "properties": {}})));
        assert_eq!(bare.content, Some(Members::new()));
        for odd in [json!(null), json!({"properties": []}), json!({"properties": {"a": 7}})] {
            assert_eq!(
                ElicitResult::accept(&json!({})).settle(Some(&odd)).content,
                Some(Members::new()),
                "{odd}"
            );
        }
    }

    #[test]
    fn what_was_not_accepted_has_no_content() {
        let schema = json!({"properties": {"a": {"default": 1}}});
        for action in [ElicitAction::Decline, ElicitAction::Cancel, ElicitAction::Other("shrug".to_owned())] {
            let result = ElicitResult::of(action, Some(Members::new()));
            assert_eq!(result.settle(Some(&schema)).content, None);
        }
        assert_eq!(
            ElicitResult::accept(&json!({"a": 1})).settle(None).content,
            None,
            "an address has no form"
        );
    }

    #[test]
    fn an_absent_mode_is_a_form() {
        let read = |value| serde_json::from_value::<ElicitRequest>(value);
        let schema = json!({"type": "object"});
        let form = json!({"message": "m", "requestedSchema": schema});
        assert!(matches!(read(form.clone()).unwrap(), ElicitRequest::Form(_)));
        assert_eq!(serde_json::to_value(read(form.clone()).unwrap()).unwrap(), form);
        let said = json!({"mode": "form", "message": "m", "requestedSchema": schema});
        assert!(matches!(read(said).unwrap(), ElicitRequest::Form(_)));
        let url = json!({"mode": "url", "message": "m", "url": "https://x", "elicitationId": "e"});
        assert!(matches!(read(url).unwrap(), ElicitRequest::Url(_)));
        for odd in [json!({"mode": "smell"}), json!({"mode": null}), json!({"mode": 1})] {
            assert!(matches!(read(odd).unwrap(), ElicitRequest::Other(_)));
        }
        assert!(read(json!({"message": "m"})).is_err());
    }
}
