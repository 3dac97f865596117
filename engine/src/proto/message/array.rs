//! Arrays of messages, which a server may send where the revision has batches (2025-03-26).
//!
//! Slow path: no server sends arrays unasked, and the engine asks only where a probe showed that it pays.

use serde_json::value::RawValue;

/// The ranges of the elements in `frame`, or `None` if it is no valid array.
pub(crate) fn elements(frame: &[u8]) -> Option<Vec<std::ops::Range<usize>>> {
    let elements: Vec<&RawValue> = serde_json::from_slice(frame).ok()?;
    let origin = frame.as_ptr() as usize;
    Some(
        elements
            .into_iter()
            .map(|element| {
                let start = element.get().as_ptr() as usize - origin;
                start..start + element.get().len()
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_where_they_stand() {
        let frame = br#"[ {"id":1,"result":["]"]} , {"id":2} ]"#;
        let found: Vec<&[u8]> = elements(frame).unwrap().into_iter().map(|range| &frame[range]).collect();
        assert_eq!(found, [&br#"{"id":1,"result":["]"]}"#[..], br#"{"id":2}"#]);
        assert!(elements(b"[]").unwrap().is_empty());
        assert!(elements(b"[{]").is_none());
    }
}
