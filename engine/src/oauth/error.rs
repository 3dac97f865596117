//! What can go wrong on the way to a token. No variant holds a secret: errors are shown and logged.

use std::fmt;

use crate::config::credentials::CredentialsError;

/// One failure of the flow.
#[derive(Debug)]
pub(super) enum OAuthError {
    /// An address that is none, or on which others could listen.
    Address { what: &'static str, url: String, why: &'static str },
    /// No answer.
    Transport { url: String, why: String },
    /// An answer that is no success, or no JSON of the right form.
    Answer { what: &'static str, url: String, why: String },
    /// Two things that have to be the same are not.
    Mismatch { what: &'static str, expected: String, found: String },
    /// Something that is needed is not there.
    Missing(&'static str),
    /// The authorization server said no.
    Refused { what: &'static str, error: String, description: Option<String> },
    /// All that the server wants has been asked for already.
    NothingMore { scope: String },
    /// The caller's function failed.
    Authorize(CredentialsError),
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { what, url, why } => write!(f, "the address of {what}, {url:?}, {why}"),
            Self::Transport { url, why } => write!(f, "no answer from {url}: {why}"),
            Self::Answer { what, url, why } => write!(f, "{what} at {url}: {why}"),
            Self::Mismatch { what, expected, found } => {
                write!(f, "{what} is {found:?} and must be {expected:?}")
            }
            Self::Missing(what) => f.write_str(what),
            Self::Refused { what, error, description: None } => write!(f, "{what} was refused: {error}"),
            Self::Refused { what, error, description: Some(description) } => {
                write!(f, "{what} was refused: {error}: {description}")
            }
            Self::NothingMore { scope } => {
                write!(f, "the server wants scope {scope:?}, which has been asked for and was not enough")
            }
            Self::Authorize(error) => {
                write!(f, "the user was not brought through the authorization: {error}")
            }
        }
    }
}

impl std::error::Error for OAuthError {}
