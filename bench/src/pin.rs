//! Pins this process, and every process and thread it starts afterwards, to one core.
//!
//! The one-core table is the repeatable one: nobody sleeps in another core's wake-up, and what a
//! client saves the target can use.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Pins the calling thread to the last core it may use; returns that core's number.
///
/// Call it before anything is started: children and threads inherit it. The last core, because
/// interrupts tend to be served by the first.
///
/// # Errors
///
/// When the system refuses.
pub fn to_one_core() -> std::io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let core = (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core));
    let core = core.ok_or_else(|| std::io::Error::other("no core is allowed"))?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one)?;
    Ok(core)
}
