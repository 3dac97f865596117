//! Other people's clients, used as their users use them, and what is common to all that run as tokio tasks.

pub mod jsonrpsee;
pub mod rmcp;
pub mod wrk;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;

use crate::contestant::{Course, Failure};
use crate::meter::{Idle, Latencies, Run};

/// Which tokio runtime carries the tasks.
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

impl Runtime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::CurrentThread, Self::MultiThread];

    /// A fresh one.
    pub(crate) fn build(self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut builder = match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Self::MultiThread => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.enable_all().build()
    }
}

/// Who calls again and again.
pub(crate) trait Caller: Send + Sync + 'static {
    /// One call, or one array, and a look at what came back: who is fast and wrong does not count.
    fn call(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Tasks that call for ever, each awaiting one answer at a time, until they are told that it is over.
pub(crate) struct Tasks {
    course: Course,
    shared: Arc<Shared>,
    callers: JoinSet<Result<Vec<u64>, Failure>>,
    /// How many calls of each were answered. One number for all would be a line of memory that every call fights for.
    answered: Vec<Arc<AtomicU64>>,
}

#[derive(Default)]
struct Shared {
    /// Whether latencies count: after the warm-up.
    measured: AtomicBool,
    over: AtomicBool,
}

impl Tasks {
    /// None yet.
    pub(crate) fn new(course: &Course) -> Self {
        Self { course: *course, shared: Arc::default(), callers: JoinSet::new(), answered: Vec::new() }
    }

    /// One more. An error ends it, and fails the run.
    pub(crate) fn spawn(&mut self, caller: impl Caller) {
        let (shared, latency, calls) =
            (Arc::clone(&self.shared), self.course.latency, self.course.array as u64);
        let answered = Arc::<AtomicU64>::default();
        self.answered.push(Arc::clone(&answered));
        self.callers.spawn(async move {
            let mut latencies = Vec::new();
            while !shared.over.load(Ordering::Relaxed) {
                let begun = latency.then(Instant::now);
                caller.call().await?;
                // Nobody else writes it.
                answered.store(answered.load(Ordering::Relaxed) + calls, Ordering::Relaxed);
                if let Some(begun) = begun.filter(|_| shared.measured.load(Ordering::Relaxed)) {
                    latencies.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
            }
            Ok(latencies)
        });
    }

    /// Lets them run for as long as the course says, and ends them.
    pub(crate) async fn measure(mut self, idle: Idle, target_pid: u32) -> Result<Run, Failure> {
        let duration = self.course.duration();
        tokio::time::sleep(self.course.warm_up()).await;
        let answered = || self.answered.iter().map(|of_one| of_one.load(Ordering::Relaxed)).sum();
        let meter = idle.begin(target_pid, answered())?;
        self.shared.measured.store(true, Ordering::Relaxed);
        tokio::time::sleep(duration).await;
        let run = meter.end(answered())?;
        self.shared.measured.store(false, Ordering::Relaxed);
        self.shared.over.store(true, Ordering::Relaxed);
        let mut latencies = Latencies::new();
        while let Some(ended) = self.callers.join_next().await {
            ended??.into_iter().for_each(|ns| latencies.note(ns));
        }
        Ok(Run { latency: latencies.summary(), ..run })
    }
}
