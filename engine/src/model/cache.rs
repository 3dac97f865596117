//! How long an answer may be kept, and for whom: the hints of revision 2026-07-28.
//!
//! The engine keeps nothing itself. It hands the hints on; when the answer was received is the caller's to remember, since the
//! time counts from there. Proof: `what_is_absent_or_odd_is_stale_and_private`.

use std::time::Duration;

use super::{text::open_text, tool::Members};

open_text! {
    /// For whom an answer may be kept.
    CacheScope {
        /// For everybody.
        Public = "public",
        /// For the authorisation it was got with.
        Private = "private",
    }
}

/// For how long an answer is fresh, counted from when it was received, and for whom.
///
/// ```
/// use std::time::Duration;
/// use volley::mcp::{CacheHints, CacheScope};
///
/// let none = CacheHints::default();
/// assert_eq!((none.ttl, none.scope), (Duration::ZERO, CacheScope::Private));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheHints {
    /// Zero if the server gave no time: it is stale at once.
    pub ttl: Duration,
    /// Private if the server did not say.
    pub scope: CacheScope,
}

impl Default for CacheHints {
    fn default() -> Self {
        Self { ttl: Duration::ZERO, scope: CacheScope::Private }
    }
}

impl CacheHints {
    /// Reads them from the members of a result.
    pub(crate) fn of(result: &Members) -> Self {
        let ttl = result.get("ttlMs").and_then(serde_json::Value::as_u64).map(Duration::from_millis);
        let scope = result.get("cacheScope").and_then(serde_json::Value::as_str).map(CacheScope::from);
        let default = Self::default();
        Self { ttl: ttl.unwrap_or(default.ttl), scope: scope.unwrap_or(default.scope) }
    }

    /// What holds for two answers together: the shorter time, the narrower scope.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let scope = if self.scope == CacheScope::Public { other.scope } else { self.scope };
        Self { ttl: self.ttl.min(other.ttl), scope }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hints(result: Value) -> CacheHints {
        CacheHints::of(&serde_json::from_value(result).unwrap())
    }

    #[test]
    fn what_is_absent_or_odd_is_stale_and_private() {
        let good = hints(json!({"ttlMs": 1500, "cacheScope": "public"}));
        assert_eq!(good, CacheHints { ttl: Duration::from_millis(1500), scope: CacheScope::Public });
        for odd in [json!({}), json!({"ttlMs": -1}), json!({"ttlMs": "5"}), json!({"cacheScope": null})] {
            assert_eq!(hints(odd), CacheHints::default());
        }
        let narrow = good.clone().and(hints(json!({"ttlMs": 2000, "cacheScope": "private"})));
        assert_eq!(narrow, CacheHints { ttl: Duration::from_millis(1500), scope: CacheScope::Private });
        assert_eq!(good.clone().and(good.clone()), good);
    }
}
