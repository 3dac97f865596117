//! Starts the shards of a client and ends them: who is made first, who goes last.
//!
//! ```text
//! start:  memory -> porter, decode pool -> shards (poll, thread or task) -> first connection finds out the era -> the others
//! end:    shards end their calls, hang up, refuse what comes late -> threads or tasks end -> porter and pool end with the last handle
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    base::{
        limits::{LINES_FOR_KEPT_CHUNKS_MAX, READS_PER_TURN_MAX},
        sync::{Listener, Mutex},
    },
    config::{
        Config,
        dial::Dial,
        driver::Driver,
        endpoint::{Endpoint, Household},
    },
    decode::pool::Pool,
    error::{Error, ErrorKind, Phase},
    proto::{
        event::{Failure, Fate, Why},
        exchange::Exchange,
        revision::{Era, Revision},
    },
    queue::{completion::Cell, room::Room},
    shard::{
        Shard,
        alarm::Alarm,
        inbox::{Command, ShardHandle, Standing},
        memory::{Memory, ShardMemory},
        porter::Porter,
        runner::{Runner, desk::Desk},
    },
    slab::{Slab, key::KeyLayout, magazine::Magazine},
    telemetry::counters::Stats,
    transport::keeper,
};

#[cfg(feature = "tokio")]
use crate::{
    base::limits::READS_PER_TURN_OF_A_TASK_MAX,
    shard::runner::task::{Spawner, Task},
};

/// The running parts of a client.
pub(crate) struct Engine {
    pub(crate) handles: Vec<Arc<ShardHandle>>,
    pub(crate) config: Config,
    pub(crate) memory: Arc<Memory>,
    pub(crate) porter: Arc<Porter>,
    pub(crate) pool: Pool,
    /// A slot became free on some shard.
    pub(crate) room: Arc<Room>,
    /// Subscriptions that are open or being opened.
    pub(crate) subscriptions: AtomicU32,
    /// Tools that may not be called over HTTP, and why not.
    pub(crate) excluded_tools: Mutex<Vec<(String, String)>>,
    over_http: bool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Servers are child processes, so closing waits for them.
    household: Option<Household>,
}

/// Nobody waits longer than this for threads and children; they go on ending by themselves.
const END_WAIT_MAX: Duration = Duration::from_secs(15);

impl Engine {
    /// The shard whose turn it is, or the next that takes calls: one that has panicked refuses, one that has given up would fail them, and
    /// the others go on.
    pub(crate) fn willing_shard(&self, first: usize) -> usize {
        let shards = self.handles.len();
        let turn = move |n| (first % shards + n) % shards;
        let well = (0..shards).map(turn).find(|shard| self.handles[*shard].is_well());
        well.or_else(|| (0..shards).map(turn).find(|shard| !self.handles[*shard].is_refusing()))
            .unwrap_or(turn(0))
    }

    /// Resolves the endpoint and starts the shards; connections follow in the background.
    pub(crate) fn start(endpoint: &Endpoint, config: Config) -> Result<Self, Error> {
        let config = endpoint.fit(config);
        let dial = Arc::new(Dial::resolve(endpoint, &config)?);
        let household = dial.household();
        let values = config.values.clone();
        let crew = Crew::of(values.driver)?;
        let seed = values.seed.unwrap_or_else(|| fastrand::u64(..));
        let memory = Arc::new(
            Memory::of(endpoint.shared_address(&config), config.is_anonymous())
                .with_arrays(endpoint.http_url())
                .with_tokens(
                    endpoint.http_url(),
                    values.http.authorization(),
                    values.http.credentials.clone(),
                ),
        );
        let porter =
            Porter::new(values.on_notification.clone(), values.on_request.clone()).map_err(system)?;
        let porter = Arc::new(porter);
        let pool = Pool::new(values.decode_workers).map_err(system)?;
        let room = Arc::new(Room::new());
        let (mut handles, mut runners) = (Vec::new(), Vec::new());
        for n in 0..values.shards {
            let window = config.window_of(n);
            let single = window + values.queue.unwrap_or(window);
            let standing_max = values.subscriptions_max;
            // Slot 0 is the exchange's, then come those of subscriptions and of single calls, which have cells, and those of bulk jobs, which have none.
            let with_cells = 1 + standing_max + single;
            let slots = with_cells + window;
            let layout = KeyLayout::for_slots(slots, n, values.shards);
            let magazine = Magazine::alone(layout, with_cells, window);
            let slab = Slab::new(layout, with_cells, Cell::new);
            let control = slab.draw(1);
            debug_assert_eq!(control.len(), 1);
            let standing = Standing { slots: 1..1 + standing_max, free: Mutex::new(slab.draw(standing_max)) };
            let handle = Arc::new(ShardHandle::new(slab, standing, Arc::clone(&room)));
            let view = ShardMemory { memory: Arc::clone(&memory), may_probe: n == 0 };
            let mut settings = config.settings(n, seed.wrapping_add(n as u64));
            settings.http = endpoint.http_settings(&config);
            let is_http = settings.http.is_some();
            let exchange = Exchange::new(settings, Arc::new(view), layout, slots, magazine);
            // On many lines, as over HTTP, a read seldom brings more than a few answers.
            let copies_short = is_http || exchange.lines() > LINES_FOR_KEPT_CHUNKS_MAX;
            let on_stderr = values.on_stderr.clone();
            let spin = crew.spin(values.spin);
            let mut shard = Shard::new(exchange, Arc::clone(&dial), spin, values.close_grace, on_stderr)
                .map_err(system)?;
            shard.reads_per_turn = crew.reads_per_turn();
            handle.set_alarm(crew.alarm(&shard).map_err(system)?);
            let desk = Desk::new(
                Arc::clone(&handle),
                Arc::clone(&porter),
                pool.clone(),
                values.decode_offload_bytes,
                copies_short,
            );
            runners.push(Runner::new(shard, desk, Arc::clone(&handle)));
            handles.push(handle);
        }
        let others: Vec<_> = handles.iter().map(Arc::downgrade).collect();
        memory.tell(move || {
            // Like a claim: a shard that is about to sleep looks again.
            others.iter().filter_map(std::sync::Weak::upgrade).for_each(|shard| shard.announce())
        });
        let mut threads = Vec::new();
        for (n, runner) in runners.into_iter().enumerate() {
            match crew.start(n, runner) {
                Ok(thread) => threads.extend(thread),
                Err(error) => {
                    handles.iter().for_each(|handle| handle.command(Command::Close));
                    return Err(error);
                }
            }
        }
        Ok(Self {
            handles,
            config,
            memory,
            porter,
            pool,
            room,
            over_http: matches!(endpoint, Endpoint::Http(_)),
            subscriptions: AtomicU32::new(0),
            excluded_tools: Mutex::default(),
            threads: Mutex::new(threads),
            household,
        })
    }

    /// The parts of a client with no thread and no connection, whose one shard somebody else plays.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn still(config: Config) -> Self {
        let slots = 1 + config.window_of(0);
        let slab = Slab::new(KeyLayout::for_slots(slots, 0, 1), slots, Cell::new);
        // Slot 0 is no call's, as in a client that runs.
        let standing = Standing { slots: 0..1, free: Mutex::new(slab.draw(1)) };
        let room = Arc::new(Room::new());
        let handle = ShardHandle::new(slab, standing, Arc::clone(&room));
        Self::of_handles(vec![Arc::new(handle)], config, room)
    }

    /// The callers' side of an engine whose shards somebody else runs, or nobody.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn of_handles(handles: Vec<Arc<ShardHandle>>, config: Config, room: Arc<Room>) -> Self {
        Self {
            handles,
            config,
            memory: Arc::default(),
            porter: Arc::new(Porter::new(None, None).expect("without a handler no thread is started")),
            pool: Pool::default(),
            room,
            over_http: false,
            subscriptions: AtomicU32::new(0),
            excluded_tools: Mutex::default(),
            threads: Mutex::default(),
            household: None,
        }
    }

    /// The revision that calls are made in, as far as it is known.
    pub(crate) fn revision(&self) -> Option<Revision> {
        let said = self.memory.info().and_then(|info| info.revision());
        said.or(self.config.values.revision).or_else(|| self.memory.recall())
    }

    /// Are parameters of tools mirrored in headers? So it is over HTTP in the modern era.
    pub(crate) fn mirrors_parameters(&self) -> bool {
        self.over_http && self.memory.recall().is_some_and(|revision| revision.era() == Era::Modern)
    }

    /// Waits until a first connection takes calls.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        loop {
            // The first shard finds out for all; if it cannot connect, none can.
            let first = &self.handles[0];
            let listener = first.status.changed.listen();
            if first.status.ready.load(Ordering::Acquire) > 0 {
                return Ok(());
            }
            if first.status.down.load(Ordering::Acquire) {
                let unauthorized = first.status.unauthorized.load(Ordering::Acquire);
                let why = if unauthorized { Why::Unauthorized } else { Why::Unreachable };
                return Err(first.error(Failure { why, fate: Fate::NotSent }));
            }
            if first.is_closed() {
                return Err(first.error(Failure { why: Why::Closed, fate: Fate::NotSent }));
            }
            listener.await;
        }
    }

    /// A shard's turn at the next call.
    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.handles.iter().for_each(|handle| sum.add(&handle.stats.read()));
        sum
    }

    /// No new calls; those taken on may end within `wait`, then the rest is ended. `true` if none had to be.
    pub(crate) fn drain_blocking(&self, wait: Duration) -> bool {
        self.handles.iter().for_each(|handle| handle.command(Command::Drain));
        let drained = self.wait_closed(wait);
        self.close_blocking();
        drained
    }

    /// Ends everything now and waits until it has ended.
    pub(crate) fn close_blocking(&self) {
        self.send_close();
        if self.wait_closed(END_WAIT_MAX) {
            let threads = std::mem::take(&mut *self.threads.lock());
            for thread in threads {
                // A shard's panic has been dealt with on its own thread.
                let _ = thread.join();
            }
        }
        self.porter.close();
        if let Some(household) = self.household {
            keeper::wait_until_settled(household, END_WAIT_MAX);
        }
    }

    fn send_close(&self) {
        for handle in &self.handles {
            handle.refuse();
            handle.command(Command::Close);
        }
    }

    fn wait_closed(&self, wait: Duration) -> bool {
        let until = std::time::Duration::from_nanos(crate::shard::clock::Clock::new().now().ns())
            .saturating_add(wait);
        for handle in &self.handles {
            loop {
                let listener = handle.status.changed.listen();
                if handle.is_closed() {
                    break;
                }
                let now = Duration::from_nanos(crate::shard::clock::Clock::new().now().ns());
                if now >= until || listener.wait_timeout(until - now).is_none() && !handle.is_closed() {
                    return false;
                }
            }
        }
        true
    }
}

/// Whoever drives the shards.
enum Crew {
    Threads,
    #[cfg(feature = "tokio")]
    Tasks(Spawner),
}

impl Crew {
    fn of(driver: Driver) -> Result<Self, Error> {
        match driver {
            Driver::Thread => Ok(Self::Threads),
            #[cfg(feature = "tokio")]
            Driver::Tokio => Spawner::here().map(Self::Tasks).ok_or_else(|| {
                Error::config("driver is Tokio, and connect was called in the context of no tokio runtime")
            }),
        }
    }

    /// How long a shard of theirs polls before it sleeps.
    fn spin(&self, spin: Duration) -> Duration {
        match self {
            Self::Threads => spin,
            #[cfg(feature = "tokio")]
            Self::Tasks(_) => Duration::ZERO,
        }
    }

    /// Slices that a shard of theirs reads of a line in one turn.
    fn reads_per_turn(&self) -> usize {
        match self {
            Self::Threads => READS_PER_TURN_MAX,
            #[cfg(feature = "tokio")]
            Self::Tasks(_) => READS_PER_TURN_OF_A_TASK_MAX,
        }
    }

    fn alarm(&self, shard: &Shard) -> std::io::Result<Alarm> {
        match self {
            Self::Threads => shard.waker().map(Alarm::Poll),
            #[cfg(feature = "tokio")]
            Self::Tasks(_) => Ok(Alarm::of_task()),
        }
    }

    /// Sets a shard going; a thread is there to be joined.
    fn start(&self, n: usize, runner: Runner) -> Result<Option<JoinHandle<()>>, Error> {
        match self {
            Self::Threads => {
                let thread = thread::Builder::new().name(format!("volley-shard-{n}"));
                thread.spawn(move || runner.run()).map(Some).map_err(system)
            }
            #[cfg(feature = "tokio")]
            Self::Tasks(spawner) => {
                let task = Task::new(runner).map_err(|lack| {
                    Error::config(format!("driver is Tokio, and this runtime cannot drive a shard: {lack}"))
                })?;
                spawner.spawn(task);
                Ok(None)
            }
        }
    }
}

fn system(error: std::io::Error) -> Error {
    let context = format!("the system refused the engine a thread or a poll: {error}");
    Error::new(ErrorKind::Internal, Fate::NotSent, Phase::Prepare, context).because(error)
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The last client has gone without closing: the shards end by themselves, and nobody waits.
        self.send_close();
        self.porter.close();
    }
}
