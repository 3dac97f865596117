//! The contestant to beat: the client of the official Rust SDK, used as its users use it.
//!
//! One connection, `in_flight` tasks, each calling the tool and awaiting the answer before it calls
//! again. The connection is handed over as tokio's own stream types, as the SDK's examples do; over
//! stdio that is the pipes of the child, what its child-process transport makes of them as well.
//! Either runtime can be chosen; see [`Runtime`] for which is the better one.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RunningService};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::contestant::Failure;
use crate::floor::{Era, MESSAGE};
use crate::link::{Target, Transport};
use crate::meter::{Meter, Run, warm_up};

/// Which tokio runtime carries the SDK.
///
/// Neither is always better: the current thread wins with one call at a time, by a quarter to a half,
/// and costs less CPU up to 64 in flight; workers win by an eighth to a third with 1,024 while a second
/// core is free. Both stand in the table, and a claim is made against the faster one of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Everything on the calling thread.
    CurrentThread,
    /// A worker for each core, the default of `#[tokio::main]`.
    MultiThread,
}

/// A client of the SDK that serves nothing.
pub(crate) type Client = RunningService<RoleClient, ()>;

/// Measures the SDK's client against a fresh target.
///
/// # Errors
///
/// When the target cannot be started, or a call fails.
pub fn measure(
    transport: Transport,
    runtime: Runtime,
    era: Era,
    in_flight: NonZeroUsize,
    duration: Duration,
) -> Result<Run, Failure> {
    runtime.build()?.block_on(async {
        let mut target = Target::start(transport)?;
        let client = connect(&mut target, transport, era).await?;
        drive(vec![client], in_flight.get(), duration, target.pid()).await
    })
}

impl Runtime {
    /// A fresh one.
    pub(crate) fn build(self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut builder = match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Self::MultiThread => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.enable_all().build()
    }
}

/// How a client opens in this era.
pub(crate) fn lifecycle(era: Era) -> ClientLifecycleMode {
    match era {
        Era::Modern => {
            ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
        }
        Era::Legacy => ClientLifecycleMode::Initialize,
    }
}

async fn connect(target: &mut Target, transport: Transport, era: Era) -> Result<Client, Failure> {
    let lifecycle = lifecycle(era);
    let (read, write) = target.connect()?.into_parts()?;
    Ok(match transport {
        Transport::Tcp => {
            let stream = TcpStream::from_std(std::net::TcpStream::from(read))?;
            ().serve_with_lifecycle(stream, lifecycle).await
        }
        Transport::Unix => {
            let stream = UnixStream::from_std(std::os::unix::net::UnixStream::from(read))?;
            ().serve_with_lifecycle(stream, lifecycle).await
        }
        Transport::Stdio => {
            let pipes = (Receiver::from_owned_fd(read)?, Sender::from_owned_fd(write)?);
            ().serve_with_lifecycle(pipes, lifecycle).await
        }
    }?)
}

/// Keeps `in_flight` tasks calling, spread over the clients in turns, and counts.
pub(crate) async fn drive(
    clients: Vec<Client>,
    in_flight: usize,
    duration: Duration,
    target_pid: u32,
) -> Result<Run, Failure> {
    let clients: Vec<_> = clients.into_iter().map(Arc::new).collect();
    let answered = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for client in clients.iter().cycle().take(in_flight) {
        let (client, answered, over) = (client.clone(), answered.clone(), over.clone());
        callers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                call(&client).await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), Failure>(())
        });
    }
    tokio::time::sleep(warm_up(duration)).await;
    let before = answered.load(Ordering::Relaxed);
    let meter = Meter::begin(target_pid)?;
    tokio::time::sleep(duration).await;
    let run = meter.end(answered.load(Ordering::Relaxed) - before)?;
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(run)
}

/// One call, and a look at its answer: who is fast and wrong does not count.
async fn call(client: &Client) -> Result<(), Failure> {
    let mut arguments = serde_json::Map::new();
    arguments.insert("message".into(), MESSAGE.into());
    let result = client.call_tool(CallToolRequestParams::new("echo").with_arguments(arguments)).await?;
    match result.content.first().and_then(|content| content.as_text()) {
        Some(text) if text.text == MESSAGE => Ok(()),
        _ => Err(format!("not the echo of {MESSAGE:?}: {result:?}").into()),
    }
}
