//! Why a word of the command line makes no plan: flag, value, what is wrong, and what to write instead.
//!
//! One form for all refusals. A value that may be a secret is left out by whoever refuses it.

use std::fmt;

/// A flag, its value, what is wrong with it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The flag as it is written.
    pub(crate) flag: &'static str,
    /// Its value; empty where there is none to show.
    pub(crate) value: String,
    /// What is wrong, or the bound.
    pub(crate) wrong: String,
    /// What to write instead.
    pub(crate) hint: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flag, value, wrong, hint } = self;
        match value.is_empty() {
            true => write!(f, "{flag}: {wrong}; {hint}"),
            false => write!(f, "{flag} `{value}`: {wrong}; {hint}"),
        }
    }
}
