//! How servers say that they are too busy: the statuses, codes and words that count as a refusal, as a list of facts.
//!
//! JSON-RPC has no code for it, and the codes that servers use for it mean other things elsewhere (-32005 is "limit exceeded" in
//! EIP-1474 and "session not found" in tower-mcp; -32000 is "connection closed" in the TypeScript SDK). So a code of the server's own
//! range counts only together with a word that says so. What is seen in the field: -32000 "Rate limit exceeded" (gitlab-mcp-server,
//! bashkit), -32003 (turul), -32005 (sim-codec-mcp), -32009 "Server is busy, try again later" (jsonrpsee), -32010 "Rate limit
//! exceeded" (context-optimizer), and the statuses of HTTP as codes.
//!
//! Cost: looked at for answers with an error only, and only where somebody would act on it.

use serde::Deserialize;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    error: Said<'a>,
}

#[derive(Deserialize)]
struct Said<'a> {
    code: i64,
    #[serde(borrow, default)]
    message: std::borrow::Cow<'a, str>,
}

/// Too Many Requests (RFC 6585, 4) and Service Unavailable (RFC 9110, 15.6.4).
const STATUSES: [u16; 2] = [429, 503];

/// A backend that fails rather than works: no word about how much it can bear, but no place to send more to either.
const STATUSES_AILING: [u16; 4] = [500, 502, 503, 504];

/// What JSON-RPC 2.0 leaves to servers.
const CODES_OF_SERVERS: std::ops::RangeInclusive<i64> = -32099..=-32000;

/// What the messages of such errors say, in lower case.
const WORDS: [&str; 7] =
    ["rate limit", "too many", "busy", "overload", "over capacity", "throttl", "try again later"];

/// Does this status refuse a request because there are too many?
pub(crate) fn is_busy_status(status: u16) -> bool {
    STATUSES.contains(&status)
}

/// Does this status say that the server behind the connection is not well, whatever was asked?
pub(crate) fn is_ailing_status(status: u16) -> bool {
    is_busy_status(status) || STATUSES_AILING.contains(&status)
}

/// Does this JSON-RPC error refuse a call because there are too many?
pub(crate) fn is_busy_error(message: &[u8]) -> bool {
    let Ok(Message { error }) = serde_json::from_slice::<Message<'_>>(message) else { return false };
    if u16::try_from(error.code).is_ok_and(is_busy_status) {
        return true;
    }
    CODES_OF_SERVERS.contains(&error.code) && {
        let said = error.message.to_ascii_lowercase();
        WORDS.iter().any(|word| said.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_is_understood_and_nothing_else() {
        let says = |code: i64, message: &str| {
            is_busy_error(
                format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"{message}"}}}}"#)
                    .as_bytes(),
            )
        };
        assert!(says(-32000, "Rate limit exceeded"));
        assert!(says(-32009, "Server is busy, try again later"));
        assert!(says(-32005, "Too many requests"));
        assert!(says(429, "") && says(503, "nope"));
        assert!(!says(-32000, "Connection closed"));
        assert!(!says(-32001, "Session not found"));
        assert!(!says(-32603, "rate limit"), "an internal error is no refusal");
        assert!(!says(-32602, "too many arguments"), "the call is wrong, not the server busy");
        assert!(!is_busy_error(b"{}") && !is_busy_error(b""));
        assert!(is_busy_status(429) && is_busy_status(503) && !is_busy_status(500) && !is_busy_status(200));
        assert!(is_ailing_status(502) && !is_ailing_status(404));
    }
}
