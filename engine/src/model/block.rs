//! Reading a content block in one pass: the members that its kind may need are kept apart, all others go into `rest`.
//!
//! The kind stands anywhere in the block, so nothing can be decided before its end. Keys that are known cost no memory, and a text
//! is moved to its place, not copied. A block that says it is of a kind and lacks what that kind must have is kept raw: it is the
//! user's to judge, and the other blocks are not lost over it. A member that comes twice means two things and is an error.
//!
//! Owner: nobody, this is a function. Proof: `results_are_read_with_every_kind_of_block_and_nothing_is_lost` and
//! `a_block_is_what_its_members_say_in_any_order`, below.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::tool::{Content, Members};

/// The members that some kind of block must have.
const NAMES: [&str; 6] = ["type", "text", "data", "mimeType", "resource", "uri"];
const TYPE: usize = 0;
const TEXT: usize = 1;
const DATA: usize = 2;
const MIME_TYPE: usize = 3;
const RESOURCE: usize = 4;
const URI: usize = 5;

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Block)
    }
}

struct Block;

impl<'de> Visitor<'de> for Block {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content block")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Content, M::Error> {
        let (mut known, mut rest) = ([const { None }; NAMES.len()], Members::new());
        while let Some(name) = map.next_key()? {
            let twice = match name {
                Name::Known(n) => known[n].replace(map.next_value::<Value>()?).map(|_| NAMES[n].to_owned()),
                Name::Other(name) if rest.contains_key(&name) => Some(name),
                Name::Other(name) => {
                    rest.insert(name, map.next_value()?);
                    None
                }
            };
            if let Some(name) = twice {
                return Err(M::Error::custom(format!("a content block has its member {name:?} twice")));
            }
        }
        Ok(assemble(known, rest))
    }
}

/// A block of its members.
fn assemble(mut known: [Option<Value>; NAMES.len()], mut rest: Members) -> Content {
    let is_string = |n: usize| matches!(known[n], Some(Value::String(_)));
    let kind = known[TYPE].as_ref().and_then(Value::as_str);
    let kind = match kind {
        Some("text") if is_string(TEXT) => Kind::Text,
        Some("image") if is_string(DATA) && is_string(MIME_TYPE) => Kind::Image,
        Some("audio") if is_string(DATA) && is_string(MIME_TYPE) => Kind::Audio,
        Some("resource") if known[RESOURCE].as_ref().is_some_and(Value::is_object) => Kind::Resource,
        Some("resource_link") if is_string(URI) => Kind::ResourceLink,
        _ => Kind::Other,
    };
    let mut string = |n: usize| match known[n].take() {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let mut content = match kind {
        Kind::Text => Content::Text { text: string(TEXT), rest: Members::new() },
        Kind::Image => {
            Content::Image { data: string(DATA), mime_type: string(MIME_TYPE), rest: Members::new() }
        }
        Kind::Audio => {
            Content::Audio { data: string(DATA), mime_type: string(MIME_TYPE), rest: Members::new() }
        }
        Kind::Resource => {
            Content::Resource { resource: known[RESOURCE].take().unwrap_or_default(), rest: Members::new() }
        }
        Kind::ResourceLink => Content::ResourceLink { uri: string(URI), rest: Members::new() },
        Kind::Other => Content::Other(Members::new()),
    };
    if !matches!(kind, Kind::Other) {
        known[TYPE] = None;
    }
    // What this kind has no use for is not lost.
    for (name, value) in NAMES.iter().zip(known) {
        if let Some(value) = value {
            rest.insert((*name).to_owned(), value);
        }
    }
    match &mut content {
        Content::Text { rest: place, .. }
        | Content::Image { rest: place, .. }
        | Content::Audio { rest: place, .. }
        | Content::Resource { rest: place, .. }
        | Content::ResourceLink { rest: place, .. }
        | Content::Other(place) => *place = rest,
    }
    content
}

enum Kind {
    Text,
    Image,
    Audio,
    Resource,
    ResourceLink,
    Other,
}

/// The name of a member.
enum Name {
    Known(usize),
    Other(String),
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;

        impl Visitor<'_> for Named {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a member")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
                let known = NAMES.iter().position(|known| *known == name);
                Ok(known.map_or_else(|| Name::Other(name.to_owned()), Name::Known))
            }
        }

        deserializer.deserialize_identifier(Named)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_block_is_what_its_members_say_in_any_order() {
        let read = |text: &str| serde_json::from_str::<Content>(text);
        let rest = |members: Value| serde_json::from_value::<Members>(members).unwrap();
        for text in [
            r#"{"type":"text","text":"a","uri":"u","note":1}"#,
            r#"{"note":1,"uri":"u","text":"a","type":"text"}"#,
        ] {
            let expected = Content::Text { text: "a".to_owned(), rest: rest(json!({"uri": "u", "note": 1})) };
            assert_eq!(read(text).unwrap(), expected);
            assert_eq!(
                serde_json::from_value::<Content>(serde_json::from_str(text).unwrap()).unwrap(),
                expected
            );
        }
        for raw in [
            json!({}),
            json!({"type": "text", "text": 7}),
            json!({"type": "image", "data": "QQ=="}),
            json!({"type": "resource", "resource": []}),
            json!({"type": ["text"], "text": "a"}),
        ] {
            assert_eq!(read(&raw.to_string()).unwrap(), Content::Other(rest(raw)));
        }
        for twice in [
            r#"{"type":"text","text":"a","text":"b"}"#,
            r#"{"type":"text","type":"image","text":"b"}"#,
            r#"{"type":"text","text":"b","x":1,"x":1}"#,
        ] {
            assert!(read(twice).unwrap_err().to_string().contains("twice"), "{twice}");
        }
        assert!(read("[]").is_err());
    }
}
