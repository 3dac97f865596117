//! The client of the official Rust SDK, used as its users use it.
//!
//! As many tasks as calls in flight, spread over the connections in turns, each calling the tool and awaiting the answer
//! before it calls again. A stream is handed over as tokio's own types, as the SDK's examples do; over stdio that is the
//! pipes of the child, what its child-process transport makes of them as well.
//!
//! Over HTTP the SDK's own client keeps no idle connection: every call opens one. That is what its users have who do not
//! know better, and it stands in the table as it comes. The others hand it an HTTP client that pools, either one for all
//! tasks, or one for each, so that no two calls share a transport. Either runtime can be chosen ([`Runtime`]).

use std::sync::Arc;

use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpClientWorker};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::net::{TcpStream, UnixStream};

use super::{Caller, Runtime, Tasks};
use crate::call::{Era, MESSAGE};
use crate::contestant::{Contestant, Course, Failure, Kind};
use crate::link::{Target, Transport};
use crate::meter::{Idle, Run};

/// Who keeps connections over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Nobody. Over streams there is no other way.
    AsItComes,
    /// One client for all tasks.
    Shared,
    /// Each task has a client of its own.
    Each,
}

impl Pool {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AsItComes, Self::Shared, Self::Each];
}

/// The SDK's client.
#[derive(Debug)]
pub struct Rmcp {
    /// Who keeps connections.
    pub pool: Pool,
    /// What carries it.
    pub runtime: Runtime,
}

impl Contestant for Rmcp {
    fn name(&self) -> &'static str {
        match (self.pool, self.runtime) {
            (Pool::AsItComes, Runtime::CurrentThread) => "rmcp, current-thread",
            (Pool::AsItComes, Runtime::MultiThread) => "rmcp, multi-thread",
            (Pool::Shared, Runtime::CurrentThread) => "rmcp pooled, current-thread",
            (Pool::Shared, Runtime::MultiThread) => "rmcp pooled, multi-thread",
            (Pool::Each, Runtime::CurrentThread) => "rmcp pooled each, current-thread",
            (Pool::Each, Runtime::MultiThread) => "rmcp pooled each, multi-thread",
        }
    }

    fn kind(&self) -> Kind {
        if self.pool == Pool::AsItComes { Kind::Rmcp } else { Kind::RmcpPooled }
    }

    fn runs(&self, course: &Course) -> bool {
        let http = course.transport == Transport::Http;
        course.array == 1
            && (course.transport != Transport::Stdio || course.connections == 1)
            && match self.pool {
                Pool::AsItComes => true,
                Pool::Shared => http,
                // One task has one client either way, and a thousand pools are nobody's client.
                Pool::Each => http && (2..=EACH_MAX).contains(&course.connections),
            }
    }

    fn run(&self, course: &Course) -> Result<Run, Failure> {
        self.runtime.build()?.block_on(async {
            let mut target = Target::start(course.transport, course.connections)?;
            let clients = match (course.transport, self.pool) {
                (Transport::Http, Pool::AsItComes | Pool::Shared) => 1,
                _ => course.connections,
            };
            let mut all = Vec::with_capacity(clients);
            for _ in 0..clients {
                all.push(Arc::new(self.connect(&mut target, course).await?));
            }
            let idle = Idle::now()?;
            let mut tasks = Tasks::new(course);
            for client in all.iter().cycle().take(course.calls_in_flight()) {
                let client = Arc::clone(client);
                tasks.spawn(Task(client));
            }
            tasks.measure(idle, target.pid()).await
        })
    }
}

/// More clients with a pool each than this take longer to be made than to be measured.
const EACH_MAX: usize = 64;

/// A client of the SDK that serves nothing.
type Client = RunningService<RoleClient, ()>;

impl Rmcp {
    async fn connect(&self, target: &mut Target, course: &Course) -> Result<Client, Failure> {
        let lifecycle = match course.era {
            Era::Modern => {
                ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
            }
            Era::Legacy => ClientLifecycleMode::Initialize,
        };
        Ok(match course.transport {
            Transport::Http => {
                let url = target.endpoint().ok_or("an HTTP target has an endpoint")?;
                let as_it_comes = |url: &str| StreamableHttpClientTransport::from_uri(url);
                let transport = match self.pool {
                    Pool::AsItComes => as_it_comes(&url),
                    Pool::Shared | Pool::Each => pooled(as_it_comes, &url),
                };
                ().serve_with_lifecycle(transport, lifecycle).await
            }
            Transport::Tcp => {
                let (read, _) = target.connect()?.into_parts()?;
                let stream = TcpStream::from_std(std::net::TcpStream::from(read))?;
                ().serve_with_lifecycle(stream, lifecycle).await
            }
            Transport::Unix => {
                let (read, _) = target.connect()?.into_parts()?;
                let stream = UnixStream::from_std(std::os::unix::net::UnixStream::from(read))?;
                ().serve_with_lifecycle(stream, lifecycle).await
            }
            Transport::Stdio => {
                let (read, write) = target.connect()?.into_parts()?;
                let pipes = (Receiver::from_owned_fd(read)?, Sender::from_owned_fd(write)?);
                ().serve_with_lifecycle(pipes, lifecycle).await
            }
        }?)
    }
}

/// The same transport over the same kind of HTTP client in that one's default settings, in which it pools.
fn pooled<C: StreamableHttpClient + Default>(
    _like: fn(&str) -> StreamableHttpClientTransport<C>,
    url: &str,
) -> StreamableHttpClientTransport<C> {
    StreamableHttpClientTransport::spawn(StreamableHttpClientWorker::new_simple(url))
}

/// A task with its share in a client.
struct Task(Arc<Client>);

impl Caller for Task {
    async fn call(&self) -> Result<(), Failure> {
        let mut arguments = serde_json::Map::new();
        arguments.insert("message".into(), MESSAGE.into());
        let result = self.0.call_tool(CallToolRequestParams::new("echo").with_arguments(arguments)).await?;
        match result.content.first().and_then(|content| content.as_text()) {
            Some(text) if text.text == MESSAGE => Ok(()),
            _ => Err(format!("not the echo of {MESSAGE:?}: {result:?}").into()),
        }
    }
}
