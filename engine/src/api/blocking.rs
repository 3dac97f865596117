//! The client without async: the same calls, on a thread that waits.
//!
//! ```no_run
//! use serde_json::json;
//! use volley::{Config, blocking::Client};
//!
//! let client = Client::connect("stdio:python server.py", Config::default())?;
//! println!("{}", client.call_tool("echo", &json!({"message": "hello"}))?.text());
//! client.close();
//! # Ok::<(), volley::Error>(())
//! ```

use std::{borrow::Borrow, future::Future, time::Duration};

use serde::Serialize;

use super::{
    batch::Batch,
    block::{block_on, blocking},
    bulk::BlockingBulk,
    client,
};
use crate::{
    config::{Config, driver::Driver, endpoint::Endpoint},
    decode::answer::RawAnswer,
    error::Error,
    model::tool::{ToolCall, ToolDescription, ToolResult},
    telemetry::counters::Stats,
};

/// [`crate::Client`] for threads. Clones share everything; use it from as many threads as you like.
#[derive(Clone)]
pub struct Client(client::Client);

impl Client {
    /// As [`crate::Client::connect`].
    ///
    /// # Errors
    /// The same.
    pub fn connect<E>(endpoint: E, config: Config) -> Result<Self, Error>
    where
        E: TryInto<Endpoint>,
        Error: From<E::Error>,
    {
        block_on(config.values.driver, client::Client::connect(endpoint, config)).map(Self)
    }

    /// As [`crate::Client::call_tool`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn call_tool(&self, tool: &str, arguments: &impl Serialize) -> Result<ToolResult, Error> {
        self.block_on(self.0.call_tool_as(tool, arguments, true))
    }

    /// As [`crate::Client::call`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn call(&self, call: impl Borrow<ToolCall>) -> Result<ToolResult, Error> {
        self.block_on(self.0.make(call.borrow(), true))
    }

    /// As [`crate::Client::request`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn request(&self, method: &str, params: &impl Serialize) -> Result<RawAnswer, Error> {
        self.block_on(self.0.request(method, params))
    }

    /// As [`crate::Client::notify`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn notify(&self, method: &str, params: &impl Serialize) -> Result<(), Error> {
        self.block_on(self.0.notify(method, params))
    }

    /// As [`crate::Client::list_tools`], and waits.
    ///
    /// # Errors
    /// The same.
    pub fn list_tools(&self) -> Result<Vec<ToolDescription>, Error> {
        self.block_on(self.0.list_tools())
    }

    /// As [`crate::Client::bulk`], as an iterator.
    pub fn bulk<I: IntoIterator<Item = ToolCall>>(&self, calls: I) -> BlockingBulk<I::IntoIter> {
        self.0.bulk(calls).blocking()
    }

    /// As [`crate::Client::batch`]; [`Batch::send`] is awaited with [`BatchAnswers::wait`](crate::BatchAnswers::wait).
    pub fn batch(&self) -> Batch {
        self.0.batch()
    }

    /// As [`crate::Client::with_batch`], and waits.
    pub fn with_batch(&self, fill: impl FnOnce(&mut Batch)) -> Vec<Result<ToolResult, Error>> {
        self.block_on(self.0.with_batch(fill))
    }

    /// As [`crate::Client::stats`].
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// As [`crate::Client::drain`], and waits.
    pub fn drain(&self, deadline: Duration) -> bool {
        blocking(self.driver(), || self.0.engine().drain_blocking(deadline))
    }

    /// As [`crate::Client::close`], and waits.
    pub fn close(&self) {
        blocking(self.driver(), || self.0.engine().close_blocking());
    }

    /// The async client behind this one.
    pub fn as_async(&self) -> &client::Client {
        &self.0
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on(self.driver(), future)
    }

    fn driver(&self) -> Driver {
        self.0.engine().config.values.driver
    }
}
