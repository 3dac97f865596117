//! Arrays of messages, which a server may send where the revision has batches (2025-03-26).
//!
//! Elements are cut out as they stand, and judged one by one by whoever takes them: one that no reader takes costs the others nothing.
//!
//! Unit: bytes, each looked at once. No memory. Owner: nobody. Always: elements do not overlap and come in order; in anything that is
//! no JSON no byte makes it panic. Proof: `elements_are_those_of_a_parser`, below.

use std::ops::Range;

use super::walk::{skip_blanks, skip_value};

/// The elements of `frame`, if it begins as an array.
pub(crate) fn elements(frame: &[u8]) -> Option<Elements<'_>> {
    let at = skip_blanks(frame, 0);
    (frame.get(at) == Some(&b'[')).then_some(Elements { frame, at: at + 1, place: Place::First })
}

/// The ranges of the elements, until the array ends or is damaged.
#[derive(Debug)]
pub(crate) struct Elements<'a> {
    frame: &'a [u8],
    at: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Later,
    End,
    Damage,
}

impl Elements<'_> {
    /// All have been taken, the array was closed, and nothing but blanks came after it.
    pub(crate) fn is_whole(&self) -> bool {
        self.place == Place::End && skip_blanks(self.frame, self.at) == self.frame.len()
    }
}

impl Iterator for Elements<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut begin = skip_blanks(self.frame, self.at);
        match (self.place, self.frame.get(begin)) {
            (Place::First | Place::Later, Some(b']')) => {
                (self.place, self.at) = (Place::End, begin + 1);
                return None;
            }
            (Place::First, _) => {}
            (Place::Later, Some(b',')) => begin = skip_blanks(self.frame, begin + 1),
            (Place::Later, _) => self.place = Place::Damage,
            (Place::End | Place::Damage, _) => {}
        }
        if matches!(self.place, Place::End | Place::Damage) {
            return None;
        }
        let Some(end) = skip_value(self.frame, begin) else {
            self.place = Place::Damage;
            return None;
        };
        (self.place, self.at) = (Place::Later, end);
        Some(begin..end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, value::RawValue};

    use super::*;

    /// The elements as text, and whether the array is whole.
    fn cut(frame: &[u8]) -> (Vec<String>, bool) {
        let mut found = elements(frame).expect("it begins with a bracket");
        let cut = found.by_ref().map(|range| String::from_utf8_lossy(&frame[range]).into_owned()).collect();
        (cut, found.is_whole())
    }

    #[test]
    fn elements_are_found_where_they_stand() {
        let frame = br#" [ {"id":1,"result":["]"]} , {"id":2} ] "#;
        assert_eq!(
            cut(frame),
            (vec![r#"{"id":1,"result":["]"]}"#.to_owned(), r#"{"id":2}"#.to_owned()], true)
        );
        assert_eq!(cut(b"[]"), (vec![], true));
        assert!(elements(b"{}").is_none() && elements(b"").is_none());
    }

    /// A server in Python writes `NaN`; it cost all calls of the array their answers once.
    #[test]
    fn damage_costs_the_elements_from_there_on_and_a_strange_element_only_itself() {
        for (frame, elements, is_whole) in [
            (
                &br#"[{"id":1,"result":NaN},{"id":2}]"#[..],
                &[r#"{"id":1,"result":NaN}"#, r#"{"id":2}"#][..],
                true,
            ),
            (b"[null,{},[{}],7]", &["null", "{}", "[{}]", "7"], true),
            (b"[{},{}", &["{}", "{}"], false),
            (b"[{},{", &["{}"], false),
            (b"[{},]", &["{}"], false),
            (b"[,{}]", &[], false),
            (b"[{}{}]", &["{}"], false),
            (b"[{}]]", &["{}"], false),
            (b"[{}] x", &["{}"], false),
            (b"[", &[], false),
        ] {
            let shown = String::from_utf8_lossy(frame);
            assert_eq!(
                cut(frame),
                (elements.iter().map(|one| (*one).to_owned()).collect(), is_whole),
                "{shown}"
            );
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = r#"[a\\"\[\],{} ]{0,8}"#;
        let leaf = prop_oneof![any::<i64>().prop_map(Value::from), text.prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a\",]{0,3}", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn elements_are_those_of_a_parser(values in prop::collection::vec(value(), 0..6), cut_at: prop::sample::Index) {
            let text = serde_json::to_string_pretty(&values).unwrap();
            let parsed: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
            let expected: Vec<String> = parsed.iter().map(|one| one.get().to_owned()).collect();
            prop_assert_eq!(cut(text.as_bytes()), (expected.clone(), true));
            // Of one that is cut, those that stand whole, and perhaps a number that was cut itself.
            let end = cut_at.index(text.len());
            if let Some(found) = elements(&text.as_bytes()[..end]) {
                let whole = found.filter(|range| range.end < end).count();
                prop_assert!(whole <= expected.len());
            }
        }
    }
}
