//! Handshake, discovery, lists: the parts of MCP that are the same for every connection.
//!
//! Pure functions from a request to an outcome. Which of them a connection may use, and when,
//! is decided in `session`. Clauses: MCP lifecycle, versioning, pagination and caching of each
//! revision. Proof: the tests below.

use super::args::Protocol;
use super::envelope::Members;
use super::fixtures;
use super::reply::{Fault, Outcome, closing, quote};
use super::revision::{Offer, Revision};
use super::tools;

/// Answers `initialize` with the revision it asks for, or else with our newest legacy one.
///
/// `newest_legacy` is the proof that a legacy revision is offered at all.
pub(super) fn initialize(
    params: &Members<'_>,
    protocol: &Protocol,
    newest_legacy: Revision,
) -> Result<(Revision, Outcome), Outcome> {
    let Some(asked) = params.text("protocolVersion") else {
        return Err(Fault::BAD_PARAMS.into());
    };
    let fits = |revision: &Revision| protocol.offer.contains(*revision) && !revision.is_modern();
    let revision = Revision::from_text(&asked).filter(fits).unwrap_or(newest_legacy);
    let capabilities = match protocol.fixtures {
        true => fixtures::capabilities(false, revision.text()).to_string(),
        false => format!(r#"{{{CAPABILITIES},"logging":{{}}}}"#),
    };
    let json = format!(
        r#"{{"protocolVersion":"{revision}","capabilities":{capabilities},"serverInfo":{SERVER_INFO}}}"#
    );
    Ok((revision, Outcome::result(json)))
}

/// Answers `server/discover`.
pub(super) fn discover(offer: &Offer, revision: Revision) -> Outcome {
    let (versions, closing) = (offer.modern_json(), closing(revision));
    Outcome::result(format!(
        r#"{{"supportedVersions":{versions},"capabilities":{{{CAPABILITIES}}},{CACHE_HINTS},"_meta":{{"io.modelcontextprotocol/serverInfo":{SERVER_INFO}}}{closing}"#
    ))
}

/// Whether a request bears the marks of the modern era.
pub(super) fn is_enveloped(params: &Members<'_>) -> bool {
    params.object("_meta").is_some_and(|meta| meta.get(VERSION_KEY).is_some())
}

/// The version that a modern request is made under, if it says so.
pub(super) fn asked_version(params: &Members<'_>) -> Option<String> {
    params.object("_meta")?.text(VERSION_KEY)
}

/// Checks what each modern request must carry, and says under which revision it is served.
pub(super) fn check_envelope(params: &Members<'_>, offer: &Offer) -> Result<Revision, Outcome> {
    let meta = params.object("_meta").ok_or(Fault::NO_VERSION)?;
    let asked = meta.text(VERSION_KEY).ok_or(Fault::NO_VERSION)?;
    meta.object(CAPABILITIES_KEY).ok_or(Fault::NO_CAPABILITIES)?;
    let fits = |revision: &Revision| offer.contains(*revision) && revision.is_modern();
    Revision::from_text(&asked).filter(fits).ok_or_else(|| unsupported_version(&asked, offer))
}

/// Refuses a revision and names those that would do.
pub(super) fn unsupported_version(asked: &str, offer: &Offer) -> Outcome {
    let data = format!(r#"{{"supported":{},"requested":{}}}"#, offer.modern_json(), quote(asked));
    Outcome::error(UNSUPPORTED_VERSION, "unsupported protocol version", Some(&data))
}

/// Answers `tools/list`, one page at a time.
///
/// A cursor is the place of the page's first tool; where the option asks for it, the second page
/// is named by the empty string instead.
pub(super) fn list_tools(params: &Members<'_>, protocol: &Protocol, revision: Revision) -> Outcome {
    let tools: Vec<_> = tools::list(revision).collect();
    let second_page = protocol.page_size.min(tools.len());
    let start = match params.get("cursor").map(|_| params.text("cursor")) {
        None => 0,
        Some(Some(cursor)) if cursor.is_empty() && protocol.empty_cursor => second_page,
        Some(cursor) => match cursor.and_then(|text| text.strip_prefix("tool-")?.parse().ok()) {
            Some(place) if place < tools.len() => place,
            _ => return Fault::BAD_CURSOR.into(),
        },
    };
    let end = start.saturating_add(protocol.page_size).min(tools.len());
    let page: Vec<String> = tools[start..end].iter().map(|tool| tool.json(revision)).collect();
    let next = match end {
        end if end == tools.len() => String::new(),
        end if end == second_page && protocol.empty_cursor => r#","nextCursor":"""#.to_owned(),
        end => format!(r#","nextCursor":"tool-{end}""#),
    };
    list("tools", &page.join(","), &next, revision)
}

/// Answers one of the lists that are empty here.
pub(super) fn empty_list(member: &str, revision: Revision) -> Outcome {
    list(member, "", "", revision)
}

fn list(member: &str, items: &str, next: &str, revision: Revision) -> Outcome {
    let comma = if revision.has_result_type() { "," } else { "" };
    let hints = if revision.has_result_type() { CACHE_HINTS } else { "" };
    let closing = closing(revision);
    Outcome::result(format!(r#"{{"{member}":[{items}]{next}{comma}{hints}{closing}"#))
}

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const CAPABILITIES: &str = r#""tools":{"listChanged":true},"resources":{},"prompts":{}"#;
const SERVER_INFO: &str =
    concat!(r#"{"name":"loadgen-target","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
/// What is listed never changes while the process lives, and is the same for everybody.
const CACHE_HINTS: &str = r#""ttlMs":60000,"cacheScope":"public""#;
const UNSUPPORTED_VERSION: i32 = -32022;
