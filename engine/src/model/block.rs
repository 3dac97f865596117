//! Reading a content block in one pass: the members that its kind may need are kept apart, all others go into `rest`.
//!
//! The kind stands anywhere in the block, so nothing can be decided before its end. Keys and kinds that are known cost no memory, and a
//! text is moved to its place, not copied. A block that says it is of a kind and lacks what that kind must have is kept raw: it is the
//! user's to judge, and the other blocks are not lost over it. A member that comes twice means two things and is an error.
//!
//! Owner: nobody, this is a function. Proof: `results_are_read_with_every_kind_of_block_and_nothing_is_lost` and
//! `a_block_is_what_its_members_say_in_any_order`, below.

use std::fmt;

use serde::de::{
    Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use serde_json::Value;

use super::tool::{Content, Members};

/// The member that says of which kind the block is.
const TYPE: &str = "type";

/// The members that some kind of block must have besides.
const NAMES: [&str; 5] = ["text", "data", "mimeType", "resource", "uri"];
const TEXT: usize = 0;
const DATA: usize = 1;
const MIME_TYPE: usize = 2;
const RESOURCE: usize = 3;
const URI: usize = 4;

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
        let (mut kind, mut known, mut rest) = (None, [const { None }; NAMES.len()], Members::new());
        while let Some(name) = map.next_key()? {
            let twice = match name {
                Name::Type => kind.replace(map.next_value::<Kind>()?).map(|_| TYPE.to_owned()),
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
        Ok(assemble(kind, known, rest))
    }
}

/// A block of its members.
fn assemble(kind: Option<Kind>, mut known: [Option<Value>; NAMES.len()], mut rest: Members) -> Content {
    let is_string = |n: usize| matches!(known[n], Some(Value::String(_)));
    let has_all = match kind {
        Some(Kind::Text) => is_string(TEXT),
        Some(Kind::Image | Kind::Audio) => is_string(DATA) && is_string(MIME_TYPE),
        Some(Kind::Resource) => known[RESOURCE].as_ref().is_some_and(Value::is_object),
        Some(Kind::ResourceLink) => is_string(URI),
        Some(Kind::Other(_)) | None => false,
    };
    let mut string = |n: usize| match known[n].take() {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let mut content = match kind {
        Some(Kind::Text) if has_all => Content::Text { text: string(TEXT), rest: Members::new() },
        Some(Kind::Image) if has_all => {
            Content::Image { data: string(DATA), mime_type: string(MIME_TYPE), rest: Members::new() }
        }
        Some(Kind::Audio) if has_all => {
            Content::Audio { data: string(DATA), mime_type: string(MIME_TYPE), rest: Members::new() }
        }
        Some(Kind::Resource) if has_all => {
            Content::Resource { resource: known[RESOURCE].take().unwrap_or_default(), rest: Members::new() }
        }
        Some(Kind::ResourceLink) if has_all => {
            Content::ResourceLink { uri: string(URI), rest: Members::new() }
        }
        kind => {
            if let Some(kind) = kind {
                rest.insert(TYPE.to_owned(), kind.into());
            }
            Content::Other(Members::new())
        }
    };
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

/// What the block says it is.
enum Kind {
    Text,
    Image,
    Audio,
    Resource,
    ResourceLink,
    Other(Value),
}

impl From<Kind> for Value {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => "text".into(),
            Kind::Image => "image".into(),
            Kind::Audio => "audio".into(),
            Kind::Resource => "resource".into(),
            Kind::ResourceLink => "resource_link".into(),
            Kind::Other(value) => value,
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Kinds)
    }
}

/// Reads any value, as the reader of [`Value`] does, but that the names of kinds are not kept.
struct Kinds;

impl<'de> Visitor<'de> for Kinds {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Kind, E> {
        Ok(match name {
            "text" => Kind::Text,
            "image" => Kind::Image,
            "audio" => Kind::Audio,
            "resource" => Kind::Resource,
            "resource_link" => Kind::ResourceLink,
            other => Kind::Other(other.into()),
        })
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Other(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Other(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Other(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Other(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Other(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Kind, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(seq)).map(Kind::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Kind, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(map)).map(Kind::Other)
    }
}

/// The name of a member.
enum Name {
    Type,
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
                if name == TYPE {
                    return Ok(Name::Type);
                }
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
            json!({"type": {"text": ["a"]}, "text": "a"}),
            json!({"type": "hologram"}),
            json!({"type": null}),
            json!({"type": false}),
            json!({"type": [-7, 7, 0.5, u64::MAX]}),
            json!({"type": -7}),
            json!({"type": u64::MAX}),
            json!({"type": 0.5}),
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
