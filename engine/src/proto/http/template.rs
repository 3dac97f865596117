//! The heads of requests: written once for a session, copied for each request.
//!
//! Between two changes of session, revision or token, the head of a POST differs from the next one's only in its length and,
//! in the modern era, in the headers that mirror the body (`Mcp-Method`, `Mcp-Name`, `Mcp-Param-*`). The constant part is
//! kept as bytes; the mirrored part is found by looking at the front of the body, which this crate wrote itself.
//!
//! Cost: two copies and one number for a call; a hash lookup where tools have mirrored parameters. Proof: below, and
//! `tests/conformance`. Follows: MCP 2026-07-28, basic/transports, "Standard Request Headers".

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    plans::ToolPlans,
    request::{Plan, mirrored},
    settings::HttpSettings,
};
use crate::proto::revision::{Era, Revision};

/// The head of every request of a connection.
#[derive(Debug)]
pub(crate) struct Template {
    target: String,
    /// Where POSTs go, if elsewhere (HTTP+SSE).
    post_target: Option<String>,
    host: String,
    origin: String,
    headers: String,
    authorization: Option<Box<str>>,
    session: Option<Box<str>>,
    revision: Option<Revision>,
    /// All of a POST up to the value of `Content-Length`.
    post: Vec<u8>,
}

impl Template {
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        let mut template = Self {
            target: settings.target.clone(),
            post_target: None,
            host: settings.host.clone(),
            origin: settings.origin.clone(),
            headers: settings.headers.clone(),
            authorization: None,
            session: None,
            revision: None,
            post: Vec::new(),
        };
        template.compile();
        template
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// POSTs go there from now on (HTTP+SSE).
    pub(crate) fn set_post_target(&mut self, target: String) {
        self.post_target = Some(target);
        self.compile();
    }

    pub(crate) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub(crate) fn set_session(&mut self, session: Option<Box<str>>) {
        self.session = session;
        self.compile();
    }

    /// The revision for the header; the first revisions have none.
    pub(crate) fn set_revision(&mut self, revision: Option<Revision>) {
        if self.revision != revision {
            self.revision = revision;
            self.compile();
        }
    }

    /// The value of `Authorization`, or none.
    pub(crate) fn set_authorization(&mut self, value: Option<Box<str>>) {
        if self.authorization != value {
            self.authorization = value;
            self.compile();
        }
    }

    /// What the next request opens is a session of its own. Over HTTP+SSE it goes where its stream said.
    pub(crate) fn forget_session(&mut self) {
        (self.session, self.revision) = (None, None);
        self.compile();
    }

    /// POSTs go to the server's URL again.
    pub(crate) fn forget_post_target(&mut self) {
        self.post_target = None;
        self.compile();
    }

    fn compile(&mut self) {
        let mut post = std::mem::take(&mut self.post);
        post.clear();
        let target = self.post_target.as_deref().unwrap_or(&self.target);
        self.head(&mut post, "POST", target, "application/json, text/event-stream");
        post.extend_from_slice(b"Content-Type: application/json\r\nContent-Length: ");
        self.post = post;
    }

    /// Request line and constant headers.
    fn head(&self, out: &mut Vec<u8>, method: &str, target: &str, accept: &str) {
        for part in [method, " ", target, " HTTP/1.1\r\nHost: ", &self.host, "\r\nAccept: ", accept, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(self.headers.as_bytes());
        if let Some(authorization) = &self.authorization {
            for part in ["Authorization: ", authorization, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        if let Some(session) = &self.session {
            for part in ["Mcp-Session-Id: ", session, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        if let Some(revision) = self.revision.filter(|revision| revision.facts().version_header) {
            for part in ["MCP-Protocol-Version: ", revision.as_str(), "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }

    /// Writes a POST with `body`; returns where the body begins.
    pub(crate) fn post(&self, out: &mut Vec<u8>, body: &[u8], plans: Option<&ToolPlans>) -> usize {
        out.extend_from_slice(&self.post);
        out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
        if self.revision.is_some_and(|revision| revision.era() == Era::Modern) {
            out.extend_from_slice(b"\r\n");
            mirror(out, body, plans);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(b"\r\n\r\n");
        }
        let body_at = out.len();
        out.extend_from_slice(body);
        body_at
    }

    /// Writes a GET for a stream of events.
    pub(crate) fn get(&self, out: &mut Vec<u8>, last_event: Option<&str>) {
        self.head(out, "GET", &self.target, "text/event-stream");
        if let Some(id) = last_event {
            for part in ["Last-Event-ID: ", id, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes the DELETE that ends the session.
    pub(crate) fn delete(&self, out: &mut Vec<u8>) {
        self.head(out, "DELETE", &self.target, "application/json, text/event-stream");
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }
}

const METHOD: &[u8] = br#","method":""#;
const CALL: &[u8] = br#"tools/call","params":{"name":"#;

/// Writes the headers that say again what `body` says: method, name, and the parameters that the tool wants mirrored.
fn mirror(out: &mut Vec<u8>, body: &[u8], plans: Option<&ToolPlans>) {
    // Our own encoder wrote the body: head, id, method, params, with nothing between.
    // One of its first two commas stands before the method; a search for all of it would cost more than all the rest here.
    let front = &body[..body.len().min(64)];
    let Some(at) = memchr::memchr_iter(b',', front).find(|at| front[*at..].starts_with(METHOD)) else {
        if let Ok(asked) = serde_json::from_slice(body) {
            mirror_other(out, &asked);
        }
        return;
    };
    let method = &body[at + METHOD.len()..];
    if let Some(call) = method.strip_prefix(CALL)
        && let Some(end) = plain_string(call)
    {
        out.extend_from_slice(b"Mcp-Method: tools/call\r\nMcp-Name: ");
        let name = &call[1..end];
        // `plain_string` lets only printable ASCII pass.
        let name = std::str::from_utf8(name).unwrap_or_default();
        mirrored(out, name);
        out.extend_from_slice(b"\r\n");
        if let Some(plan) = plans.and_then(|plans| plans.get(name)) {
            write_params(out, body, plan);
        }
        return;
    }
    let Ok(asked) = serde_json::from_slice::<Asked<'_>>(body) else { return };
    mirror_other(out, &asked);
    if let Some(plans) = plans
        && asked.method == "tools/call"
        && let Some(plan) = text(asked.params.name).and_then(|name| plans.get(&*name))
    {
        write_params(out, body, plan);
    }
}

/// What of a request is mirrored. Read into no values: the arguments are the caller's, and may be anybody's.
#[derive(serde::Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: AskedOf<'a>,
}

#[derive(Default, serde::Deserialize)]
struct AskedOf<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, rename = "taskId")]
    task: Option<&'a RawValue>,
}

fn text(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

/// The place of the closing quote of a JSON string without escapes, of printable ASCII.
fn plain_string(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let end =
        1 + text[1..].iter().position(|byte| matches!(byte, b'"' | b'\\') || !(0x20..0x7f).contains(byte))?;
    (text[end] == b'"').then_some(end)
}

#[cold]
fn mirror_other(out: &mut Vec<u8>, asked: &Asked<'_>) {
    out.extend_from_slice(b"Mcp-Method: ");
    mirrored(out, &asked.method);
    out.extend_from_slice(b"\r\n");
    let params = &asked.params;
    let name = match &*asked.method {
        "tools/call" | "prompts/get" => params.name,
        "resources/read" => params.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.task,
        _ => None,
    };
    if let Some(name) = text(name) {
        out.extend_from_slice(b"Mcp-Name: ");
        mirrored(out, &name);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_params(out: &mut Vec<u8>, body: &[u8], plan: &Plan) {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    if !plan.is_empty()
        && let Ok(message) = serde_json::from_slice::<Message<'_>>(body)
        && let Some(arguments) = message.params.arguments
    {
        plan.write(arguments.get().as_bytes(), out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn template() -> Template {
        Template::new(&HttpSettings {
            target: "/mcp?x=1".to_owned(),
            host: "localhost:8080".to_owned(),
            origin: "http://localhost:8080".to_owned(),
            headers: "X-Own: 1\r\n".to_owned(),
            events_only: false,
            listen: false,
            may_multiplex: false,
            prior_knowledge: false,
            idle_timeout: Duration::from_secs(60),
            oldest_first: false,
        })
    }

    fn posted(template: &Template, body: &str) -> String {
        let mut out = Vec::new();
        let at = template.post(&mut out, body.as_bytes(), None);
        assert_eq!(&out[at..], body.as_bytes());
        String::from_utf8(out).unwrap()
    }

    const ECHO: &str =
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;

    #[test]
    fn a_legacy_post_has_session_and_version_but_no_mirrors() {
        let mut template = template();
        assert!(!posted(&template, ECHO).contains("Mcp-"));
        template.set_session(Some("s-1".into()));
        template.set_revision(Some(Revision::V2025_06_18));
        template.set_authorization(Some("Bearer t".into()));
        let text = posted(&template, ECHO);
        for line in [
            "POST /mcp?x=1 HTTP/1.1\r\n",
            "Host: localhost:8080\r\n",
            "Accept: application/json, text/event-stream\r\n",
            "Content-Type: application/json\r\n",
            "X-Own: 1\r\n",
            "Mcp-Session-Id: s-1\r\n",
            "MCP-Protocol-Version: 2025-06-18\r\n",
            "Authorization: Bearer t\r\n",
            &format!("Content-Length: {}\r\n\r\n{{", ECHO.len()),
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        assert!(!text.contains("Mcp-Method"));
        template.forget_session();
        assert!(!posted(&template, ECHO).contains("Mcp-Session-Id"));
    }

    #[test]
    fn the_first_streamable_revision_has_no_version_header() {
        let mut template = template();
        template.set_revision(Some(Revision::V2025_03_26));
        assert!(!posted(&template, ECHO).to_lowercase().contains("mcp-protocol-version"));
    }

    #[test]
    fn a_modern_post_mirrors_method_and_name() {
        let mut template = template();
        template.set_revision(Some(Revision::V2026_07_28));
        let text = posted(&template, ECHO);
        assert!(text.contains("Mcp-Method: tools/call\r\nMcp-Name: echo\r\n\r\n{"), "{text}");
        let odd = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a\"ä","arguments":{}}}"#;
        assert!(posted(&template, odd).contains("Mcp-Name: =?base64?YSLDpA==?=\r\n"));
        let read = r#"{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"_meta":{},"uri":"file:///a%20b"}}"#;
        let text = posted(&template, read);
        assert!(text.contains("Mcp-Method: resources/read\r\nMcp-Name: file:///a%20b\r\n\r\n"), "{text}");
        let list = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{}}"#;
        let text = posted(&template, list);
        assert!(text.contains("Mcp-Method: tools/list\r\n\r\n"), "{text}");
    }
}
