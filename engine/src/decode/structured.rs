//! Structured content and metadata, read where they stand: serde_json's parser, and values made of what it finds.
//!
//! The reader of common answers (`decode/common.rs`) comes to such a value in the middle of the answer and does not know where it ends; to
//! look for that first took longer than what was saved. So the parser begins here and says where it ended. Values are made
//! as `serde_json::Value` makes them, with two differences: the depth has a bound of ours, and no member's name has a meaning of its own. One
//! that would have (`base/json.rs`) is refused here, so no search for it is needed before.
//!
//! Unit: bytes. Cost: serde_json's, of which most is the allocations of the values. Owner: nobody, this is a function. Always: what it reads,
//! serde_json reads alike; an error says nothing, since others read once more what is refused here. Proof: `values_are_those_of_serde_json`,
//! below; `what_is_read_is_what_serde_json_reads` in `decode/common.rs`; `just fuzz decode`. Follows: RFC 8259; ADR 0024.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::base::json;

/// Values inside one another; below what serde_json allows, since it does not see what is around them.
pub(super) const DEPTH_MAX: usize = 64;

/// The value at the front of a text, behind blanks or not, and where it ends.
#[inline(never)]
pub(super) fn first(text: &str) -> Option<(Value, usize)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Outermost>();
    let Outermost(value) = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

struct Outermost(Value);

impl<'de> Deserialize<'de> for Outermost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Inside { depth_left: DEPTH_MAX }.deserialize(deserializer).map(Self)
    }
}

/// A value that so many others may be inside of, one in another.
#[derive(Clone, Copy)]
struct Inside {
    depth_left: usize,
}

impl Inside {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Inside {
    type Value = Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inside {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    #[inline]
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    #[inline]
    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    #[inline]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    #[inline]
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    #[inline]
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    #[inline]
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    #[inline]
    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Value, S::Error> {
        let inside = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = elements.next_element_seed(inside)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    #[inline]
    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Value, M::Error> {
        let inside = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key_seed(Name)? {
            map.insert(name, members.next_value_seed(inside)?);
        }
        Ok(Value::Object(map))
    }
}

/// A member's name, if it has no meaning of its own.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    #[inline]
    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        if name.starts_with(json::RESERVED) { Err(E::custom(json::REFUSED)) } else { Ok(name.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_json() {
        for text in [
            "null",
            "true",
            "[]",
            "{}",
            r#"{"a":[1,-2,2.5e3,18446744073709551615,-9223372036854775808,1e-400,123456789012345678901234567890],"b":{"c":null,"é\n":"\u00e9\"x"}}"#,
            r#"{"a":1,"a":{"a":2}}"#,
            r#""text""#,
            "0.30000000000000004",
        ] {
            for rest in ["", "}", " ,\"more\":1}", "]"] {
                let all = format!("{text}{rest}");
                let whole: Value = serde_json::from_str(text).unwrap();
                assert_eq!(first(&all), Some((whole, text.len())), "{all}");
            }
        }
    }

    #[test]
    fn what_is_none_or_too_deep_or_reserved_is_refused() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(first(&deep(DEPTH_MAX)).is_some());
        assert_eq!(first(&deep(DEPTH_MAX + 1)), None);
        assert_eq!(first(&format!("{}{}", r#"{"a":"#.repeat(DEPTH_MAX + 1), "1")), None);
        for text in [
            "",
            " ",
            "[1",
            "[1,]",
            "{\"a\"}",
            "nul",
            "truex",
            "1e999",
            "\"\\ud800\"",
            "01",
            r#"{"a":1,"$serde_json::private::RawValue":"1"}"#,
            r#"[{"\u0024serde_json::private::Number":"1"}]"#,
        ] {
            assert_eq!(first(text), None, "{text}");
        }
    }
}
