//! Waiting for a future on a thread that has no executor, or on one of an executor's that must not stand still.
//!
//! With [`Driver::Tokio`] the shards are tasks. A task that is woken by a worker of a multi-thread runtime may stand in that worker's own
//! slot, out of which no other worker takes it; if the worker then blocks in the very call that the shard has to make, both wait for each
//! other. So a worker hands its tasks to another thread before it waits. A current-thread runtime has no other.
//!
//! Cost: for `Driver::Tokio` a look at a thread-local, otherwise a compare. Owner: nobody, these are functions. Proof:
//! `a_worker_of_the_runtime_that_drives_may_block` in `tests/integration/runtime.rs`.

use std::future::Future;

use crate::config::driver::Driver;

/// Waits for a future.
pub(super) fn block_on<F: Future>(driver: Driver, future: F) -> F::Output {
    blocking(driver, || pollster::block_on(future))
}

/// Does something that waits.
pub(super) fn blocking<T>(driver: Driver, wait: impl FnOnce() -> T) -> T {
    match driver {
        Driver::Thread => wait(),
        #[cfg(feature = "tokio")]
        Driver::Tokio => {
            use tokio::runtime::{Handle, RuntimeFlavor};
            match Handle::try_current().map(|handle| handle.runtime_flavor()) {
                Ok(RuntimeFlavor::CurrentThread) | Err(_) => wait(),
                Ok(_) => tokio::task::block_in_place(wait),
            }
        }
    }
}
