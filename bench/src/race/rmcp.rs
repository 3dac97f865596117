//! The client of the official Rust SDK over Streamable HTTP: as it comes, and with connections that are kept.
//!
//! The SDK's own HTTP client keeps no idle connection: every call opens one. That is what its users have
//! who do not know better, and it stands in the table as it comes. The others hand it an HTTP client that
//! pools, either one for all tasks, or one for each, so that no two calls share a transport. As many tasks
//! as connections, each awaiting one call at a time.

use std::num::NonZeroUsize;

use rmcp::service::ClientServiceExt;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpClientWorker};

use super::racer::{Course, Kind, Racer};
use crate::contestant::Failure;
use crate::meter::Run;
use crate::peer::{Client, Runtime, drive, lifecycle};

/// Who keeps connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Nobody.
    AsItComes,
    /// One client for all tasks.
    Shared,
    /// Each task has a client of its own.
    Each,
}

/// The SDK's client.
#[derive(Debug)]
pub struct Rmcp {
    /// Who keeps connections.
    pub pool: Pool,
    /// What carries it.
    pub runtime: Runtime,
}

impl Racer for Rmcp {
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

    fn runs_with(&self, connections: NonZeroUsize) -> bool {
        // One task has one client either way.
        self.pool != Pool::Each || connections.get() > 1
    }

    fn run(&self, course: &Course) -> Result<Run, Failure> {
        let tasks = course.connections.get();
        self.runtime.build()?.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..if self.pool == Pool::Each { tasks } else { 1 } {
                clients.push(self.connect(course).await?);
            }
            drive(clients, tasks, course.duration(), course.target_pid).await
        })
    }
}

impl Rmcp {
    async fn connect(&self, course: &Course) -> Result<Client, Failure> {
        let as_it_comes = |url: &str| StreamableHttpClientTransport::from_uri(url);
        let transport = match self.pool {
            Pool::AsItComes => as_it_comes(&course.url),
            Pool::Shared | Pool::Each => pooled(as_it_comes, &course.url),
        };
        Ok(().serve_with_lifecycle(transport, lifecycle(course.era)).await?)
    }
}

/// The same transport over the same kind of HTTP client in that one's default settings, in which it pools.
fn pooled<C: StreamableHttpClient + Default>(
    _like: fn(&str) -> StreamableHttpClientTransport<C>,
    url: &str,
) -> StreamableHttpClientTransport<C> {
    StreamableHttpClientTransport::spawn(StreamableHttpClientWorker::new_simple(url))
}
