//! The MCP revisions and every difference between them that the target shows.
//!
//! A revision is a member of a closed set, never a string to be compared by order. Each question
//! a caller may ask is a method here; no other file compares revisions.
//!
//! Proof: `offers_answer_like_the_list_they_were_made_of`, below.

use std::fmt;

/// One dated revision of the protocol, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Revision {
    R2024_11_05,
    R2025_03_26,
    R2025_06_18,
    R2025_11_25,
    R2026_07_28,
}

impl Revision {
    pub(super) const ALL: [Self; 5] =
        [Self::R2024_11_05, Self::R2025_03_26, Self::R2025_06_18, Self::R2025_11_25, Self::R2026_07_28];

    pub(super) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.text() == text)
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::R2024_11_05 => "2024-11-05",
            Self::R2025_03_26 => "2025-03-26",
            Self::R2025_06_18 => "2025-06-18",
            Self::R2025_11_25 => "2025-11-25",
            Self::R2026_07_28 => "2026-07-28",
        }
    }

    /// Whether each request carries its own version, and nothing opens the connection.
    pub(super) fn is_modern(self) -> bool {
        self == Self::R2026_07_28
    }

    /// Whether one line may be an array of messages.
    pub(super) fn has_batches(self) -> bool {
        self == Self::R2025_03_26
    }

    /// Whether a tool result may carry `structuredContent`, and a tool an `outputSchema`.
    pub(super) fn has_structured_content(self) -> bool {
        self >= Self::R2025_06_18
    }

    /// Whether content may be sound.
    pub(super) fn has_audio(self) -> bool {
        self >= Self::R2025_03_26
    }

    /// Whether a server declares that it completes arguments.
    pub(super) fn declares_completions(self) -> bool {
        self >= Self::R2025_03_26
    }

    /// Whether the user can be asked to fill in a form.
    pub(super) fn has_elicitation(self) -> bool {
        self >= Self::R2025_06_18
    }

    /// Whether such a form may have defaults of every type, and choices with titles.
    pub(super) fn has_elicitation_defaults(self) -> bool {
        self >= Self::R2025_11_25
    }

    /// Whether a stream may outlive its connection because the server closed it to be polled.
    pub(super) fn has_polling_closures(self) -> bool {
        self == Self::R2025_11_25
    }

    /// Whether a call may be answered with a task: in the core, or by the extension.
    pub(super) fn has_tasks(self) -> bool {
        self >= Self::R2025_11_25
    }

    /// Whether schemas are JSON Schema 2020-12 unless they say otherwise.
    pub(super) fn has_json_schema_2020_12(self) -> bool {
        self >= Self::R2025_11_25
    }

    /// Whether a tool tells of bad arguments in its result instead of a protocol error.
    pub(super) fn reports_bad_arguments_in_results(self) -> bool {
        self >= Self::R2025_11_25
    }

    /// Whether results say `resultType` and lists say how long they may be kept.
    pub(super) fn has_result_type(self) -> bool {
        self.is_modern()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The revisions a server offers.
///
/// Invariant: sorted, without repetition, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer(Vec<Revision>);

impl Offer {
    /// Reads `all`, `legacy`, `modern`, or dates with commas between them.
    ///
    /// # Errors
    ///
    /// Names the word that is no revision, and lists those that are.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut offered = Vec::new();
        for word in text.split(',').map(str::trim) {
            match word {
                "all" => offered.extend(Revision::ALL),
                "legacy" => offered.extend(Revision::ALL.into_iter().filter(|r| !r.is_modern())),
                "modern" => offered.extend(Revision::ALL.into_iter().filter(|r| r.is_modern())),
                date => offered.push(Revision::from_text(date).ok_or_else(|| {
                    let known = Revision::ALL.map(Revision::text).join(", ");
                    format!("`{date}` is none of all, legacy, modern, {known}")
                })?),
            }
        }
        offered.sort_unstable();
        offered.dedup();
        Ok(Self(offered))
    }

    pub(super) fn contains(&self, revision: Revision) -> bool {
        self.0.contains(&revision)
    }

    pub(super) fn newest_legacy(&self) -> Option<Revision> {
        self.0.iter().rev().copied().find(|revision| !revision.is_modern())
    }

    pub(super) fn newest_modern(&self) -> Option<Revision> {
        self.0.iter().rev().copied().find(|revision| revision.is_modern())
    }

    /// The offered revisions that need no handshake, as a JSON array.
    pub(super) fn modern_json(&self) -> String {
        let quoted: Vec<String> =
            self.0.iter().filter(|r| r.is_modern()).map(|r| format!("\"{r}\"")).collect();
        format!("[{}]", quoted.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_answer_like_the_list_they_were_made_of() {
        let offer = Offer::parse("2025-06-18, 2024-11-05,2025-06-18").unwrap();
        assert_eq!(offer.0, [Revision::R2024_11_05, Revision::R2025_06_18]);
        assert_eq!(offer.newest_legacy(), Some(Revision::R2025_06_18));
        assert_eq!(offer.newest_modern(), None);
        assert_eq!(offer.modern_json(), "[]");
        assert_eq!(Offer::parse("legacy,modern").unwrap().0, Revision::ALL);
        assert_eq!(Offer::parse("modern").unwrap().modern_json(), r#"["2026-07-28"]"#);
    }

    #[test]
    fn a_word_that_is_no_revision_is_named() {
        assert!(Offer::parse("2025-06-19").unwrap_err().contains("2025-06-19"));
        assert!(Offer::parse("").is_err());
    }
}
