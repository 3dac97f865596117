//! Headers that mirror the body of a request: how a value is written, and which arguments of a tool are mirrored.
//!
//! In the modern era some of what a call says in its body stands in its headers too, for those on the way who read
//! no bodies: its name, and each argument that the tool's input schema annotates with `x-mcp-header`. The schema is
//! read once, when tools are listed, and becomes a [`Plan`]; a call is written by it without reading more of the
//! arguments than the plan names. A tool whose annotations break the rules has no plan and is not to be called.
//!
//! Unit: one request. Cost: one pass over the arguments for each header of the plan, and memory for texts with
//! escapes; for a tool without annotations, nothing; for the plan itself one pass over the schema. Owner: nobody; plans are shared and do not change. Always:
//! what is written is one visible line, whatever the value, and decodes to the value. Proof:
//! `any_value_comes_back` and `agrees_with_looking_each_argument_up`, below. Follows: MCP 2026-07-28,
//! basic/transports (custom headers from tool parameters, value encoding) and server/tools (`x-mcp-header`);
//! RFC 9110, section 5.6.2, for tokens.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::base::limits::{SCHEMA_DEPTH_MAX, WIRE_ID_MAX};

/// Writes what the value of a mirrored header is for `value`: the text itself, or, if that would not survive the way
/// or could be taken for the other form, its base64 form.
pub(crate) fn mirrored(out: &mut Vec<u8>, value: &str) {
    let is_plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && !value.starts_with(' ')
        && !value.ends_with(' ')
        && !looks_encoded(value);
    if is_plain {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    let start = out.len() + ENCODED_START.len();
    // Four characters for each three bytes, the last of them padded.
    let end = start + value.len().div_ceil(3) * 4;
    out.extend_from_slice(ENCODED_START.as_bytes());
    out.resize(end, b'=');
    let written = BASE64_STANDARD.encode_slice(value, &mut out[start..]);
    debug_assert_eq!(written, Ok(end - start), "padded base64 has one length");
    out.extend_from_slice(ENCODED_END.as_bytes());
}

/// May this be the name of a header? A `token` of RFC 9110.
pub(crate) fn is_token(name: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token_byte)
}

/// Which arguments of a tool are mirrored in headers.
///
/// Invariant: the names are tokens, no two of them alike but for case; no path is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What follows `Mcp-Param-` in the header, and the names of the properties that lead to the argument.
    params: Vec<(Box<str>, Vec<Box<str>>)>,
}

/// An annotation that breaks the rules, for which the whole tool is to be left out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadAnnotation {
    /// Where it stands: the names that lead there, joined by dots. Empty for the schema itself.
    pub(crate) property: Box<str>,
    pub(crate) problem: Problem,
}

/// What is wrong with an annotation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is no text.
    NotText,
    /// It is empty.
    Empty,
    /// It could not be part of the name of a header.
    NotAToken(Box<str>),
    /// Another property has the same, but for case.
    Twice(Box<str>),
    /// Its property is, or may be, something else than a string, an integer or a boolean.
    NotPrimitive,
    /// It is not on a property that is reached through `properties` alone.
    OutOfReach,
    /// Schemas are nested deeper than the bound, and nobody looked further.
    TooDeep { depth_max: usize },
}

/// Reads which arguments the input schema of a tool wants mirrored.
///
/// # Errors
///
/// The first annotation found that breaks the rules.
pub(crate) fn plan(input_schema: &Value) -> Result<Plan, BadAnnotation> {
    let mut search = Search::default();
    search.look_into(input_schema, &mut Vec::new(), true)?;
    Ok(search.plan)
}

impl Plan {
    /// Nothing is mirrored.
    pub(crate) fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Writes a header line for each argument of the plan that is there: a text, an integer (also one spelled `1.0`)
    /// up to 2^53 - 1 on either side of zero, or a boolean. Others have no form in a header and are left out.
    ///
    /// `arguments` is the text of a JSON object. Nothing is written if it is not: the body will be refused.
    pub(crate) fn write(&self, arguments: &[u8], out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let start = out.len();
        for (name, path) in &self.params {
            let mut text = serde_json::Deserializer::from_slice(arguments);
            let found = (Find { path }).deserialize(&mut text).and_then(|found| text.end().map(|()| found));
            let Ok(argument) = found else {
                out.truncate(start);
                return;
            };
            if matches!(argument, Argument::Absent) {
                continue;
            }
            out.extend_from_slice(b"Mcp-Param-");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            match argument {
                Argument::Absent => {}
                Argument::Text(text) => mirrored(out, &text),
                Argument::Integer(number) => {
                    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                }
                Argument::Boolean(is_true) => out.extend_from_slice(if is_true { b"true" } else { b"false" }),
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The search for annotations in a schema.
#[derive(Default)]
struct Search<'s> {
    plan: Plan,
    /// The names so far, in lower case, and how they were spelled.
    seen: HashMap<String, &'s str>,
}

impl<'s> Search<'s> {
    /// Looks into the schema at `path`, which is reached through `properties` alone or is not.
    fn look_into(
        &mut self,
        schema: &'s Value,
        path: &mut Vec<&'s str>,
        is_reached: bool,
    ) -> Result<(), BadAnnotation> {
        let Some(keywords) = schema.as_object() else { return Ok(()) };
        if path.len() > SCHEMA_DEPTH_MAX {
            return Err(bad(path, Problem::TooDeep { depth_max: SCHEMA_DEPTH_MAX }));
        }
        if let Some(annotation) = keywords.get(ANNOTATION) {
            if !is_reached || path.is_empty() {
                return Err(bad(path, Problem::OutOfReach));
            }
            let name = self.check(annotation, keywords.get("type")).map_err(|problem| bad(path, problem))?;
            self.plan.params.push((name.into(), path.iter().map(|name| Box::from(*name)).collect()));
        }
        for (keyword, value) in keywords {
            // Only schemas are looked into: an annotation in an example or a default is data and means nothing.
            match keyword.as_str() {
                "properties" => {
                    for (name, schema) in value.as_object().into_iter().flatten() {
                        self.step(name, schema, path, is_reached)?;
                    }
                }
                "$defs" | "definitions" | "dependencies" | "dependentSchemas" | "patternProperties" => {
                    for (name, schema) in value.as_object().into_iter().flatten() {
                        self.step(name, schema, path, false)?;
                    }
                }
                "additionalItems"
                | "additionalProperties"
                | "allOf"
                | "anyOf"
                | "contains"
                | "contentSchema"
                | "else"
                | "if"
                | "items"
                | "not"
                | "oneOf"
                | "prefixItems"
                | "propertyNames"
                | "then"
                | "unevaluatedItems"
                | "unevaluatedProperties" => {
                    for schema in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                        self.step(keyword, schema, path, false)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        name: &'s str,
        schema: &'s Value,
        path: &mut Vec<&'s str>,
        is_reached: bool,
    ) -> Result<(), BadAnnotation> {
        path.push(name);
        self.look_into(schema, path, is_reached)?;
        path.pop();
        Ok(())
    }

    /// The name an annotation gives, if it and the type of its property keep the rules.
    fn check(&mut self, annotation: &'s Value, kind: Option<&Value>) -> Result<&'s str, Problem> {
        let name = annotation.as_str().ok_or(Problem::NotText)?;
        if name.is_empty() {
            return Err(Problem::Empty);
        }
        if !is_token(name) {
            return Err(Problem::NotAToken(name.into()));
        }
        // A property that may be null as well is mirrored when it is not.
        let is_primitive = match kind {
            Some(Value::Array(kinds)) => {
                let mut kinds = kinds.iter().filter(|kind| *kind != "null").peekable();
                kinds.peek().is_some() && kinds.all(is_primitive)
            }
            Some(kind) => is_primitive(kind),
            None => false,
        };
        if !is_primitive {
            return Err(Problem::NotPrimitive);
        }
        match self.seen.insert(name.to_ascii_lowercase(), name) {
            Some(before) => Err(Problem::Twice(before.into())),
            None => Ok(name),
        }
    }
}

fn is_primitive(kind: &Value) -> bool {
    matches!(kind.as_str(), Some("string" | "integer" | "boolean"))
}

fn bad(path: &[&str], problem: Problem) -> BadAnnotation {
    BadAnnotation { property: path.join(".").into(), problem }
}

/// An argument of the plan, in a call.
#[derive(Clone, Debug)]
enum Argument<'a> {
    /// Not there, null, or without a form in a header.
    Absent,
    Text(Cow<'a, str>),
    Integer(i64),
    Boolean(bool),
}

/// The argument at the end of a path, looked for in one value. Of a name that stands twice the last one counts, as
/// it does for those who read the body.
#[derive(Clone, Copy)]
struct Find<'p> {
    path: &'p [Box<str>],
}

/// Is this the name of a member?
struct IsNamed<'p>(&'p str);

impl Find<'_> {
    /// What a value that holds no others is: an argument where the path ends, nothing before that.
    fn here<'de, E>(self, argument: Argument<'de>) -> Result<Argument<'de>, E> {
        Ok(if self.path.is_empty() { argument } else { Argument::Absent })
    }
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Argument<'de>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Argument<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Self::Value, M::Error> {
        let mut argument = Argument::Absent;
        let wanted = self.path.split_first();
        while let Some(is_wanted) = members.next_key_seed(IsNamed(wanted.map_or("", |(name, _)| name)))? {
            match wanted {
                Some((_, path)) if is_wanted => argument = members.next_value_seed(Find { path })?,
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(argument)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Argument::Absent)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        self.here(Argument::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        self.here(Argument::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, is_true: bool) -> Result<Self::Value, E> {
        self.here(Argument::Boolean(is_true))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let is_exact = number.unsigned_abs() <= WIRE_ID_MAX;
        self.here(if is_exact { Argument::Integer(number) } else { Argument::Absent })
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        let is_exact = number.fract() == 0.0 && number.abs() <= WIRE_ID_MAX as f64;
        self.here(if is_exact { Argument::Integer(number as i64) } else { Argument::Absent })
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Argument::Absent)
    }
}

impl<'de> DeserializeSeed<'de> for IsNamed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for IsNamed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// Could the value be taken for one in base64 form? Whatever begins like one is, in any case: it costs nothing to be
/// sure of servers that look less closely.
fn looks_encoded(value: &str) -> bool {
    value.get(..ENCODED_START.len()).is_some_and(|start| start.eq_ignore_ascii_case(ENCODED_START))
}

impl fmt::Display for BadAnnotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ANNOTATION} of {:?} ", self.property)?;
        match &self.problem {
            Problem::NotText => f.write_str("is no text"),
            Problem::Empty => f.write_str("is empty"),
            Problem::NotAToken(name) => {
                write!(f, "is {name:?}, which cannot be part of the name of a header")
            }
            Problem::Twice(name) => write!(f, "stands on another property already, as {name:?}"),
            Problem::NotPrimitive => {
                f.write_str("is on something other than a string, an integer or a boolean")
            }
            Problem::OutOfReach => f.write_str("is not on a property reached through properties alone"),
            Problem::TooDeep { depth_max } => {
                write!(f, "may stand deeper than the bound of {depth_max} schemas")
            }
        }
    }
}

impl std::error::Error for BadAnnotation {}

const ANNOTATION: &str = "x-mcp-header";

const ENCODED_START: &str = "=?base64?";

const ENCODED_END: &str = "?=";

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(value: &str) -> String {
        let mut out = b"before".to_vec();
        mirrored(&mut out, value);
        String::from_utf8(out)
            .expect("visible ASCII")
            .strip_prefix("before")
            .expect("nothing is lost")
            .to_owned()
    }

    /// What a server makes of a header.
    fn read(header: &str) -> String {
        match header.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
            Some(encoded) => {
                String::from_utf8(BASE64_STANDARD.decode(encoded).expect("base64")).expect("UTF-8")
            }
            None => header.trim_matches([' ', '\t']).to_owned(),
        }
    }

    proptest! {
        /// Whatever the value, the header is one visible line and says the value.
        #[test]
        fn any_value_comes_back(
            value in prop_oneof![any::<String>(), "[ -~\t]{0,20}", "(=\\?base64\\?)?[A-Za-z0-9+/=?]{0,8}(\\?=)?"],
        ) {
            let header = written(&value);
            prop_assert!(header.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{header:?}");
            prop_assert_eq!(read(&header), value);
        }
    }

    #[test]
    fn what_is_safe_goes_as_it_is() {
        for value in ["", "us-west1", "a b  c", "=?utf-8?q?x?=", "?=", "{\"a\":1}"] {
            assert_eq!(written(value), value);
        }
    }

    #[test]
    fn what_is_not_goes_in_base64() {
        for (value, header) in [
            (" us", "=?base64?IHVz?="),
            ("us ", "=?base64?dXMg?="),
            ("a\tb", "=?base64?YQli?="),
            ("a\r\nb", "=?base64?YQ0KYg==?="),
            ("\u{7F}", "=?base64?fw==?="),
            ("世界", "=?base64?5LiW55WM?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ] {
            assert_eq!(written(value), header);
        }
    }

    #[test]
    fn tokens_are_what_names_of_headers_are_made_of() {
        for name in ["Region", "a", "x-1_2.3", "!#$%&'*+-.^_`|~"] {
            assert!(is_token(name), "{name:?}");
        }
        for name in ["", "My Region", "Region:", "Région", "a\tb", "a\r\n", "(a)", "a/b", "\u{7F}"] {
            assert!(!is_token(name), "{name:?}");
        }
    }

    fn params(schema: &Value) -> Vec<(String, String)> {
        let plan = plan(schema).unwrap_or_else(|bad| panic!("{bad}"));
        plan.params.iter().map(|(name, path)| (name.to_string(), path.join("."))).collect()
    }

    #[test]
    fn annotations_are_found_along_properties() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "limit": {"type": ["null", "integer"], "x-mcp-header": "Limit"},
            "float": {"type": "number"},
            "deep": {"type": "object", "properties": {
                "x-mcp-header": {"type": "boolean", "x-mcp-header": "Dry"},
            }},
            "choice": {"enum": [{"x-mcp-header": ""}], "default": {"x-mcp-header": 1}},
        }});
        let pair = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        let mut found = params(&schema);
        found.sort();
        assert_eq!(
            found,
            [pair("Dry", "deep.x-mcp-header"), pair("Limit", "limit"), pair("Region", "region")]
        );
        assert_eq!(plan(&json!(true)), Ok(Plan::default()));
        assert!(plan(&json!({"type": "object"})).expect("no annotation").is_empty());
    }

    #[test]
    fn broken_annotations_are_named() {
        let string = |name: Value| json!({"type": "string", "x-mcp-header": name});
        let of = |kind: Value| json!({"type": kind, "x-mcp-header": "X"});
        let inside = |keyword: &str, value: Value| json!({"type": "object", keyword: value});
        let out_of_reach = |at: &str| (format!("p.{at}"), Problem::OutOfReach);
        for (schema, (property, problem)) in [
            (string(json!("")), ("p".to_owned(), Problem::Empty)),
            (string(json!(7)), ("p".to_owned(), Problem::NotText)),
            (string(json!("a b")), ("p".to_owned(), Problem::NotAToken("a b".into()))),
            (string(json!("a:b")), ("p".to_owned(), Problem::NotAToken("a:b".into()))),
            (string(json!("ż")), ("p".to_owned(), Problem::NotAToken("ż".into()))),
            (string(json!("a\tb")), ("p".to_owned(), Problem::NotAToken("a\tb".into()))),
            (of(json!("object")), ("p".to_owned(), Problem::NotPrimitive)),
            (of(json!("array")), ("p".to_owned(), Problem::NotPrimitive)),
            (of(json!("null")), ("p".to_owned(), Problem::NotPrimitive)),
            (of(json!("number")), ("p".to_owned(), Problem::NotPrimitive)),
            (of(json!(["null"])), ("p".to_owned(), Problem::NotPrimitive)),
            (of(json!(["string", "number"])), ("p".to_owned(), Problem::NotPrimitive)),
            (json!({"x-mcp-header": "X"}), ("p".to_owned(), Problem::NotPrimitive)),
            (inside("items", of(json!("string"))), out_of_reach("items")),
            (inside("prefixItems", json!([of(json!("string"))])), out_of_reach("prefixItems")),
            (inside("anyOf", json!([{}, of(json!("string"))])), out_of_reach("anyOf")),
            (inside("then", json!({"properties": {"q": of(json!("string"))}})), out_of_reach("then.q")),
            (inside("$defs", json!({"d": of(json!("string"))})), out_of_reach("d")),
        ] {
            let whole = json!({"type": "object", "properties": {"p": schema}});
            assert_eq!(plan(&whole), Err(BadAnnotation { property: property.into(), problem }), "{whole}");
        }
        assert_eq!(plan(&of(json!("string"))).map_err(|bad| bad.problem), Err(Problem::OutOfReach));
    }

    #[test]
    fn a_name_is_given_once_whatever_its_case() {
        let schema = |other: &str| {
            json!({"properties": {
                "a": {"type": "string", "x-mcp-header": "Region"},
                "b": {"type": "object", "properties": {"c": {"type": "string", "x-mcp-header": other}}},
            }})
        };
        assert!(plan(&schema("Regions")).is_ok());
        for other in ["Region", "rEGION"] {
            assert!(matches!(plan(&schema(other)), Err(BadAnnotation { problem: Problem::Twice(_), .. })));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            let leaf = json!({"type": "string", "x-mcp-header": "X"});
            (0..depth).fold(leaf, |schema, _| json!({"properties": {"p": schema}}))
        };
        assert_eq!(params(&nested(SCHEMA_DEPTH_MAX)).len(), 1);
        let too_deep = plan(&nested(SCHEMA_DEPTH_MAX + 1)).map_err(|bad| bad.problem);
        assert_eq!(too_deep, Err(Problem::TooDeep { depth_max: SCHEMA_DEPTH_MAX }));
    }

    fn some_plan() -> Plan {
        let plan = plan(&json!({"properties": {
            "a": {"type": "string", "x-mcp-header": "A"},
            "b": {"type": "object", "properties": {
                "a": {"type": "integer", "x-mcp-header": "B-A"},
                "b": {"type": "boolean", "x-mcp-header": "B-B"},
            }},
        }}));
        plan.expect("good annotations")
    }

    fn headers(arguments: &str) -> String {
        let mut out = Vec::new();
        some_plan().write(arguments.as_bytes(), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn present_arguments_are_mirrored() {
        assert_eq!(
            headers(r#"{"a":"x","b":{"a":42,"b":false},"c":1}"#),
            "Mcp-Param-A: x\r\nMcp-Param-B-A: 42\r\nMcp-Param-B-B: false\r\n"
        );
        assert_eq!(headers(r#"{"a":""}"#), "Mcp-Param-A: \r\n");
        assert_eq!(headers(r#"{"a":"\u0061\n"}"#), "Mcp-Param-A: =?base64?YQo=?=\r\n");
        assert_eq!(headers(r#"{"a":null,"b":{"a":null}}"#), "");
        assert_eq!(headers(r#"{"b":7}"#), "");
        assert_eq!(headers(r#"{"a":["x"],"b":[{"a":1}]}"#), "");
        assert_eq!(headers(r#"{"a":"x","a":"y"}"#), "Mcp-Param-A: y\r\n");
        assert_eq!(headers(r#"{"\u0061":"x"}"#), "Mcp-Param-A: x\r\n");
    }

    #[test]
    fn integers_are_written_as_integers() {
        let integer = |number: &str| headers(&format!(r#"{{"b":{{"a":{number}}}}}"#));
        for (number, written) in [("1.0", "1"), ("-0", "0"), ("-7", "-7"), ("1e3", "1000"), ("-0.0", "0")] {
            assert_eq!(integer(number), format!("Mcp-Param-B-A: {written}\r\n"), "{number}");
        }
        for edge in ["9007199254740991", "-9007199254740991"] {
            assert_eq!(integer(edge), format!("Mcp-Param-B-A: {edge}\r\n"));
        }
        for none in ["9007199254740992", "-9007199254740992", "18446744073709551615", "1.5", "1e300"] {
            assert_eq!(integer(none), "", "{none}");
        }
    }

    #[test]
    fn nothing_is_written_for_what_is_no_object() {
        for arguments in ["", "{", "null", r#"{"a":"x""#, r#"{"a":"x"}]"#, "[]", "\"x\""] {
            assert_eq!(headers(arguments), "", "{arguments}");
        }
    }

    /// The twin: it decodes everything, then looks each argument up.
    fn looked_up(plan: &Plan, arguments: &str) -> Vec<u8> {
        let Ok(all) = serde_json::from_str::<Value>(arguments) else { return Vec::new() };
        let mut lines = String::new();
        for (name, path) in &plan.params {
            let value = path.iter().try_fold(&all, |value, name| value.as_object()?.get(&**name));
            let value = match value {
                Some(Value::String(text)) => written(text),
                Some(Value::Bool(is_true)) => is_true.to_string(),
                Some(Value::Number(number)) => match number.as_f64() {
                    Some(number) if number.trunc() == number && number.abs() < 9_007_199_254_740_992.0 => {
                        format!("{}", number as i64)
                    }
                    _ => continue,
                },
                _ => continue,
            };
            lines += &format!("Mcp-Param-{name}: {value}\r\n");
        }
        lines.into_bytes()
    }

    /// JSON in many spellings, some of them broken.
    fn json_text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| Value::from(number).to_string()),
            (-9..9_i8).prop_map(|number| format!("{number}.0")),
            any::<String>().prop_map(|text| Value::from(text).to_string()),
            "[{}\\[\\]:,\"0-9a]{0,3}",
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            let member = ("[abc]", inner.clone()).prop_map(|(name, value)| format!(" \"{name}\" : {value}"));
            let object = vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(",")));
            let array = vec(inner, 0..3).prop_map(|elements| format!("[{}]", elements.join(" ,")));
            prop_oneof![4 => object, 1 => array]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_looking_each_argument_up(arguments in json_text()) {
            let mut out = Vec::new();
            some_plan().write(arguments.as_bytes(), &mut out);
            prop_assert_eq!(out, looked_up(&some_plan(), &arguments));
        }
    }

    #[test]
    fn errors_name_the_property() {
        let bad = BadAnnotation { property: "a.b".into(), problem: Problem::Empty };
        assert_eq!(bad.to_string(), "x-mcp-header of \"a.b\" is empty");
    }
}
