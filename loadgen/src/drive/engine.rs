//! The engine behind the seam: the only file of loadgen that names it.

use std::fmt;
use std::time::{Duration, Instant};

use volley::{Config, ConfigBuilder, ErrorKind, Inline, InlineOutcome, TlsConfig, Tool};

use super::shard::{Connect, Full, Outcome, Shard};
use crate::endpoint::Endpoint;
use crate::plan::Plan;
use crate::record::{ArrayCounts, HttpCounts};
use crate::web::{HttpVersion, Web};

/// Connects shards of the engine to one endpoint, as the plan says.
pub(crate) struct Engine<'a> {
    plan: &'a Plan,
    endpoint: &'a Endpoint,
}

/// A shard of the engine, driven inline, with the tool prepared.
pub(crate) struct EngineShard {
    /// There until it is dropped.
    inline: Option<Inline>,
    tool: Tool,
}

impl EngineShard {
    fn inline(&self) -> &Inline {
        self.inline.as_ref().expect("there until dropped")
    }

    fn inline_mut(&mut self) -> &mut Inline {
        self.inline.as_mut().expect("there until dropped")
    }
}

impl Drop for EngineShard {
    fn drop(&mut self) {
        // Waits until the servers it started are gone, which ending the process would not.
        if let Some(inline) = self.inline.take() {
            inline.close(|_, _, _| ());
        }
    }
}

/// All connections of a shard have to be ready within this.
const READY_WITHIN: Duration = Duration::from_secs(60);

impl<'a> Engine<'a> {
    /// Nothing is opened yet.
    pub(crate) const fn new(plan: &'a Plan, endpoint: &'a Endpoint) -> Self {
        Self { plan, endpoint }
    }

    /// Whether the engine would take these settings, headers and certificates among them.
    ///
    /// # Errors
    ///
    /// A reason for humans.
    pub(crate) fn check(plan: &Plan) -> Result<(), String> {
        config(plan, plan.connections_of(0)).map(drop)
    }
}

/// The plan in the engine's words.
fn config(plan: &Plan, connections: u32) -> Result<Config, String> {
    let mut builder = Config::builder()
        .connections(connections as usize)
        .window(match plan.adaptive {
            // A window that is smaller than a batch would take none, and grow by none.
            true => volley::Window::Adaptive { min: plan.batch.min(plan.in_flight), max: plan.in_flight },
            false => volley::Window::Fixed(plan.in_flight),
        })
        .timeout(plan.timeout)
        .timeout_at_most(plan.timeout)
        .spin(plan.spin)
        .array_calls_max(plan.batch.max(2))
        .client_info("loadgen", env!("CARGO_PKG_VERSION"));
    if let Some(revision) = plan.revision {
        let revision = revision.parse().map_err(|error: volley::UnknownRevision| error.to_string());
        builder = builder.revision(revision.expect("the plan admits only revisions that exist"));
    }
    let builder = with_version(builder, plan.web.version);
    with_web(builder, &plan.web).build().map_err(say)
}

/// Headers, token and certificates.
fn with_web(mut builder: ConfigBuilder, web: &Web) -> ConfigBuilder {
    for (name, value) in &web.headers {
        builder = builder.header(name, value);
    }
    if let Some(token) = &web.bearer {
        builder = builder.bearer(token);
    }
    match &web.ca {
        Some(pem) => builder.tls(TlsConfig::new().ca_pem(pem.clone())),
        None => builder,
    }
}

/// The one place where a version of HTTP is asked for.
fn with_version(builder: ConfigBuilder, version: HttpVersion) -> ConfigBuilder {
    builder.http_version(match version {
        HttpVersion::Auto => volley::HttpVersion::Auto,
        HttpVersion::Http1 => volley::HttpVersion::Http1,
        HttpVersion::Http2 => volley::HttpVersion::Http2,
    })
}

impl Connect for Engine<'_> {
    type Shard = EngineShard;

    fn connect(&self, index: u32) -> Result<EngineShard, String> {
        let connections = self.plan.connections_of(index);
        let endpoint = match self.endpoint {
            Endpoint::Tcp(address) => format!("tcp://{address}").parse().map_err(say)?,
            Endpoint::Url { .. } => self.endpoint.to_string().parse().map_err(say)?,
            Endpoint::Unix(path) => volley::Endpoint::Unix(path.clone()),
            Endpoint::Stdio { program, args } => volley::Command::new(program).args(args).into(),
        };
        let mut inline = Inline::connect(&endpoint, &config(self.plan, connections)?).map_err(say)?;
        let until = Instant::now() + READY_WITHIN;
        while inline.ready_connections() < connections as usize {
            let turned = inline.turn(Duration::from_millis(20), |_, _, _| ()).map_err(say);
            let ready = inline.ready_connections();
            let failed = match turned {
                Err(error) => error,
                Ok(_) if Instant::now() > until => {
                    format!("only {ready} of {connections} connections were ready within {READY_WITHIN:?}")
                }
                Ok(_) => continue,
            };
            // Servers that it started are to be gone before this program is.
            inline.close(|_, _, _| ());
            return Err(failed);
        }
        Ok(EngineShard { inline: Some(inline), tool: Tool::new(&self.plan.tool) })
    }
}

fn say(error: volley::Error) -> String {
    format!("{error}; {}", error.hint())
}

/// A failure in words.
struct Words(ErrorKind, volley::Fate);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (fate: {:?})", self.0, self.1)
    }
}

impl Shard for EngineShard {
    fn room(&self) -> usize {
        self.inline().room()
    }

    fn submit(&mut self, args: &[u8], tag: u64, now_ns: u64) -> Result<(), Full> {
        let Self { inline, tool } = self;
        let inline = inline.as_mut().expect("there until dropped");
        inline.submit_at(tool, args, tag, now_ns).map_err(|_| Full)
    }

    fn submit_batch(&mut self, calls: &[(&[u8], u64)], _: u64) -> usize {
        let Self { inline, tool } = self;
        inline.as_mut().expect("there until dropped").submit_batch(tool, calls)
    }

    fn arrays(&mut self) -> ArrayCounts {
        let stats = self.inline_mut().stats();
        ArrayCounts { sent: stats.arrays_sent, calls: stats.calls_in_arrays, refused: stats.arrays_refused }
    }

    fn turn(
        &mut self,
        wait_max: Duration,
        sink: &mut impl FnMut(u64, u64, Outcome<'_>),
    ) -> Result<(), String> {
        let turned = self.inline_mut().turn(wait_max, |tag, now_ns, outcome| match outcome {
            InlineOutcome::Result(line) => sink(tag, now_ns, Outcome::Answer(line)),
            InlineOutcome::RpcError(line) => sink(tag, now_ns, Outcome::RpcError(line)),
            InlineOutcome::Failed { kind: ErrorKind::Timeout, .. } => sink(tag, now_ns, Outcome::TimedOut),
            InlineOutcome::Failed { kind, fate } => sink(tag, now_ns, Outcome::Failed(&Words(kind, fate))),
            _ => sink(tag, now_ns, Outcome::Failed(&"an outcome this version does not know")),
        });
        turned.map(drop).map_err(say)
    }

    fn now_ns(&self) -> u64 {
        self.inline().now_ns()
    }

    fn http(&mut self) -> HttpCounts {
        let stats = self.inline_mut().stats();
        HttpCounts {
            sockets: stats.http_sockets,
            idle_closed: stats.http_idle_closed,
            requests: stats.http_requests,
            sessions_lost: stats.sessions_lost,
            streams_resumed: stats.streams_resumed,
        }
    }

    fn window(&mut self) -> u64 {
        self.inline_mut().stats().window
    }

    fn revision(&self) -> String {
        self.inline().revision().map_or_else(String::new, |revision| revision.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    fn refused(words: &[&str]) -> String {
        Engine::check(&plan(words).unwrap()).unwrap_err()
    }

    #[test]
    fn what_the_engine_would_not_take_is_said_before_anything_is_opened() {
        assert!(refused(&["http://h/", "-H", "Host: x"]).contains("Host"));
        // No certificate is in this file.
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(refused(&["https://h/", "--ca", file]).contains("no certificate"));
        for version in ["--http1", "--http2"] {
            Engine::check(&plan(&["http://h/", version, "-H", "X-Key: k"]).unwrap()).unwrap();
        }
    }
}
