//! Refreshing the token: once for all shards and calls, on a thread of its own, and not in a loop.
//!
//! ```text
//!          refused, a token may be had           brought: version + 1, fresh
//! Settled ------------------------------> Asked ------------------------------> Settled
//!                                               -- none: refused for a while --> Settled
//! ```
//!
//! A refusal of a request that had an older token asks for nothing: the newer one is there. A token that is *fresh*, which
//! means brought by the credentials and not yet accepted for any request, is not replaced when it is refused, for the next
//! one would be, too. A step-up, after 403 with `insufficient_scope`, is asked for once for the same scope; when there is none,
//! the token that there is stays good for all else.
//!
//! Owner: the engine; shards decide under one lock that nobody holds for long. Always: at most one thread asks.
//! Proof: below, and `tests/integration/authorization.rs`.

use std::{sync::Arc, time::Duration};

use crate::{
    base::time::Instant,
    config::credentials::{Challenge, Credentials},
    proto::exchange::Reason,
};

/// After credentials had no token, or one that was refused, they are left alone for so long. A person who has said no is not to
/// be asked again by each of a million calls.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// Step-ups for different scopes in that time; a server that thinks of more does not mean it.
const STEPS_MAX: usize = 16;

/// Who brings tokens, and how the last attempts went.
pub(super) struct Refresher {
    pub(super) credentials: Arc<dyn Credentials>,
    pub(super) server: String,
    asked: bool,
    /// What is asked for is a step-up.
    steps: bool,
    fresh: bool,
    refused_until: Instant,
    /// The scopes of the last step-ups, and until when each is not repeated.
    stepped: Vec<(Box<str>, Instant)>,
    error: Option<Reason>,
}

/// What a refusal means for the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It has failed.
    Final,
    /// It may be sent again: another token is there or on its way.
    Again,
    /// As `Again`, and whoever hears this has to ask for the token.
    Ask,
}

impl Refresher {
    pub(super) fn new(credentials: Arc<dyn Credentials>, server: String) -> Self {
        Self {
            credentials,
            server,
            asked: false,
            steps: false,
            fresh: false,
            refused_until: Instant::default(),
            stepped: Vec::new(),
            error: None,
        }
    }

    /// A request with the token of version `had` was refused, while `current` is the version of the one there is.
    pub(super) fn refused(&mut self, now: Instant, current: u64, had: u64, challenge: &Challenge) -> Verdict {
        if challenge.status() != 401 && !challenge.is_about_scope() {
            return Verdict::Final;
        }
        if had < current || self.asked {
            return Verdict::Again;
        }
        if challenge.is_about_scope() {
            let scope = challenge.scope().unwrap_or_default();
            self.stepped.retain(|(_, until)| now < *until);
            if self.stepped.len() >= STEPS_MAX || self.stepped.iter().any(|(last, _)| **last == *scope) {
                return Verdict::Final;
            }
            self.stepped.push((scope.into(), now.after(REFUSED_FOR)));
        } else if self.fresh {
            self.fresh = false;
            self.refused_until = now.after(REFUSED_FOR);
            self.error = Some("the token that was just brought is refused as well".into());
            return Verdict::Final;
        } else if now < self.refused_until {
            return Verdict::Final;
        }
        (self.asked, self.steps) = (true, challenge.is_about_scope());
        Verdict::Ask
    }

    /// A request with the current token was accepted.
    pub(super) fn accepted(&mut self) {
        self.fresh = false;
    }

    /// A token was brought.
    pub(super) fn brought(&mut self) {
        (self.asked, self.fresh) = (false, true);
        (self.error, self.refused_until) = (None, Instant::default());
    }

    /// No token could be had.
    pub(super) fn failed(&mut self, now: Instant, error: &str) {
        self.asked = false;
        if !self.steps {
            self.refused_until = now.after(REFUSED_FOR);
        }
        self.error = Some(error.into());
    }

    #[cfg(test)]
    fn is_asked(&self) -> bool {
        self.asked
    }

    /// Why there was no token the last time.
    pub(super) fn error(&self) -> Option<Reason> {
        self.error.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refresher() -> Refresher {
        Refresher::new(Arc::new(|_: &Challenge| Ok("t".to_owned())), "http://h/".to_owned())
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_ns(seconds * 1_000_000_000)
    }

    fn expired() -> Challenge {
        Challenge::new("http://h/", 401, "Bearer")
    }

    fn scope(scope: &str) -> Challenge {
        let header = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
        Challenge::new("http://h/", 403, &header)
    }

    #[test]
    fn one_of_many_refusals_asks() {
        let mut refresher = refresher();
        assert_eq!(refresher.refused(at(1), 1, 1, &expired()), Verdict::Ask);
        assert_eq!(refresher.refused(at(1), 1, 1, &expired()), Verdict::Again);
        assert!(refresher.is_asked());
        refresher.brought();
        assert!(!refresher.is_asked());
        // This one was on its way with the old token.
        assert_eq!(refresher.refused(at(2), 2, 1, &expired()), Verdict::Again);
        refresher.accepted();
        assert_eq!(refresher.refused(at(3), 2, 2, &expired()), Verdict::Ask);
    }

    #[test]
    fn a_fresh_token_that_is_refused_is_the_end_for_a_while() {
        let mut refresher = refresher();
        assert_eq!(refresher.refused(at(1), 0, 0, &expired()), Verdict::Ask);
        refresher.brought();
        assert_eq!(refresher.refused(at(1), 1, 1, &expired()), Verdict::Final);
        assert!(refresher.error().is_some());
        assert_eq!(refresher.refused(at(30), 1, 1, &expired()), Verdict::Final);
        assert_eq!(refresher.refused(at(31), 1, 1, &expired()), Verdict::Ask);
    }

    #[test]
    fn credentials_that_failed_are_left_alone_for_a_while() {
        let mut refresher = refresher();
        assert_eq!(refresher.refused(at(1), 0, 0, &expired()), Verdict::Ask);
        refresher.failed(at(1), "no");
        assert_eq!(refresher.error().as_deref(), Some("no"));
        assert_eq!(refresher.refused(at(2), 0, 0, &expired()), Verdict::Final);
        assert_eq!(refresher.refused(at(31), 0, 0, &expired()), Verdict::Ask);
    }

    #[test]
    fn a_step_up_that_failed_does_not_keep_the_token_from_being_refreshed() {
        let mut refresher = refresher();
        assert_eq!(refresher.refused(at(1), 1, 1, &scope("w")), Verdict::Ask);
        refresher.failed(at(1), "no");
        assert_eq!(refresher.refused(at(1), 1, 1, &scope("w")), Verdict::Final);
        assert_eq!(refresher.refused(at(1), 1, 1, &expired()), Verdict::Ask);
    }

    #[test]
    fn a_server_that_thinks_of_ever_new_scopes_is_not_followed() {
        let mut refresher = refresher();
        for n in 0..STEPS_MAX {
            assert_eq!(refresher.refused(at(1), 1, 1, &scope(&n.to_string())), Verdict::Ask);
            refresher.failed(at(1), "no");
        }
        assert_eq!(refresher.refused(at(1), 1, 1, &scope("more")), Verdict::Final);
        assert_eq!(refresher.refused(at(31), 1, 1, &scope("more")), Verdict::Ask);
    }

    #[test]
    fn a_step_up_is_asked_for_once_for_the_same_scope() {
        let mut refresher = refresher();
        assert_eq!(refresher.refused(at(1), 1, 1, &scope("w")), Verdict::Ask);
        refresher.brought();
        assert_eq!(refresher.refused(at(1), 2, 2, &scope("w")), Verdict::Final);
        assert_eq!(refresher.refused(at(1), 2, 2, &scope("x")), Verdict::Ask);
        refresher.brought();
        assert_eq!(refresher.refused(at(40), 3, 3, &Challenge::new("", 403, "Bearer")), Verdict::Final);
    }
}
