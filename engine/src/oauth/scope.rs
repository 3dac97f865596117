//! Which scopes to ask for.
//!
//! What the refusal names, or else all that the resource lists, or else none: then the authorization server decides. What has
//! been asked for before is asked for again, so that a step-up does not lose what the one before it won. `offline_access`
//! is the authorization server's to offer, and asked for when it does and a refresh token is wanted.
//! Follows: MCP 2026-07-28, basic/authorization, "Scope Selection Strategy"; RFC 6749, 3.3.

use std::collections::BTreeSet;

/// A set of scopes; its text is in alphabetical order.
pub(super) type Scopes = BTreeSet<String>;

const OFFLINE: &str = "offline_access";

/// What is known of the scopes when a token is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    /// Named by the refusal.
    pub(super) challenged: Option<&'a str>,
    /// Listed by the resource.
    pub(super) resource: Option<&'a [String]>,
    /// Listed by the authorization server.
    pub(super) server: Option<&'a [String]>,
    /// Asked for before.
    pub(super) before: Option<&'a Scopes>,
    pub(super) wants_refresh: bool,
}

/// The scopes to ask for; empty: leave the parameter out.
pub(super) fn select(known: Known<'_>) -> Scopes {
    let mut scopes = match (known.challenged, known.resource) {
        (Some(challenged), _) => split(challenged),
        (None, Some(listed)) => listed.iter().cloned().collect(),
        (None, None) => Scopes::new(),
    };
    scopes.extend(known.before.into_iter().flatten().cloned());
    scopes.remove(OFFLINE);
    let is_offered = known.server.is_some_and(|listed| listed.iter().any(|scope| scope == OFFLINE));
    // Alone it would take the place of all that the server gives by default.
    if is_offered && known.wants_refresh && !scopes.is_empty() {
        scopes.insert(OFFLINE.to_owned());
    }
    scopes
}

/// The scopes in a text, which blanks divide.
pub(super) fn split(text: &str) -> Scopes {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// As a text.
#[cfg(test)]
fn join(scopes: &Scopes) -> String {
    scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_comes_before_the_list_and_the_list_before_nothing() {
        let listed = ["r".to_owned(), "w".to_owned()];
        let known = Known { challenged: Some("a b"), resource: Some(&listed), ..Known::default() };
        assert_eq!(join(&select(known)), "a b");
        assert_eq!(join(&select(Known { challenged: None, ..known })), "r w");
        assert_eq!(join(&select(Known { challenged: None, resource: None, ..known })), "");
    }

    #[test]
    fn a_step_up_keeps_what_there_was() {
        let before = split("basic");
        let known = Known { challenged: Some("write"), before: Some(&before), ..Known::default() };
        assert_eq!(join(&select(known)), "basic write");
    }

    #[test]
    fn offline_access_is_the_authorization_servers_to_offer() {
        let offered = ["x".to_owned(), OFFLINE.to_owned()];
        let wanted = Known { challenged: Some("a"), wants_refresh: true, ..Known::default() };
        assert_eq!(join(&select(Known { server: Some(&offered), ..wanted })), "a offline_access");
        assert_eq!(join(&select(Known { server: Some(&offered), wants_refresh: false, ..wanted })), "a");
        assert_eq!(join(&select(Known { challenged: Some("a offline_access"), ..wanted })), "a");
        assert_eq!(join(&select(Known { challenged: None, server: Some(&offered), ..wanted })), "");
    }
}
