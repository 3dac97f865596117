//! Roots: the places a client lets a server know of.

use serde::{Deserialize, Serialize};

use super::tool::Members;

/// A place, by its `file://` address.
///
/// ```
/// use volley::mcp::Root;
///
/// let root = Root::new("file:///home/user/project").named("project");
/// assert_eq!(root.name.as_deref(), Some("project"));
/// ```
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Root {
    /// Its address.
    pub uri: String,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}

impl Root {
    /// A place by its address.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), ..Self::default() }
    }

    /// Gives it a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// The answer to `roots/list`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ListRootsResult {
    /// The places.
    pub roots: Vec<Root>,
    /// All other members.
    #[serde(flatten)]
    pub rest: Members,
}
