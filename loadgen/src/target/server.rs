//! The event loop: one thread, all listeners, all connections, all timers.
//!
//! Each round polls, notes what became ready, does what is due and gives every ready connection
//! one turn. Edges are remembered, so a connection with more to do simply gets another turn in
//! the next round, after everybody else. The clock is read once a round.
//!
//! Bounds: one turn reads one slice and holds one bounded output; connections are bounded by
//! `--max-connections` and by the descriptors the machine gives us.

use std::io::{self, Write as _};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::args::{Options, Place};
use super::chaos;
use super::connection::{Connection, Next, Scratch, Wire};
use super::fixtures;
use super::http::{self, Http, Hub, Service, Talk};
use super::lines::Lines;
use super::listener::{Listener, Speech, Stream};
use super::stdio::{ParentWatch, Stdio};
use super::tls::TlsKeeper;
use super::websocket::WebSocket;
use super::world::{ConnectionKey, Job, Owner, Work, World};

/// Serves until a signal, the end of stdin or the end of the parent.
pub(super) fn run(options: Options) -> io::Result<()> {
    raise_descriptor_limit();
    let mut server = Server::open(&options)?;
    if let Some(bytes) = options.behaviour.stderr_flood {
        chaos::flood_stderr(bytes);
    }
    if options.protocol.fixtures {
        let mut key = [0; 32];
        fastrand::fill(&mut key);
        fixtures::seal_with(key);
    }
    let _children = spawn_children(options.behaviour.fork_children)?;
    server.run()
}

struct Server {
    poll: Poll,
    world: World,
    hub: Hub,
    listeners: Vec<Listener>,
    parent: Option<ParentWatch>,
    /// Readable when a signal has come.
    signals: UnixStream,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Connections that get a turn in the next round.
    queue: Vec<u32>,
    scratch: Scratch,
    /// The connection on stdio; the server ends with it.
    stdio: Option<ConnectionKey>,
    is_over: bool,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Server {
    fn open(options: &Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let signals = watch_signals(options.behaviour.ignore_term)?;
        let parent =
            options.exit_on_parent.then(|| ParentWatch::open(poll.registry(), PARENT)).transpose()?;
        let mut server = Self {
            poll,
            world: World::new(options, Instant::now()),
            hub: Hub::new(),
            listeners: Vec::new(),
            parent,
            signals,
            slots: Vec::new(),
            free: Vec::new(),
            queue: Vec::new(),
            scratch: Scratch::new(),
            stdio: None,
            is_over: false,
        };
        server.poll.registry().register(&mut server.signals, SIGNALS, Interest::READABLE)?;
        let speaks_on_stdout = options.listeners.contains(&Place::Stdio);
        let web = &options.web;
        let tls = web.tls.then(|| TlsKeeper::make(web.tls_ca.as_deref())).transpose()?;
        for place in &options.listeners {
            server.listen(place, tls.clone(), speaks_on_stdout)?;
        }
        Ok(server)
    }

    /// Opens one listener and announces it where the protocol does not go.
    fn listen(&mut self, place: &Place, tls: Option<TlsKeeper>, speaks_on_stdout: bool) -> io::Result<()> {
        let mut listener = match place {
            Place::Tcp(address) => Listener::tcp(*address, Speech::Lines, tls)?,
            Place::Http(address) => Listener::tcp(*address, Speech::Http(Service::Endpoint), tls)?,
            Place::Sse(address) => Listener::tcp(*address, Speech::Http(Service::Channel), tls)?,
            Place::WebSocket(address) => Listener::tcp(*address, Speech::WebSocket, tls)?,
            Place::Unix(path) => Listener::unix(path)?,
            Place::Stdio => {
                let ignores_end = self.world.behaviour.ignore_eof;
                let key = self.add(Stream::Stdio(Stdio::open()?), Speech::Lines, ignores_end)?;
                self.stdio = Some(key);
                return Ok(());
            }
        };
        listener.register(self.poll.registry(), Token(LISTENERS.0 - self.listeners.len()))?;
        let announcement = listener.announcement()?;
        self.listeners.push(listener);
        if speaks_on_stdout {
            return writeln!(io::stderr(), "{announcement}");
        }
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{announcement}")?;
        stdout.flush()
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_ROUND);
        self.is_over |= self.parent.as_mut().is_some_and(|parent| !parent.is_polled() && parent.has_ended());
        while !self.is_over {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.world.now = Instant::now();
            for event in &events {
                self.handle_event(event);
            }
            self.do_what_is_due();
            self.wake();
            self.give_turns();
            self.broadcast();
            http::release(&mut self.hub, &mut self.world, self.queue.is_empty());
            self.wake();
        }
        Ok(())
    }

    /// How long the poll may wait.
    fn patience(&self) -> Option<Duration> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.world.timers.next_due()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn handle_event(&mut self, event: &Event) {
        match event.token() {
            SIGNALS => self.is_over = true,
            PARENT => self.is_over |= self.parent.as_mut().is_some_and(ParentWatch::has_ended),
            Token(token) if token > LISTENERS.0 - self.listeners.len() => {
                self.accept_from(LISTENERS.0 - token);
            }
            Token(token) => {
                let Some(connection) = self.slots.get_mut(token).and_then(|slot| slot.connection.as_mut())
                else {
                    return;
                };
                connection.readable |= event.is_readable() || event.is_error() || event.is_read_closed();
                connection.closing |= event.is_read_closed() || event.is_error();
                if event.is_writable() || event.is_error() {
                    connection.handle_writable();
                }
                self.enqueue(token as u32);
            }
        }
    }

    fn enqueue(&mut self, index: u32) {
        let behaviour = &self.world.behaviour;
        if behaviour.accept_silent || behaviour.slow_read {
            return;
        }
        if let Some(connection) = &mut self.slots[index as usize].connection
            && !connection.is_queued
        {
            connection.is_queued = true;
            self.queue.push(index);
        }
    }

    fn do_what_is_due(&mut self) {
        while let Some(Job { owner, work }) = self.world.timers.pop_due(self.world.now) {
            let key = match owner {
                Owner::Server => {
                    (0..self.listeners.len()).for_each(|listener| self.accept_from(listener));
                    continue;
                }
                Owner::Exchange(exchange) => {
                    if let Some(key) = http::handle_due(&mut self.hub, &mut self.world, exchange, work) {
                        self.with_connection(key, |connection, world, hub, _| connection.pump(world, hub));
                    }
                    continue;
                }
                Owner::Connection(key) => key,
            };
            if matches!(work, Work::ReadOne) {
                self.with_connection(key, |connection, world, hub, scratch| {
                    connection.turn(world, hub, scratch)
                });
                if self.is_alive(key) {
                    self.world.arm(SLOW_READ_PERIOD, Owner::Connection(key), Work::ReadOne);
                }
                continue;
            }
            self.with_connection(key, |connection, world, hub, _| connection.handle_due(work, world, hub));
        }
    }

    fn give_turns(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        for index in queue.drain(..) {
            let slot = &mut self.slots[index as usize];
            let key = ConnectionKey { index, generation: slot.generation };
            if let Some(connection) = &mut slot.connection {
                connection.is_queued = false;
            }
            self.with_connection(key, |connection, world, hub, scratch| connection.turn(world, hub, scratch));
        }
        if self.queue.is_empty() {
            self.queue = queue;
        }
    }

    /// Lets one connection work and does what it wants next.
    fn with_connection(
        &mut self,
        key: ConnectionKey,
        work: impl FnOnce(&mut Connection, &mut World, &mut Hub, &mut Scratch) -> Next,
    ) {
        if !self.is_alive(key) {
            return;
        }
        let Some(connection) = &mut self.slots[key.index as usize].connection else { return };
        let next = work(connection, &mut self.world, &mut self.hub, &mut self.scratch);
        if self.world.dying {
            connection.flush_patiently();
            std::process::exit(EXIT_CODE_DIED);
        }
        match next {
            Next::Turn => self.enqueue(key.index),
            Next::Wait => {}
            Next::Close => self.close(key),
        }
        self.wake();
    }

    /// Passes notifications on to everybody who wants to hear of such things.
    fn broadcast(&mut self) {
        for (method, params) in std::mem::take(&mut self.world.broadcasts) {
            http::broadcast(&mut self.hub, &mut self.world, &method, &params);
            for index in 0..self.slots.len() as u32 {
                let key = ConnectionKey { index, generation: self.slots[index as usize].generation };
                self.with_connection(key, |connection, world, _, _| connection.hear(&method, &params, world));
            }
            self.wake();
        }
    }

    /// Gives a turn to each connection for which somebody else had something to write.
    fn wake(&mut self) {
        while let Some(key) = self.world.woken.pop() {
            if self.is_alive(key) {
                self.enqueue(key.index);
            }
        }
    }

    fn is_alive(&self, key: ConnectionKey) -> bool {
        let slot = &self.slots[key.index as usize];
        slot.generation == key.generation && slot.connection.is_some()
    }

    fn close(&mut self, key: ConnectionKey) {
        let slot = &mut self.slots[key.index as usize];
        if let Some(mut connection) = slot.connection.take() {
            connection.abandon(&mut self.world, &mut self.hub);
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(key.index);
        }
        self.is_over |= self.stdio == Some(key) && !self.world.behaviour.ignore_eof;
    }

    fn accept_from(&mut self, listener: usize) {
        loop {
            let stream = match self.listeners[listener].accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_about_one_client(&error) => continue,
                Err(_) => {
                    self.world.arm(ACCEPT_PAUSE, Owner::Server, Work::Accept);
                    return;
                }
            };
            let open = (self.slots.len() - self.free.len()) as u64;
            let is_full = self.world.behaviour.connections_max.is_some_and(|most| open >= most);
            if !is_full && self.add(stream, self.listeners[listener].speech(), false).is_err() {
                self.world.arm(ACCEPT_PAUSE, Owner::Server, Work::Accept);
                return;
            }
        }
    }

    fn add(&mut self, mut stream: Stream, speech: Speech, ignores_end: bool) -> io::Result<ConnectionKey> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        if let Err(error) = stream.register(self.poll.registry(), Token(index as usize)) {
            self.free.push(index);
            return Err(error);
        }
        let slot = &mut self.slots[index as usize];
        let key = ConnectionKey { index, generation: slot.generation };
        let wire = match speech {
            Speech::Lines => Wire::Lines(Box::new(Lines::new())),
            Speech::Http(service) => Wire::Http(Box::new(Http::new(Talk::new(key, service), &self.world))),
            Speech::WebSocket => Wire::WebSocket(Box::new(WebSocket::new(&self.world))),
        };
        slot.connection = Some(Box::new(Connection::new(stream, wire, key, ignores_end)));
        if self.world.behaviour.slow_read {
            self.world.arm(SLOW_READ_PERIOD, Owner::Connection(key), Work::ReadOne);
        }
        self.enqueue(index);
        Ok(key)
    }
}

/// A socket that becomes readable when SIGINT or, unless it is to be ignored, SIGTERM comes.
fn watch_signals(ignore_term: bool) -> io::Result<UnixStream> {
    let (receiver, sender) = UnixStream::pair()?;
    let sender = std::os::fd::OwnedFd::from(sender);
    if ignore_term {
        signal_hook::flag::register(SIGTERM, Arc::new(AtomicBool::new(false)))?;
    } else {
        signal_hook::low_level::pipe::register(SIGTERM, sender.try_clone()?)?;
    }
    signal_hook::low_level::pipe::register(SIGINT, sender)?;
    Ok(receiver)
}

/// Children that outlive their parent unless somebody ends the process group; they inherit
/// stdout and stderr, so those pipes stay open as well.
fn spawn_children(children: u64) -> io::Result<Vec<Child>> {
    (0..children)
        .map(|_| Command::new("sleep").arg("1000").stdin(std::process::Stdio::null()).spawn())
        .collect()
}

/// Asks for as many descriptors as we may have; ten thousand connections need them.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused means that the limit in force stays, and accepting will pause at it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Whether accepting failed over one client that went away, rather than over our means.
fn is_about_one_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

const SIGNALS: Token = Token(usize::MAX - 1);
const PARENT: Token = Token(usize::MAX - 2);
/// The token of the first listener; those of the others lie below it.
const LISTENERS: Token = Token(usize::MAX - 3);
const EVENTS_PER_ROUND: usize = 1024;
const SLOW_READ_PERIOD: Duration = Duration::from_millis(1);
/// How long accepting pauses when the machine is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const EXIT_CODE_DIED: i32 = 3;
