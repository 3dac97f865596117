//! Who drives the shards of a client.

/// Who drives a client's event loops; set by [`ConfigBuilder::driver`](crate::ConfigBuilder::driver). The third way is
/// [`Inline`](crate::Inline), which has no shared client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub enum Driver {
    /// Threads of the client's own, one for each shard. Any executor will do, or none.
    #[default]
    Thread,
    /// The tokio runtime in whose context [`Client::connect`](crate::Client::connect) is called, with one task for each shard (feature
    /// `tokio`). Calls from tasks of that runtime wake no other thread, which makes single calls several times as
    /// fast; those from elsewhere work as well.
    ///
    /// The runtime needs its I/O and its time driver (`enable_all`, which `#[tokio::main]` has). The client lives no longer than
    /// the runtime: when that is shut down, calls that have not ended fail with [`ErrorKind::Closed`](crate::ErrorKind::Closed). While
    /// nobody runs the runtime nothing moves, time-outs included; so the calls of a [`blocking::Client`](crate::blocking::Client)
    /// must not block the only thread of the runtime that drives it (a worker of a multi-thread runtime may wait in them: it hands its
    /// tasks to another thread first). [`ConfigBuilder::spin`](crate::ConfigBuilder::spin) has no
    /// meaning here: a task that polls without end would starve the others.
    ///
    /// ```no_run
    /// use serde_json::json;
    /// use volley::{Client, Config, Driver};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), volley::Error> {
    /// let config = Config::builder().driver(Driver::Tokio).build()?;
    /// let client = Client::connect("tcp://127.0.0.1:9000", config).await?;
    /// println!("{}", client.call_tool("echo", &json!({"message": "hello"})).await?.text());
    /// client.close().await;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tokio")]
    Tokio,
}
