//! Texts in which `{i}` stands for the number of the call, compiled once and rendered per call.
//!
//! A template is a list of literal pieces; between two neighbours goes the number. Rendering
//! appends to a buffer and allocates nothing once the buffer has grown. A JSON template is an
//! object whatever the number is, and holds no line break, because the wire ends messages with
//! one. Cost of rendering: one copy of the text, one number. Proof: `agrees_with_replace`.

use std::fmt;

/// The mark that the number of the call replaces.
const MARK: &str = "{i}";
/// The largest call number that every JSON implementation holds exactly.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// A text with holes for the number of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    /// Literal pieces; a number stands between each two. Never empty.
    pieces: Vec<Box<[u8]>>,
}

/// Why a text is no JSON template.
#[derive(Debug)]
pub(crate) enum TemplateError {
    /// Not JSON when the mark is replaced by this number.
    NotJson {
        /// The number that was put in.
        number: u64,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// JSON, but not an object: the arguments of a tool are one.
    NotAnObject,
}

impl Template {
    /// Compiles a plain text. Every text is one.
    pub(crate) fn text(text: &str) -> Self {
        Self { pieces: text.split(MARK).map(|piece| piece.as_bytes().into()).collect() }
    }

    /// Compiles a text so that it renders as the inside of a JSON string, escaped the usual way.
    pub(crate) fn escaped(text: &str) -> Self {
        let escape = |piece: &str| {
            let quoted = serde_json::to_string(piece).unwrap_or_default();
            quoted.as_bytes().get(1..quoted.len().saturating_sub(1)).unwrap_or_default().into()
        };
        Self { pieces: text.split(MARK).map(escape).collect() }
    }

    /// Compiles a JSON object, in which the mark may stand in a string or as a number of its own.
    ///
    /// # Errors
    ///
    /// When the text is no JSON object with a number in the mark's place; tried with the
    /// shortest and the longest number there is.
    pub(crate) fn json_object(text: &str) -> Result<Self, TemplateError> {
        // Raw line breaks are legal JSON between tokens only, where a space does as well.
        let one_line = text.trim().replace(['\n', '\r'], " ");
        let template = Self::text(&one_line);
        let mut rendered = Vec::new();
        for number in [0, NUMBER_MAX] {
            rendered.clear();
            template.render(number, &mut rendered);
            serde_json::from_slice::<serde::de::IgnoredAny>(&rendered)
                .map_err(|source| TemplateError::NotJson { number, source })?;
        }
        if rendered.first() != Some(&b'{') {
            return Err(TemplateError::NotAnObject);
        }
        Ok(template)
    }

    /// Appends the text of call `number` to `out`.
    pub(crate) fn render(&self, number: u64, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(digits);
            }
            out.extend_from_slice(piece);
        }
    }

    /// What stands before the text of call `number` at the end of `line`, or `None` if the line
    /// does not end with it. Renders nothing: compares piece by piece, from the end.
    pub(crate) fn cut_end<'a>(&self, number: u64, line: &'a [u8]) -> Option<&'a [u8]> {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        let (first, others) = self.pieces.split_first()?;
        let mut rest = line;
        for piece in others.iter().rev() {
            rest = rest.strip_suffix(&**piece)?.strip_suffix(digits)?;
        }
        rest.strip_suffix(&**first)
    }

    /// The same text with constant bytes before and after it.
    pub(crate) fn between(&self, before: &[u8], after: &[u8]) -> Self {
        let mut pieces: Vec<Vec<u8>> = self.pieces.iter().map(|piece| piece.to_vec()).collect();
        if let Some(first) = pieces.first_mut() {
            first.splice(..0, before.iter().copied());
        }
        if let Some(last) = pieces.last_mut() {
            last.extend_from_slice(after);
        }
        Self { pieces: pieces.into_iter().map(Vec::into_boxed_slice).collect() }
    }

    /// Whether the text begins with the number, so that a digit before it would change it.
    pub(crate) fn begins_with_number(&self) -> bool {
        self.pieces.len() > 1 && self.pieces.first().is_some_and(|piece| piece.is_empty())
    }

    /// Whether the text ends with the number, so that a digit after it would change it.
    pub(crate) fn ends_with_number(&self) -> bool {
        self.pieces.len() > 1 && self.pieces.last().is_some_and(|piece| piece.is_empty())
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { number, source } => {
                write!(f, "with {{i}} replaced by {number} it is not JSON ({source})")
            }
            Self::NotAnObject => write!(f, "it is JSON, but not an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(template: &Template, number: u64) -> String {
        let mut out = Vec::new();
        template.render(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_number_stands_in_strings_and_alone() {
        let template = Template::json_object(r#"{"message":"call {i}","n":{i}}"#).unwrap();
        assert_eq!(rendered(&template, 17), r#"{"message":"call 17","n":17}"#);
    }

    #[test]
    fn only_objects_on_one_line_get_through() {
        assert!(matches!(Template::json_object("[{i}]"), Err(TemplateError::NotAnObject)));
        assert!(matches!(Template::json_object(r#"{"a":"#), Err(TemplateError::NotJson { .. })));
        assert!(matches!(
            Template::json_object(r#"{"a":0{i}}"#),
            Err(TemplateError::NotJson { number: 0, .. })
        ));
        let folded = Template::json_object("{\n  \"a\": {i}\r\n}\n").unwrap();
        assert!(!rendered(&folded, 5).contains(['\n', '\r']));
    }

    #[test]
    fn escaping_is_that_of_a_json_string() {
        let template = Template::escaped("say \"{i}\"\n");
        assert_eq!(rendered(&template, 3), r#"say \"3\"\n"#);
    }

    #[test]
    fn a_number_at_an_end_is_noticed() {
        assert!(Template::text("call {i}").ends_with_number());
        assert!(Template::text("{i}!").begins_with_number());
        assert!(!Template::text("{i}!").ends_with_number());
        assert!(!Template::text("").ends_with_number());
    }

    proptest! {
        #[test]
        fn cutting_finds_what_rendering_wrote(
            text in "([a-z1]{0,3}|\\{i\\}){0,5}", line in "[a-z1]{0,3}", number in 0_u64..20, other in 0_u64..20,
        ) {
            let template = Template::text(&text).between(b"<", b">");
            let whole = format!("{line}{}", rendered(&template, number));
            prop_assert_eq!(template.cut_end(number, whole.as_bytes()), Some(line.as_bytes()));
            let same = whole.ends_with(&rendered(&template, other));
            prop_assert_eq!(template.cut_end(other, whole.as_bytes()).is_some(), same);
        }

        #[test]
        fn agrees_with_replace(text in "([a-z{}i]{0,4}|\\{i\\}){0,6}", number in any::<u64>()) {
            prop_assert_eq!(rendered(&Template::text(&text), number), text.replace("{i}", &number.to_string()));
        }

        #[test]
        fn a_compiled_object_is_json_for_every_number(text in "\\PC{0,20}", number in 0..NUMBER_MAX) {
            let quoted = serde_json::to_string(&text).unwrap();
            let template = Template::json_object(&format!("{{\"a\":{quoted},\"b\":{{i}}}}")).unwrap();
            let value: serde_json::Value = serde_json::from_str(&rendered(&template, number)).unwrap();
            prop_assert_eq!(value["b"].as_u64(), Some(number));
        }
    }
}
