//! The first of each kind of trouble, kept so that a report can show what went wrong.
//!
//! A counter says how often; a specimen says what it looked like. One of each kind is kept, cut
//! to a length that fits a screen; making it costs nothing once there is one.

use std::fmt;

/// What can go wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The tool said `isError`.
    ToolError,
    /// A JSON-RPC error.
    RpcError,
    /// No answer in time.
    TimedOut,
    /// Any other failure.
    Failed,
    /// Not the expected text.
    Wrong,
    /// An outcome for no open call.
    Stray,
}

/// One case of trouble.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Specimen {
    /// What kind it is of.
    pub(crate) kind: Kind,
    /// The number of the call, where there is one.
    pub(crate) call: Option<u64>,
    /// What it looked like.
    pub(crate) detail: String,
}

/// At most one of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Specimens(Vec<Specimen>);

impl Specimens {
    /// Keeps this one if it is the first of its kind.
    pub(super) fn keep(&mut self, kind: Kind, call: Option<u64>, detail: impl FnOnce() -> String) {
        if self.0.iter().all(|kept| kept.kind != kind) {
            self.0.push(Specimen { kind, call, detail: shortened(detail()) });
        }
    }

    /// The same for a line from the wire.
    pub(super) fn keep_line(&mut self, kind: Kind, call: Option<u64>, line: &[u8]) {
        self.keep(kind, call, || String::from_utf8_lossy(line).into_owned());
    }

    /// Adds those of another worker.
    pub(super) fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|one| self.keep(one.kind, one.call, || one.detail));
    }

    /// All that were kept.
    pub(crate) fn into_vec(self) -> Vec<Specimen> {
        self.0
    }
}

/// One line of at most so many characters; control characters, which could paint over a
/// terminal, are shown as blanks.
fn shortened(text: String) -> String {
    let mut chars = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let head: String = chars.by_ref().take(DETAIL_CHARS_MAX).collect();
    if chars.next().is_some() { head + " ..." } else { head }
}

const DETAIL_CHARS_MAX: usize = 240;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToolError => "tool error",
            Self::RpcError => "rpc error",
            Self::TimedOut => "timed out",
            Self::Failed => "failed",
            Self::Wrong => "wrong",
            Self::Stray => "stray",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_kind_is_kept_and_fits_a_screen() {
        let mut kept = Specimens::default();
        kept.keep(Kind::Failed, Some(1), || "one\u{1b}[2J\n".into());
        kept.keep(Kind::Failed, Some(2), || panic!("made although there is one"));
        let mut other = Specimens::default();
        other.keep_line(Kind::Wrong, Some(3), &[b'x'; 1000]);
        other.keep(Kind::Failed, Some(4), String::new);
        kept.merge(other);
        let kept = kept.into_vec();
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[0], Specimen { kind: Kind::Failed, call: Some(1), detail: "one [2J".into() });
        assert!(kept[1].detail.len() < 260 && kept[1].detail.ends_with("x ..."));
    }
}
