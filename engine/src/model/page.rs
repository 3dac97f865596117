//! Lists that come in pages: what can be listed, one page, and a whole list.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;

use super::{
    cache::CacheHints,
    prompt::Prompt,
    resource::{Resource, ResourceTemplate},
    task::Task,
    tool::{Members, ToolDescription},
};

mod sealed {
    pub trait Sealed {}
}

/// What servers list in pages. Sealed.
pub trait Listable: DeserializeOwned + Serialize + sealed::Sealed {
    /// The method that lists it.
    const METHOD: &'static str;
    /// The member of the result in which it stands.
    const MEMBER: &'static str;
}

macro_rules! listable {
    ($($type:ident: $method:literal in $member:literal),+ $(,)?) => {$(
        impl sealed::Sealed for $type {}
        impl Listable for $type {
            const METHOD: &'static str = $method;
            const MEMBER: &'static str = $member;
        }
    )+};
}

listable! {
    ToolDescription: "tools/list" in "tools",
    Resource: "resources/list" in "resources",
    ResourceTemplate: "resources/templates/list" in "resourceTemplates",
    Prompt: "prompts/list" in "prompts",
    Task: "tasks/list" in "tasks",
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What stands on it.
    pub items: Vec<T>,
    /// By which to ask for the next; `None` on the last. An empty text is a cursor like any other.
    pub next_cursor: Option<String>,
    /// All other members.
    pub rest: Members,
}

impl<T> Page<T> {
    /// How long this page may be kept.
    pub fn cache_hints(&self) -> CacheHints {
        CacheHints::of(&self.rest)
    }
}

impl<T: Listable> Serialize for Page<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items = serde_json::to_value(&self.items).map_err(serde::ser::Error::custom)?;
        let cursor = self.next_cursor.as_deref().map(|cursor| ("nextCursor", Value::from(cursor)));
        let own: Vec<(&str, Value)> = [(T::MEMBER, items)].into_iter().chain(cursor).collect();
        let rest = self.rest.iter().map(|(name, value)| (name.as_str(), value));
        serializer.collect_map(own.iter().map(|(name, value)| (*name, value)).chain(rest))
    }
}

impl<'de, T: Listable> Deserialize<'de> for Page<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rest = Members::deserialize(deserializer)?;
        let items = rest.remove(T::MEMBER).ok_or_else(|| serde::de::Error::missing_field(T::MEMBER))?;
        let items = serde_json::from_value(items).map_err(serde::de::Error::custom)?;
        let cursor = rest.remove("nextCursor").unwrap_or_default();
        let next_cursor = serde_json::from_value(cursor).map_err(serde::de::Error::custom)?;
        Ok(Self { items, next_cursor, rest })
    }
}

/// A whole list, over all its pages. It is used as a slice, or taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// What was listed, in the server's order.
    pub items: Vec<T>,
    /// What holds for all pages together: the shortest time, the narrowest scope.
    pub cache: CacheHints,
}

impl<T> Deref for Listed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> IntoIterator for Listed<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Listed<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_loses_nothing_and_knows_its_end() {
        let page = |value| serde_json::from_value::<Page<Resource>>(value);
        let last = json!({"resources": [{"uri": "u", "name": "n", "x": 1}], "ttlMs": 5, "_meta": {}});
        let read = page(last.clone()).unwrap();
        assert_eq!((read.next_cursor.as_deref(), read.cache_hints().ttl.as_millis()), (None, 5));
        assert_eq!(serde_json::to_value(&read).unwrap(), last);
        let more = json!({"resources": [], "nextCursor": ""});
        assert_eq!(page(more.clone()).unwrap().next_cursor.as_deref(), Some(""));
        assert_eq!(serde_json::to_value(page(more).unwrap()).unwrap()["nextCursor"], "");
        assert_eq!(page(json!({"resources": [], "nextCursor": null})).unwrap().next_cursor, None);
        for bad in [json!({}), json!({"resources": 7}), json!({"resources": [], "nextCursor": 1}), json!([])]
        {
            assert!(page(bad).is_err());
        }
    }
}
