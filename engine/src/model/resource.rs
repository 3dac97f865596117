//! Resources: what a server lists, and what reading one gives.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::{cache::CacheHints, text::Role, tool::Members};
use crate::error::Error;

/// Hints on how to use or show something. From an untrusted server they may be wrong.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    /// For whom it is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<Role>>,
    /// From 0 to 1: how important it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Number>,
    /// When it was last changed, in ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// A picture that stands for something. Its address is the server's word: do not fetch it unasked.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Icon {
    /// Where it is: an `https` or `data` address.
    pub src: String,
    /// For instance `image/png`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// All other members: `sizes`, `theme`.
    #[serde(flatten)]
    pub rest: Members,
}

/// A resource as the server lists it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The address to read it by.
    pub uri: String,
    /// Its name, for programs.
    pub name: String,
    /// A title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// For instance `text/plain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its length in bytes, before any encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Number>,
    /// Hints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// A family of resources whose addresses follow a pattern.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTemplate {
    /// The pattern of the addresses (RFC 6570).
    pub uri_template: String,
    /// Its name, for programs.
    pub name: String,
    /// A title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// If it is the same for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Hints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

/// What stands in a resource: text, or bytes.
///
/// ```
/// use volley::mcp::ResourceContents;
///
/// let contents: ResourceContents = serde_json::from_str(r#"{"uri":"file:///x","blob":"AAEC"}"#)?;
/// assert_eq!(contents.bytes()?, [0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceContents {
    /// Its address.
    pub uri: String,
    /// For instance `text/plain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The text, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in base64, if it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

impl ResourceContents {
    /// The bytes: those of the text, or the decoded blob.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if there is neither, or the blob is no base64.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        match (&self.text, &self.blob) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(blob)) => STANDARD.decode(blob).map_err(|error| {
                Error::decode(format!("the blob of {:?}: {error}", self.uri)).because(error)
            }),
            (None, None) => Err(Error::decode(format!("{:?} came with neither text nor blob", self.uri))),
        }
    }
}

/// What reading a resource gave: one part, or several.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ReadResourceResult {
    /// The parts.
    pub contents: Vec<ResourceContents>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

impl ReadResourceResult {
    /// How long it may be kept.
    pub fn cache_hints(&self) -> CacheHints {
        CacheHints::of(&self.rest)
    }
}

/// The params of `notifications/resources/updated`: a resource that was subscribed to has changed.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ResourceUpdated {
    /// Its address, or that of what it belongs to.
    pub uri: String,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn text_and_blobs_give_their_bytes() {
        let text = ResourceContents { text: Some("é".to_owned()), ..Default::default() };
        assert_eq!(text.bytes().unwrap(), "é".as_bytes());
        for bad in [None, Some("a"), Some("****")] {
            let contents = ResourceContents { blob: bad.map(str::to_owned), ..Default::default() };
            assert_eq!(contents.bytes().unwrap_err().kind(), ErrorKind::Decode, "{bad:?}");
        }
    }
}
