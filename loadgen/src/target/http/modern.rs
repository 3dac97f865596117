//! What a modern request over HTTP must carry, and the status of each refusal.
//!
//! The body is the truth; headers mirror it so that a proxy need not read it. A header that is
//! missing, repeated or different is refused with -32020. Values that are not plain ASCII come in
//! the sentinel form `=?base64?...?=`. Clause: MCP 2026-07-28, transports, Streamable HTTP.
//! Proof: the tests below and those of `endpoint`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::envelope::{Message, Request};
use super::super::fixtures;
use super::super::protocol;
use super::super::reply::{Fault, Outcome};
use super::super::revision::Revision;
use super::super::world::World;
use super::head::Head;
use super::refusal::Refusal;

/// Whether a message is meant for the modern era.
pub(super) fn is_meant(head: &Head<'_>, message: &Message<'_>, world: &World) -> bool {
    let offer = &world.protocol.offer;
    if offer.newest_modern().is_none() {
        return false;
    }
    if offer.newest_legacy().is_none() || head.version.is_some_and(names_modern) {
        return true;
    }
    match message {
        Message::Request(request) => {
            let is_free = head.session.is_none() || !world.web.has_sessions;
            let enveloped = protocol::is_enveloped(&request.params);
            is_free && (enveloped || request.method == "server/discover")
        }
        Message::Notification { params, .. } => head.session.is_none() && protocol::is_enveloped(params),
        Message::Response { .. } => false,
    }
}

/// Whether the version of a header is a modern one.
pub(super) fn names_modern(version: &[u8]) -> bool {
    let version = std::str::from_utf8(version).ok().and_then(Revision::from_text);
    version.is_some_and(Revision::is_modern)
}

/// Checks body and headers, and says under which revision the message is served.
pub(super) fn check(head: &Head<'_>, message: &Message<'_>, world: &World) -> Result<Revision, Refusal> {
    let offer = &world.protocol.offer;
    match message {
        Message::Response { .. } => Err(Refusal::new(400, Fault::NO_RESPONSES)),
        Message::Notification { .. } => {
            let version = head.version.ok_or_else(|| mismatch("MCP-Protocol-Version is missing"))?;
            let text = String::from_utf8_lossy(version);
            let revision = Revision::from_text(&text).filter(|r| r.is_modern() && offer.contains(*r));
            revision.ok_or_else(|| Refusal::new(400, protocol::unsupported_version(&text, offer)))
        }
        Message::Request(request) => {
            let params = &request.params;
            let Some(asked) = protocol::asked_version(params) else {
                // A client that opens as if this were the past is told what there is.
                return Err(Refusal::new(
                    400,
                    match request.method.as_str() {
                        "initialize" => {
                            let asked = params.text("protocolVersion").unwrap_or_default();
                            protocol::unsupported_version(&asked, offer)
                        }
                        _ => Fault::NO_VERSION.into(),
                    },
                ));
            };
            if head.repeats {
                return Err(mismatch("an Mcp header stands twice"));
            }
            match head.version {
                None => return Err(mismatch("MCP-Protocol-Version is missing")),
                Some(version) if version != asked.as_bytes() => {
                    return Err(mismatch("MCP-Protocol-Version differs from params._meta"));
                }
                Some(_) => {}
            }
            let revision =
                protocol::check_envelope(params, offer).map_err(|refusal| Refusal::new(400, refusal))?;
            check_mirrors(head, request)?;
            if request.method == "initialize" {
                return Err(Refusal::new(404, Fault::NO_METHOD));
            }
            if world.protocol.fixtures && request.method == "tools/call" {
                check_arguments(head, request)?;
            }
            Ok(revision)
        }
    }
}

fn check_mirrors(head: &Head<'_>, request: &Request<'_>) -> Result<(), Refusal> {
    match head.mcp_method {
        None => return Err(mismatch("Mcp-Method is missing")),
        Some(method) if method != request.method.as_bytes() => {
            return Err(mismatch("Mcp-Method differs from the method"));
        }
        Some(_) => {}
    }
    let member = match request.method.as_str() {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return Ok(()),
    };
    // A body without the member is refused for that, by whoever reads it.
    let Some(expected) = request.params.text(member) else { return Ok(()) };
    let name = head.mcp_name.ok_or_else(|| mismatch("Mcp-Name is missing"))?;
    match decode(name) {
        Some(name) if name == expected => Ok(()),
        Some(_) => Err(mismatch("Mcp-Name differs from the body")),
        None => Err(mismatch("Mcp-Name is malformed")),
    }
}

/// Checks the arguments that a tool wants to see in headers as well.
fn check_arguments(head: &Head<'_>, request: &Request<'_>) -> Result<(), Refusal> {
    let name = request.params.text("name").unwrap_or_default();
    let mirrored = fixtures::mirrored_arguments(&name);
    if mirrored.is_empty() {
        return Ok(());
    }
    let params = request.params.to_value();
    for argument in mirrored {
        let value = argument.path.iter().try_fold(&params["arguments"], |value, key| value.get(key));
        let value = value.filter(|value| !value.is_null());
        let header = head.mcp_params.iter().find(|(name, _)| name.eq_ignore_ascii_case(&argument.header));
        let complaint = match (value, header) {
            (None, None) => continue,
            (Some(_), None) => "is missing",
            (None, Some(_)) => "stands for no argument",
            (Some(value), Some((_, text))) => match decode(text) {
                Some(text) if is_same(value, &text) => continue,
                Some(_) => "differs from the argument",
                None => "is malformed",
            },
        };
        return Err(mismatch(&format!("Mcp-Param-{} {complaint}", argument.header)));
    }
    Ok(())
}

/// Whether an argument is what the text of a header says.
fn is_same(argument: &Value, text: &str) -> bool {
    match argument {
        Value::String(argument) => argument == text,
        Value::Bool(argument) => text == if *argument { "true" } else { "false" },
        Value::Number(argument) => text.parse().is_ok_and(|number: f64| argument.as_f64() == Some(number)),
        _ => false,
    }
}

/// The text a header value stands for; `None` when it is malformed.
pub(super) fn decode(value: &[u8]) -> Option<String> {
    let inner = value.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?="));
    match inner {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => {
            let is_plain = value.iter().all(|&byte| matches!(byte, b'\t' | b' '..=b'~'));
            is_plain.then(|| String::from_utf8(value.to_vec()).ok()).flatten()
        }
    }
}

/// The status of a refusal with this code.
pub(super) fn status(code: i32) -> u16 {
    if code == Fault::NO_METHOD.code { 404 } else { 400 }
}

fn mismatch(what: &str) -> Refusal {
    Refusal::new(400, Outcome::error(HEADER_MISMATCH, what, None))
}

const HEADER_MISMATCH: i32 = -32020;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_compared_by_what_they_mean() {
        let same = [("\"a b\"", "a b"), ("42", "42"), ("42", "42.0"), ("true", "true"), ("\"\"", "")];
        let different = [("\"a\"", "A"), ("42", "43"), ("42", "x"), ("true", "True"), ("{}", "{}")];
        for (cases, expected) in [(&same, true), (&different, false)] {
            for (argument, text) in cases {
                let argument = serde_json::from_str(argument).unwrap();
                assert_eq!(is_same(&argument, text), expected, "{argument} and {text}");
            }
        }
    }

    #[test]
    fn values_decode_to_what_was_meant() {
        assert_eq!(decode(b"plain value").as_deref(), Some("plain value"));
        assert_eq!(decode(b"").as_deref(), Some(""));
        assert_eq!(decode(b"=?base64?w7w=?=").as_deref(), Some("\u{fc}"));
        assert_eq!(decode(b"=?BASE64?w7w=?=").as_deref(), Some("=?BASE64?w7w=?="));
        for malformed in [&b"=?base64?w7w?="[..], b"=?base64?!!!!?=", b"=?base64?/w==?=", b"\xc3\xbc"] {
            assert_eq!(decode(malformed), None);
        }
    }
}
