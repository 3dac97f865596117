//! The tools: what they are called, what they take, what they answer.
//!
//! [`execute`] is a question without side effects on the wire: it returns what is to happen and
//! the session lets it happen. A name that is no tool and arguments that do not fit are facts in
//! [`ToolError`]; the revision decides whether the latter is a result or an error.
//!
//! Proof: the tests below, one for each tool with an answer of its own.

use std::time::Duration;

use super::envelope::Members;
use super::reply::{Fault, Outcome, ToolResult, quote};
use super::revision::Revision;
use super::world::World;

/// What a call comes to.
#[derive(Debug)]
pub(super) enum Execution {
    /// It is done, and this is its answer.
    Done(Outcome),
    /// It is done after a wait.
    Later(Duration, Outcome),
    /// It reports `steps` times, one wait before each, and is done then.
    Steps { steps: u64, each: Duration, outcome: Outcome },
    /// It asks the client first, and the answer is what the client says.
    AskClient { method: String },
}

/// Why a call was not executed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToolError {
    UnknownTool,
    /// Says what was expected.
    BadArguments(&'static str),
}

impl ToolError {
    pub(super) fn outcome(self, revision: Revision) -> Outcome {
        match self {
            Self::UnknownTool => Fault::NO_TOOL.into(),
            Self::BadArguments(expected) if revision.reports_bad_arguments_in_results() => {
                failure(expected, revision)
            }
            Self::BadArguments(expected) => {
                Outcome::error(Fault::BAD_PARAMS.code, Fault::BAD_PARAMS.message, Some(&quote(expected)))
            }
        }
    }
}

/// Executes a call of any tool.
pub(super) fn execute(
    name: &str,
    arguments: &Members<'_>,
    revision: Revision,
    world: &mut World,
) -> Result<Execution, ToolError> {
    let outcome = match name {
        "echo" => {
            let message = arguments.text("message").ok_or(ToolError::BadArguments("message: a string"))?;
            return Ok(Execution::Done(echo(inside(&quote(&message)), revision, world)));
        }
        "count" => {
            world.executed += 1;
            text(&world.executed.to_string(), revision)
        }
        "sum" => sum(arguments, revision)?,
        "blob" => {
            let bytes = number(arguments, "bytes", BLOB_BYTES_MAX)
                .ok_or(ToolError::BadArguments("bytes: an integer from 0 to 268435456"))?;
            ToolResult::text(&vec![b'x'; bytes as usize], revision).end()
        }
        "fail" => {
            let message = arguments.text("message").ok_or(ToolError::BadArguments("message: a string"))?;
            failure(&message, revision)
        }
        "sleep" => {
            let wait = milliseconds(arguments)?;
            return Ok(Execution::Later(wait, text(&wait.as_millis().to_string(), revision)));
        }
        "progress" => {
            let steps = number(arguments, "steps", STEPS_MAX)
                .ok_or(ToolError::BadArguments("steps: an integer from 0 to 1000000"))?;
            let each = milliseconds(arguments)?;
            let outcome = text(&format!("{steps} steps"), revision);
            return Ok(match steps {
                0 => Execution::Done(outcome),
                _ => Execution::Steps { steps, each, outcome },
            });
        }
        "request_client" => {
            let method = arguments.text("method").ok_or(ToolError::BadArguments("method: a string"))?;
            if revision.is_modern() {
                return Ok(Execution::Done(failure("this revision has no requests to clients", revision)));
            }
            return Ok(Execution::AskClient { method });
        }
        _ => return Err(ToolError::UnknownTool),
    };
    Ok(Execution::Done(outcome))
}

/// Executes `echo`; `escaped` is the inside of a JSON string.
pub(super) fn echo(escaped: &[u8], revision: Revision, world: &mut World) -> Outcome {
    world.executed += 1;
    ToolResult::text(escaped, revision).with_tail(world.echo_tail(revision))
}

/// A result with this text.
pub(super) fn text(text: &str, revision: Revision) -> Outcome {
    ToolResult::text(inside(&quote(text)), revision).end()
}

fn failure(message: &str, revision: Revision) -> Outcome {
    ToolResult::text(inside(&quote(message)), revision).with_members(r#","isError":true"#)
}

fn sum(arguments: &Members<'_>, revision: Revision) -> Result<Outcome, ToolError> {
    let term = |key| {
        let json = arguments.get(key)?;
        serde_json::from_str::<serde_json::Number>(json).ok()
    };
    let (Some(a), Some(b)) = (term("a"), term("b")) else {
        return Err(ToolError::BadArguments("a, b: numbers"));
    };
    let total = match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => (a + b).to_string(),
        _ => {
            let total = a.as_f64().zip(b.as_f64()).map(|(a, b)| a + b).filter(|total| total.is_finite());
            let total = total.ok_or(ToolError::BadArguments("a, b: numbers whose sum is finite"))?;
            serde_json::to_string(&total).expect("a finite number is always JSON")
        }
    };
    let structured = format!(r#","structuredContent":{{"sum":{total}}}"#);
    let extra = if revision.has_structured_content() { structured.as_str() } else { "" };
    Ok(ToolResult::text(total.as_bytes(), revision).with_members(extra))
}

fn milliseconds(arguments: &Members<'_>) -> Result<Duration, ToolError> {
    let wait = number(arguments, "ms", SLEEP_MS_MAX);
    wait.map(Duration::from_millis).ok_or(ToolError::BadArguments("ms: an integer from 0 to 86400000"))
}

fn number(arguments: &Members<'_>, key: &str, most: u64) -> Option<u64> {
    arguments.get(key)?.parse().ok().filter(|&number| number <= most)
}

/// The inside of a JSON string.
fn inside(quoted: &str) -> &[u8] {
    &quoted.as_bytes()[1..quoted.len() - 1]
}

/// One tool as `tools/list` shows it.
pub(super) struct Definition {
    pub(super) name: &'static str,
    description: &'static str,
    /// The members of `properties`, as JSON.
    properties: &'static str,
    required: &'static str,
    output: Option<&'static str>,
    legacy_only: bool,
}

impl Definition {
    pub(super) fn json(&self, revision: Revision) -> String {
        let Self { name, description, properties, required, output, .. } = self;
        let output = output
            .filter(|_| revision.has_structured_content())
            .map(|schema| format!(r#","outputSchema":{schema}"#))
            .unwrap_or_default();
        format!(
            r#"{{"name":"{name}","description":"{description}","inputSchema":{{"type":"object","properties":{{{properties}}},"required":[{required}]}}{output}}}"#
        )
    }
}

/// The tools that a revision can have, in the order in which they are listed.
pub(super) fn list(revision: Revision) -> impl Iterator<Item = &'static Definition> {
    DEFINITIONS.iter().filter(move |tool| !(tool.legacy_only && revision.is_modern()))
}

const fn tool(
    name: &'static str,
    description: &'static str,
    properties: &'static str,
    required: &'static str,
) -> Definition {
    Definition { name, description, properties, required, output: None, legacy_only: false }
}

const DEFINITIONS: [Definition; 8] = [
    tool("echo", "Answers with the message", r#""message":{"type":"string"}"#, r#""message""#),
    Definition {
        output: Some(r#"{"type":"object","properties":{"sum":{"type":"number"}},"required":["sum"]}"#),
        ..tool("sum", "Adds two numbers", r#""a":{"type":"number"},"b":{"type":"number"}"#, r#""a","b""#)
    },
    tool("sleep", "Answers after a while", r#""ms":{"type":"integer","minimum":0}"#, r#""ms""#),
    tool("blob", "Answers with so many bytes", r#""bytes":{"type":"integer","minimum":0}"#, r#""bytes""#),
    tool("fail", "Fails with the message", r#""message":{"type":"string"}"#, r#""message""#),
    tool(
        "progress",
        "Reports its progress, then answers",
        r#""steps":{"type":"integer","minimum":0},"ms":{"type":"integer","minimum":0}"#,
        r#""steps","ms""#,
    ),
    tool("count", "Answers how often echo and count were executed, this time included", "", ""),
    Definition {
        legacy_only: true,
        ..tool(
            "request_client",
            "Sends the client a request and answers with its response",
            r#""method":{"type":"string"}"#,
            r#""method""#,
        )
    },
];

const BLOB_BYTES_MAX: u64 = 256 << 20;
const STEPS_MAX: u64 = 1_000_000;
const SLEEP_MS_MAX: u64 = 86_400_000;
