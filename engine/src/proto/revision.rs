//! Every difference between MCP revisions that the engine acts on, as one table of facts.
//!
//! If another file compares revision dates, a fact has leaked. Version strings are an enumerated set, never ordered by
//! comparing text. Sources: the specification of each revision; `docs/protocol.md` says which clause gives which fact.

use std::{fmt, str::FromStr};

/// A dated revision of the Model Context Protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Revision {
    /// `2024-11-05`: the first dated revision.
    V2024_11_05,
    /// `2025-03-26`: the only revision with JSON-RPC batches.
    V2025_03_26,
    /// `2025-06-18`: batches removed.
    V2025_06_18,
    /// `2025-11-25`: the last revision with a handshake.
    V2025_11_25,
    /// `2026-07-28`: stateless; each request carries its own version and capabilities.
    V2026_07_28,
}

/// How a revision opens: with a handshake, or with nothing at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Era {
    /// `initialize` and `notifications/initialized` first; requests are bare.
    Legacy,
    /// No handshake; `_meta` on every request; `server/discover` to find out.
    Modern,
}

/// What one revision does on a stream transport.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) revision: Revision,
    pub(crate) name: &'static str,
    pub(crate) era: Era,
    /// Servers may send requests to the client, and the client answers them.
    pub(crate) server_requests: bool,
    /// Lines may be JSON-RPC arrays.
    pub(crate) arrays: bool,
    /// Over HTTP each request names the revision in a header.
    pub(crate) version_header: bool,
}

const TABLE: [Facts; 5] = [
    legacy(Revision::V2024_11_05, "2024-11-05", false, false),
    legacy(Revision::V2025_03_26, "2025-03-26", true, false),
    legacy(Revision::V2025_06_18, "2025-06-18", false, true),
    legacy(Revision::V2025_11_25, "2025-11-25", false, true),
    Facts {
        revision: Revision::V2026_07_28,
        name: "2026-07-28",
        era: Era::Modern,
        server_requests: false,
        arrays: false,
        version_header: true,
    },
];

const fn legacy(revision: Revision, name: &'static str, arrays: bool, version_header: bool) -> Facts {
    Facts { revision, name, era: Era::Legacy, server_requests: true, arrays, version_header }
}

impl Revision {
    /// The newest revision of the modern era: what a probe offers.
    pub const LATEST: Self = Self::V2026_07_28;
    /// The newest revision with a handshake: what `initialize` offers.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;

    /// What a peer of plain JSON-RPC 2.0 is taken for: bare requests, arrays, no header of its own. Without the handshake nothing
    /// else is left of the revision.
    pub(crate) const PLAIN: Self = Self::V2025_03_26;

    /// All revisions this engine speaks, oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        TABLE.iter().map(|facts| facts.revision)
    }

    /// The name on the wire, such as `2025-11-25`.
    pub fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// The era this revision belongs to.
    pub fn era(self) -> Era {
        self.facts().era
    }

    pub(crate) fn facts(self) -> &'static Facts {
        TABLE.iter().find(|facts| facts.revision == self).expect("every revision stands in the table")
    }

    /// The revision to use with a server that names `supported`: the newest of `era` that both know.
    pub(crate) fn newest_of<'a>(era: Era, supported: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        supported
            .into_iter()
            .filter_map(|name| name.parse().ok())
            .filter(|found: &Self| found.era() == era)
            .max()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text named no revision this engine speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownRevision(pub(crate) String);

impl fmt::Display for UnknownRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown revision {:?}: known are", self.0)?;
        for (n, revision) in Revision::all().enumerate() {
            write!(f, "{} {revision}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownRevision {}

impl FromStr for Revision {
    type Err = UnknownRevision;

    fn from_str(name: &str) -> Result<Self, UnknownRevision> {
        TABLE
            .iter()
            .find(|facts| facts.name == name)
            .map(|facts| facts.revision)
            .ok_or_else(|| UnknownRevision(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for revision in Revision::all() {
            assert_eq!(revision.as_str().parse(), Ok(revision));
        }
        assert_eq!(Revision::all().count(), 5);
        assert!("2024-10-07".parse::<Revision>().is_err());
    }

    #[test]
    fn only_one_revision_has_arrays() {
        let with: Vec<_> = Revision::all().filter(|revision| revision.facts().arrays).collect();
        assert_eq!(with, [Revision::V2025_03_26]);
    }

    #[test]
    fn the_newest_common_revision_is_chosen_within_the_era() {
        let supported = ["2024-11-05", "2026-07-28", "2025-06-18", "2099-01-01"];
        assert_eq!(Revision::newest_of(Era::Modern, supported), Some(Revision::V2026_07_28));
        assert_eq!(Revision::newest_of(Era::Legacy, supported), Some(Revision::V2025_06_18));
        assert_eq!(Revision::newest_of(Era::Modern, ["2025-06-18"]), None);
    }
}
