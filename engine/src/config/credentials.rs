//! Where tokens come from: what a server says when it refuses, and who answers that with another token.
//!
//! A server over HTTP refuses with 401 (no token, or not a good one) or 403 with `insufficient_scope` (a good one that is not
//! good enough), and says in `WWW-Authenticate` what it wants. The engine hands that to the [`Credentials`] of the
//! configuration, on a thread made for it, once for all calls that were refused, and sends these calls again with the token
//! that comes back.
//!
//! Always: no token stands in a `Debug`, in an error or in a log. Proof: below, and `tests/integration/authorization.rs`.
//! Follows: RFC 9110, 11.6.1; RFC 6750, 3; RFC 9728, 5.1.

use std::{error::Error as StdError, fmt};

use crate::error::Error;

/// What a function that brings a token may fail with. Its text is part of the reason that callers are told, so it must not
/// hold a secret.
pub type CredentialsError = Box<dyn StdError + Send + Sync>;

/// Somebody who brings tokens.
///
/// Every `Fn(&Challenge) -> Result<String, CredentialsError>` is one:
///
/// ```
/// use volley::{Challenge, Config};
///
/// let config = Config::builder().credentials(|challenge: &Challenge| {
///     println!("{} wants {:?}", challenge.server(), challenge.scope());
///     Ok("a token".to_owned())
/// });
/// ```
pub trait Credentials: Send + Sync {
    /// A token that answers `challenge`. Called on a thread of its own, one call at a time for a client; it may take as long as
    /// it needs, for the calls that wait have time-outs of their own.
    ///
    /// # Errors
    /// When there is no other token. The refused calls then fail `Unauthorized`, and the next call is half a minute later.
    fn token(&self, challenge: &Challenge) -> Result<String, CredentialsError>;
}

impl<F> Credentials for F
where
    F: Fn(&Challenge) -> Result<String, CredentialsError> + Send + Sync,
{
    fn token(&self, challenge: &Challenge) -> Result<String, CredentialsError> {
        self(challenge)
    }
}

/// A refusal: which server, which status, and what it said about the way to a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    server: String,
    status: u16,
    header: String,
    bearer: Vec<(String, String)>,
}

impl Challenge {
    pub(crate) fn new(server: &str, status: u16, header: &str) -> Self {
        let bearer = bearer_parameters(header);
        Self { server: server.to_owned(), status, header: header.to_owned(), bearer }
    }

    /// The address of the server, as configured.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The status of HTTP: 401 or 403.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The whole of `WWW-Authenticate`; empty if the server did not say.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// A parameter of the `Bearer` challenge.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.bearer
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// What is wrong with the request, in a word: `invalid_token`, `insufficient_scope`.
    pub fn error(&self) -> Option<&str> {
        self.parameter("error")
    }

    /// The scopes that the request needs, with blanks between them.
    pub fn scope(&self) -> Option<&str> {
        self.parameter("scope")
    }

    /// Where the server describes itself as a protected resource (RFC 9728).
    pub fn resource_metadata(&self) -> Option<&str> {
        self.parameter("resource_metadata")
    }

    /// Is the token good and not good enough?
    pub fn is_about_scope(&self) -> bool {
        self.status == 403 && self.error() == Some("insufficient_scope")
    }
}

/// Can this stand behind `Bearer`? What is wrong is said without a word of the token: errors are logged.
pub(crate) fn check_token(token: &str) -> Result<(), String> {
    if token.is_empty() || !token.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return Err(format!(
            "the bearer token of {} bytes is empty or has characters that no token has",
            token.len()
        ));
    }
    Ok(())
}

/// The token in the environment variable `name`.
pub(super) fn from_environment(name: &str) -> Result<String, Error> {
    match std::env::var(name) {
        Ok(token) if token.is_empty() => {
            Err(Error::config(format!("the environment variable {name} for the bearer token is empty")))
        }
        Ok(token) => Ok(token),
        Err(std::env::VarError::NotPresent) => {
            Err(Error::config(format!("the environment variable {name} for the bearer token is not set")))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::config(format!("the environment variable {name} for the bearer token is no text")))
        }
    }
}

/// The parameters of the first `Bearer` challenge among those in `header`.
fn bearer_parameters(header: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let (mut rest, mut is_bearer) = (header, false);
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if word.is_empty() && behind.is_empty() {
            return parameters;
        }
        match behind.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(value) => {
                let (value, behind) = take_value(value.trim_start_matches([' ', '\t']));
                if is_bearer && !word.is_empty() {
                    parameters.push((word.to_owned(), value));
                }
                rest = behind;
            }
            // A word that nothing is assigned to begins a challenge.
            None if is_bearer && !parameters.is_empty() => return parameters,
            None => {
                is_bearer = word.eq_ignore_ascii_case("bearer");
                rest = behind;
            }
        }
    }
}

/// A value, quoted or not, and what comes after it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(character),
        }
    }
    (value, "")
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {} from {}", self.status, self.server)?;
        if self.header.is_empty() { Ok(()) } else { write!(f, ": {}", self.header) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn challenge(header: &str) -> Challenge {
        Challenge::new("http://h/mcp", 401, header)
    }

    #[test]
    fn the_parameters_of_bearer_are_found_among_other_challenges() {
        let header = r#"Basic realm="a, b", bearer error="invalid_token", SCOPE = "x y",resource_metadata=http://h/m, Digest nonce="1""#;
        let challenge = challenge(header);
        assert_eq!(challenge.error(), Some("invalid_token"));
        assert_eq!(challenge.scope(), Some("x y"));
        assert_eq!(challenge.resource_metadata(), Some("http://h/m"));
        assert_eq!((challenge.parameter("realm"), challenge.parameter("nonce")), (None, None));
    }

    #[test]
    fn quoted_values_may_hold_anything_and_empty_headers_nothing() {
        assert_eq!(challenge(r#"Bearer a="x\"y\\z", b="#).parameter("a"), Some(r#"x"y\z"#));
        assert_eq!(challenge(r#"Bearer scope="never ends"#).scope(), Some("never ends"));
        for header in ["", "Bearer", "Bearer ,,", "Basic scope=\"x\"", "= , =", "Negotiate abc=="] {
            assert_eq!(challenge(header).scope(), None, "{header}");
        }
    }

    #[test]
    fn only_a_403_that_says_so_is_about_scope() {
        let header = r#"Bearer error="insufficient_scope", scope="w""#;
        assert!(Challenge::new("", 403, header).is_about_scope());
        assert!(!Challenge::new("", 401, header).is_about_scope());
        assert!(!Challenge::new("", 403, "Bearer").is_about_scope());
    }

    #[test]
    fn a_token_is_checked_and_not_repeated() {
        check_token("abc.def-~+/=").unwrap();
        for bad in ["", "secret word", "secret\r\n", "sécret"] {
            let error = check_token(bad).unwrap_err();
            assert!(bad.is_empty() || !error.contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in prop::collection::vec(("[a-z_]{1,8}", "[ -~]{0,20}"), 1..5)) {
            let escaped = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"");
            let written: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            prop_assert_eq!(bearer_parameters(&format!("Bearer {}", written.join(", "))), pairs);
        }

        #[test]
        fn no_header_makes_it_panic_or_run_on(header in "\\PC{0,200}") {
            bearer_parameters(&header);
        }
    }
}
