//! Reads a JSON text into any type, in one pass, without spoiling it.
//!
//! A serde deserialiser over [`Tokens`]: what the type asks for is read straight from the text, and nothing is built in between. A
//! string that the type keeps is copied once; one that it borrows (`&str`, `Cow<str>`) not at all, unless it has escapes. What the
//! type ignores is passed over, checked, without memory. Nesting is bounded, since types of values recurse: a depth bomb is an
//! error, not a crash. It reads what serde_json reads, and as serde_json does it takes integers as keys of maps, the last of a key
//! that comes twice in a map of values, and refuses a member that comes twice in a struct.
//!
//! Unit: one text, of bytes that are known to be UTF-8. Cost: see `docs/performance.md`; no memory but the value's. Owner: whoever
//! calls, on one thread, with 64 KiB of stack at the deepest (without optimisation, less than a MiB). Always: a text that serde_json refuses is refused. Proof:
//! `any_text_is_read_as_serde_json_reads_it`, below; `just fuzz decode`. Follows: RFC 8259.

use std::borrow::Cow;

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
        Visitor,
    },
};

use super::tokens::{Number, ReadError, Tokens};

/// Values inside one another, as serde_json has it.
pub(super) const DEPTH_MAX: u32 = 127;

/// Reads a text that is one value.
pub(crate) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, ReadError> {
    let mut reader = Reader { tokens: Tokens::new(text), depth: 0 };
    let read = T::deserialize(&mut reader).and_then(|value| reader.tokens.end().map(|()| value));
    read.map_err(|error| error.at(reader.tokens.offset()))
}

struct Reader<'de> {
    tokens: Tokens<'de>,
    depth: u32,
}

impl<'de> Reader<'de> {
    fn visit_string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        match self.tokens.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn visit_number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        match self.tokens.number()? {
            Number::Unsigned(number) => visitor.visit_u64(number),
            Number::Signed(number) => visitor.visit_i64(number),
            Number::Float(number) => visitor.visit_f64(number),
        }
    }

    fn visit_map<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        self.enter()?;
        let value = visitor.visit_map(Inside { reader: self, is_first: true })?;
        self.leave(b'}', value)
    }

    fn visit_seq<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        self.enter()?;
        let value = visitor.visit_seq(Inside { reader: self, is_first: true })?;
        self.leave(b']', value)
    }

    /// Passes an opening bracket.
    fn enter(&mut self) -> Result<(), ReadError> {
        if self.depth == DEPTH_MAX {
            return Err(self.tokens.error("more than 127 values inside one another"));
        }
        self.depth += 1;
        self.tokens.pass();
        Ok(())
    }

    /// Passes the closing one, which is next unless the type left elements unread.
    fn leave<T>(&mut self, bracket: u8, value: T) -> Result<T, ReadError> {
        self.tokens.expect(bracket, "more elements or members than the type takes")?;
        self.depth -= 1;
        Ok(value)
    }

    /// The start of the next element or member; `false` at the closing bracket, which is left where it is.
    fn has_next(&mut self, is_first: &mut bool, closing: u8) -> Result<bool, ReadError> {
        if self.tokens.peek() == Some(closing) {
            return Ok(false);
        }
        if !std::mem::take(is_first) {
            self.tokens.expect(b',', "no comma or closing bracket")?;
            if self.tokens.peek() == Some(closing) {
                return Err(self.tokens.error("a comma before a closing bracket"));
            }
        }
        Ok(true)
    }

    /// Passes a value. What is inside what is kept in bits, so that this takes no stack.
    fn pass_value(&mut self) -> Result<(), ReadError> {
        let (mut is_object, mut open) = (0_u128, 0_u32);
        loop {
            let mut is_empty = false;
            match self.tokens.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if self.depth + open == DEPTH_MAX {
                        return Err(self.tokens.error("more than 127 values inside one another"));
                    }
                    self.tokens.pass();
                    open += 1;
                    is_object = is_object << 1 | u128::from(bracket == b'{');
                    is_empty = self.tokens.peek() == Some(if bracket == b'{' { b'}' } else { b']' });
                    if !is_empty {
                        if bracket == b'{' {
                            self.pass_key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.tokens.pass_string()?,
                Some(b't') => self.tokens.literal("true")?,
                Some(b'f') => self.tokens.literal("false")?,
                Some(b'n') => self.tokens.literal("null")?,
                _ => drop(self.tokens.number()?),
            }
            // Behind a value: what closes, closes; then there is another one, or all of it was passed.
            loop {
                if open == 0 {
                    return Ok(());
                }
                if !is_empty && self.tokens.take(b',') {
                    break;
                }
                is_empty = false;
                let closing = if is_object & 1 == 1 { b'}' } else { b']' };
                self.tokens.expect(closing, "no comma or closing bracket")?;
                (is_object, open) = (is_object >> 1, open - 1);
            }
            if is_object & 1 == 1 {
                self.pass_key()?;
            }
        }
    }

    fn pass_key(&mut self) -> Result<(), ReadError> {
        if self.tokens.peek() != Some(b'"') {
            return Err(self.tokens.error("a key is no string"));
        }
        self.tokens.pass_string()?;
        self.tokens.expect(b':', "no colon behind a key")
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = ReadError;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.tokens.peek() {
            Some(b'"') => self.visit_string(visitor),
            Some(b'{') => self.visit_map(visitor),
            Some(b'[') => self.visit_seq(visitor),
            Some(b't') => self.tokens.literal("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.tokens.literal("false").and_then(|()| visitor.visit_bool(false)),
            Some(b'n') => self.tokens.literal("null").and_then(|()| visitor.visit_unit()),
            _ => self.visit_number(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.tokens.peek() {
            Some(b'n') => self.tokens.literal("null").and_then(|()| visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.tokens.peek() {
            // A variant without a value is its name.
            Some(b'"') => match self.tokens.string()? {
                Cow::Borrowed(name) => visitor.visit_enum(name.into_deserializer()),
                Cow::Owned(name) => visitor.visit_enum(name.into_deserializer()),
            },
            Some(b'{') => {
                self.enter()?;
                let value = visitor.visit_enum(Variant { reader: self })?;
                self.leave(b'}', value)
            }
            _ => Err(self.tokens.error("neither the name of a variant nor an object of one")),
        }
    }

    /// A string is its bytes, as serde_json has it.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.tokens.peek() != Some(b'"') {
            return self.deserialize_any(visitor);
        }
        match self.tokens.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
            Cow::Owned(text) => visitor.visit_byte_buf(text.into_bytes()),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.pass_value()?;
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq tuple tuple_struct map struct
        identifier
    }
}

/// Inside brackets.
struct Inside<'a, 'de> {
    reader: &'a mut Reader<'de>,
    is_first: bool,
}

impl<'de> SeqAccess<'de> for Inside<'_, 'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        if !self.reader.has_next(&mut self.is_first, b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for Inside<'_, 'de> {
    type Error = ReadError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        if !self.reader.has_next(&mut self.is_first, b'}')? {
            return Ok(None);
        }
        if self.reader.tokens.peek() != Some(b'"') {
            return Err(self.reader.tokens.error("a key is no string"));
        }
        seed.deserialize(Key { reader: self.reader }).map(Some)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        self.reader.tokens.expect(b':', "no colon behind a key")?;
        seed.deserialize(&mut *self.reader)
    }
}

/// The one member of an object that is a variant with a value.
struct Variant<'a, 'de> {
    reader: &'a mut Reader<'de>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), ReadError> {
        if self.reader.tokens.peek() != Some(b'"') {
            return Err(self.reader.tokens.error("a key is no string"));
        }
        let name = seed.deserialize(Key { reader: &mut *self.reader })?;
        self.reader.tokens.expect(b':', "no colon behind a key")?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Deserialize::deserialize(self.reader)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.reader.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.reader.deserialize_map(visitor)
    }
}

/// The key of a member, which has been seen to be a string. A type of key that is a number or a truth value is read from its text.
struct Key<'a, 'de> {
    reader: &'a mut Reader<'de>,
}

impl<'de> Key<'_, 'de> {
    /// The key as what its text says, if all of that is one value.
    fn spelled<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let key = self.reader.tokens.string()?;
        let mut tokens = Tokens::new(&key);
        let read = match key.as_bytes().first() {
            Some(b't') => tokens.literal("true").map(|()| Err(true)),
            Some(b'f') => tokens.literal("false").map(|()| Err(false)),
            _ => tokens.number().map(Ok),
        };
        match read {
            Ok(read) if tokens.offset() == key.len() => match read {
                Ok(Number::Unsigned(number)) => visitor.visit_u64(number),
                Ok(Number::Signed(number)) => visitor.visit_i64(number),
                Ok(Number::Float(number)) => visitor.visit_f64(number),
                Err(truth) => visitor.visit_bool(truth),
            },
            // Let the type say what it wanted.
            _ => visitor.visit_str(&key),
        }
    }
}

macro_rules! spelled {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.spelled(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'_, 'de> {
    type Error = ReadError;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.reader.visit_string(visitor)
    }

    spelled! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.reader.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.reader.deserialize_bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.reader.deserialize_bytes(visitor)
    }

    serde::forward_to_deserialize_any! {
        char str string unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::decode::naive;

    /// A value as somebody might write it: any escapes, blanks and numbers; not always right.
    fn text() -> impl Strategy<Value = String> {
        let number = r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
        let string = r#""([ -!#-\[\]-~äß世😴]{0,40}|\\[nrtbf/\\"]|\\u[0-9a-fA-F]{4}|\\ud83d\\ude34){0,6}""#;
        let leaf = prop_oneof![
            number,
            string,
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("false".to_owned()),
        ];
        leaf.prop_recursive(6, 64, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|values| format!("[{}]", values.join(" ,"))),
                prop::collection::vec((string, inner), 0..5).prop_map(|members| {
                    let members: Vec<_> =
                        members.iter().map(|(key, value)| format!("{key} :\t{value}")).collect();
                    format!("{{\n{}}}\r", members.join(","))
                }),
            ]
        })
    }

    fn in_an_answer(text: &str) -> [String; 4] {
        [
            text.to_owned(),
            format!(
                r#"{{"id":1,"result":{{"content":[{{"type":"text","text":"a"}}],"structuredContent":{text}}}}}"#
            ),
            format!(r#"{{"id":1,"result":{{"content":[{{"note":{text},"type":"text","text":{text}}}]}}}}"#),
            format!(r#"{{"result":{{"content":[],"isError":{text}}},"id":1,"jsonrpc":{text}}}"#),
        ]
    }

    proptest! {
        /// What it reads, what it refuses, and that it says where.
        #[test]
        fn any_text_is_read_as_serde_json_reads_it(
            text in text(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            for text in in_an_answer(&text) {
                let mut bytes = text.into_bytes();
                for (at, byte) in &damage {
                    naive::assert_agrees(&bytes);
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                naive::assert_agrees(&bytes);
                naive::assert_agrees(&bytes[..bytes.len() / 2]);
            }
        }
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum Shade {
        Plain,
        Grey(u8),
        Mixed(u8, i16),
        Named { red: f32 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(i128);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Nothing;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Everything {
        shades: Vec<Shade>,
        by_number: BTreeMap<i8, Option<Wrapped>>,
        by_truth: BTreeMap<bool, ()>,
        by_shade: BTreeMap<char, (u64, String)>,
        #[serde(default)]
        nothing: Option<Nothing>,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    /// All that a type may ask of a reader, right and wrong.
    #[test]
    fn every_kind_of_type_is_read_as_serde_json_reads_it() {
        let right = r#"{"shades":["Plain",{"Grey":7},{"Mixed":[1,-2]},{"Named":{"red":0.5}}],
            "by_number":{"-7":-170141183460469,"3":null},"by_truth":{"true":null},"by_shade":{"\u00e9":[18446744073709551615,"é"]},
            "nothing":null,"more":[1.5,{"a":-9223372036854775808}]}"#;
        assert_eq!(read::<Everything>(right).unwrap(), serde_json::from_str(right).unwrap());
        for (from, to) in [
            ("\"Plain\"", "\"Plaid\""),
            ("\"Plain\"", "7"),
            ("\"Plain\"", "{\"Plain\":null}"),
            ("\"Plain\"", "{\"Plain\":1}"),
            ("\"Plain\"", "{}"),
            ("\"Plain\"", "\"Grey\""),
            ("{\"Grey\":7}", "{\"Grey\":256}"),
            ("{\"Grey\":7}", "{\"Grey\":7.0}"),
            ("{\"Grey\":7}", "{\"Grey\":7,\"Plain\":null}"),
            ("{\"Grey\":7}", "{\"Gr\\u0065y\":7}"),
            ("[1,-2]", "[1]"),
            ("[1,-2]", "[1,-2,3]"),
            ("{\"red\":0.5}", "{\"red\":1}"),
            ("{\"red\":0.5}", "[0.5]"),
            ("\"-7\"", "\"-129\""),
            ("\"-7\"", "\"x\""),
            ("\"-7\"", "\" 7\""),
            ("\"-7\"", "\"07\""),
            ("\"-7\"", "\"\""),
            ("\"true\"", "\"false\""),
            ("\"true\"", "\"tru\""),
            ("\"true\"", "\"trues\""),
            ("\\u00e9", "ab"),
            ("18446744073709551615", "18446744073709551616"),
            ("-9223372036854775808", "-9223372036854775809"),
            ("\"nothing\":null", "\"nothing\":{}"),
            ("\"nothing\":null", "\"shades\":[]"),
        ] {
            let text = right.replacen(from, to, 1);
            assert_ne!(text, right);
            let (own, twin) = (read::<Everything>(&text), serde_json::from_str::<Everything>(&text));
            assert_eq!(own.as_ref().ok(), twin.as_ref().ok(), "{to}: {own:?}, {twin:?}");
        }
        assert_eq!(read::<Vec<&str>>(r#"["a","b\/c"]"#).unwrap_err().to_string().split(',').count(), 2);
        assert_eq!(read::<&[u8]>(r#""ab""#).unwrap(), b"ab");
    }
}
