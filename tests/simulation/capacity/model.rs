//! Servers of a known capacity, clients that want all of it, and virtual time between them.
//!
//! A server has so many workers and one queue; it can become slower when too much waits in it, refuse what is more than it wants to hold,
//! or fail everything at once. A client is an engine core with as many connections as it is told, each to one of the servers, and always
//! as many calls as its windows take. The wire between them has a delay. What is measured are answers: how many, and how long each took
//! from its submission.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use fastrand::Rng;
use volley::{
    Config, Stats, Window,
    internals::exchange::{Core, End, Told, Wait},
};

/// What a server is like. Times are seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    pub(crate) workers: usize,
    pub(crate) service: f64,
    /// Which part of a service time is random (exponential); the rest is always the same.
    pub(crate) random: f64,
    /// There and back.
    pub(crate) delay: f64,
    /// From so many calls on, each is slower in proportion.
    pub(crate) collapses_at: usize,
    /// It refuses what would be more than this.
    pub(crate) holds: usize,
    /// It answers every call at once, with an error that says it is overloaded.
    pub(crate) is_broken: bool,
}

impl Nature {
    pub(crate) const fn workers(workers: usize, service: f64, delay: f64) -> Self {
        let (collapses_at, holds) = (usize::MAX, usize::MAX);
        Self { workers, service, random: 0.3, delay, collapses_at, holds, is_broken: false }
    }
}

/// A client of the model.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(crate) window: Window,
    /// To which server each of its connections goes.
    pub(crate) connections: Vec<usize>,
    /// When it comes, in seconds.
    pub(crate) from: f64,
    /// Calls in flight that it has at most, over all connections.
    pub(crate) most: usize,
}

impl Demand {
    pub(crate) fn one(window: Window) -> Self {
        Self { window, connections: vec![0], from: 0.0, most: usize::MAX }
    }
}

/// What was measured of one client.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) calls_per_s: f64,
    pub(crate) p99_ms: f64,
    pub(crate) refused_per_s: f64,
    /// By connection.
    pub(crate) answered: Vec<u64>,
    pub(crate) failed: Vec<u64>,
    pub(crate) stats: Stats,
}

enum Event {
    /// A request of this client's connection, with the id it has on the wire, has come to the server.
    Arrives(usize, u32, u64),
    /// A worker of this server is done.
    Served(usize, usize, u32, u64),
    /// Bytes come to the client.
    Comes(usize, u32, Vec<u8>),
    /// A client comes, or looks at its clock.
    Turn(usize),
}

struct Client {
    core: Core,
    demand: Demand,
    in_flight: usize,
    /// By id: when it was submitted, and on which connection it went out.
    calls: HashMap<u64, (u64, u32)>,
    made: u64,
    latencies: Vec<u64>,
    refused: u64,
    answered: Vec<u64>,
    failed: Vec<u64>,
    woken_at: u64,
}

struct Server {
    nature: Nature,
    queue: VecDeque<(usize, u32, u64)>,
    busy: usize,
}

struct Model {
    now: u64,
    rng: Rng,
    clients: Vec<Client>,
    servers: Vec<Server>,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event>,
    seq: u64,
    measured_from: u64,
}

const WAIT: Wait =
    Wait { timeout: Duration::from_secs(30), at_most: Duration::from_secs(60), progress: false };

const BODY: &[u8] = br#""method":"tools/call","params":{"name":"echo","arguments":{}"#;

/// Runs for so many seconds of virtual time, of which the first are not measured.
pub(crate) fn run(
    natures: &[Nature],
    demands: &[Demand],
    warm: f64,
    measured: f64,
    seed: u64,
) -> Vec<Measured> {
    let clients = demands.iter().enumerate().map(|(n, demand)| {
        let config = Config::builder()
            .connections(demand.connections.len())
            .window(demand.window)
            .seed(seed + n as u64)
            .build()
            .expect("a valid configuration");
        let connections = demand.connections.len();
        Client {
            core: Core::new(&config, seed + n as u64),
            demand: demand.clone(),
            in_flight: 0,
            calls: HashMap::new(),
            made: 0,
            latencies: Vec::new(),
            refused: 0,
            answered: vec![0; connections],
            failed: vec![0; connections],
            woken_at: u64::MAX,
        }
    });
    let servers = natures.iter().map(|nature| Server { nature: *nature, queue: Default::default(), busy: 0 });
    let mut model = Model {
        now: 0,
        rng: Rng::with_seed(seed),
        clients: clients.collect(),
        servers: servers.collect(),
        agenda: BinaryHeap::new(),
        events: Default::default(),
        seq: 0,
        measured_from: ns(warm),
    };
    for (n, demand) in demands.iter().enumerate() {
        model.at(ns(demand.from), Event::Turn(n));
    }
    model.go(ns(warm + measured));
    model.clients.iter_mut().map(|client| client.report(measured)).collect()
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl Client {
    fn report(&mut self, seconds: f64) -> Measured {
        self.latencies.sort_unstable();
        let p99 = self.latencies.get(self.latencies.len() * 99 / 100).copied().unwrap_or_default();
        Measured {
            calls_per_s: self.latencies.len() as f64 / seconds,
            p99_ms: p99 as f64 / 1e6,
            refused_per_s: self.refused as f64 / seconds,
            answered: self.answered.clone(),
            failed: self.failed.clone(),
            stats: self.core.stats(),
        }
    }
}

impl Model {
    fn at(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.events.insert(self.seq, event);
        self.agenda.push(Reverse((at, self.seq)));
    }

    fn go(&mut self, until: u64) {
        while let Some(Reverse((at, seq))) = self.agenda.pop() {
            if at > until {
                return;
            }
            self.now = at;
            match self.events.remove(&seq) {
                Some(Event::Turn(client)) => {
                    self.clients[client].woken_at = u64::MAX;
                    self.turn(client);
                }
                Some(Event::Comes(client, connection, bytes)) => {
                    let taken = self.clients[client].core.handle_received(self.now, connection, &bytes);
                    assert_eq!(taken, bytes.len(), "an answer fits into one read");
                    self.turn(client);
                }
                Some(Event::Arrives(client, connection, id)) => self.arrive(client, connection, id),
                Some(Event::Served(server, client, connection, id)) => {
                    self.servers[server].busy -= 1;
                    let result = r#""result":{"content":[{"type":"text","text":"well"}]}"#;
                    self.answer(client, connection, id, result);
                    self.serve(server);
                }
                None => {}
            }
        }
    }

    /// What a shard does: time, dialling, new calls, writing.
    fn turn(&mut self, n: usize) {
        let now = self.now;
        let client = &mut self.clients[n];
        if now >= client.core.poll_deadline() {
            client.core.handle_time(now);
        }
        while client.core.poll_hang_up().is_some() {}
        while let Some(connection) = client.core.poll_dial(now) {
            client.core.handle_opened(now, connection);
        }
        for told in client.core.take_told() {
            let Told::Ended { id, end, .. } = told else { continue };
            let (submitted, connection) = client.calls.remove(&id).expect("a call ends once");
            client.in_flight -= 1;
            if now < self.measured_from {
                continue;
            }
            match end {
                End::Result(_) => {
                    client.latencies.push(now - submitted);
                    client.answered[connection as usize] += 1;
                }
                End::Error(_) | End::Failed(..) => {
                    client.refused += 1;
                    client.failed[connection as usize] += 1;
                }
            }
        }
        while client.in_flight < client.demand.most {
            let Some(id) = client.core.submit(now, client.made, WAIT, BODY) else { break };
            client.calls.insert(id, (now, 0));
            client.made += 1;
            client.in_flight += 1;
        }
        client.core.assign(now);
        let mut sent = Vec::new();
        while let Some(connection) = client.core.poll_dirty() {
            let bytes = client.core.transmit(connection).to_vec();
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                sent.push((connection, line.to_vec()));
            }
            client.core.handle_transmitted(connection, bytes.len());
        }
        let deadline = client.core.poll_deadline();
        if deadline < client.woken_at && deadline != u64::MAX {
            client.woken_at = deadline;
            self.at(deadline.max(now + 1), Event::Turn(n));
        }
        for (connection, line) in sent {
            let server = self.clients[n].demand.connections[connection as usize];
            let delay = self.servers[server].nature.delay / 2.0;
            let at = now + self.jitter(delay);
            if is_call(&line) {
                let id = id_of(&line);
                self.clients[n].calls.get_mut(&id).expect("a call that was made").1 = connection;
                self.at(at, Event::Arrives(n, connection, id));
            } else if line.windows(16).any(|piece| piece == b"\"server/discover") {
                let result = r#""result":{"supportedVersions":["2026-07-28"],"capabilities":{},"serverInfo":{"name":"model","version":"1"}}"#;
                self.answer(n, connection, id_of(&line), result);
            }
        }
    }

    fn arrive(&mut self, client: usize, connection: u32, id: u64) {
        let at = self.clients[client].demand.connections[connection as usize];
        let server = &mut self.servers[at];
        if server.nature.is_broken || server.busy + server.queue.len() >= server.nature.holds {
            let error = r#""error":{"code":-32000,"message":"Server overloaded, try again later"}"#;
            self.answer(client, connection, id, error);
            return;
        }
        server.queue.push_back((client, connection, id));
        self.serve(at);
    }

    fn serve(&mut self, at: usize) {
        while self.servers[at].busy < self.servers[at].nature.workers {
            let Some((client, connection, id)) = self.servers[at].queue.pop_front() else { return };
            let server = &mut self.servers[at];
            server.busy += 1;
            let nature = server.nature;
            let load = (server.busy + server.queue.len()) as f64 / nature.collapses_at as f64;
            let random = -(1.0 - self.rng.f64()).ln();
            let service = nature.service * (1.0 - nature.random + nature.random * random) * load.max(1.0);
            self.at(self.now + ns(service), Event::Served(at, client, connection, id));
        }
    }

    fn answer(&mut self, client: usize, connection: u32, id: u64, what: &str) {
        let server = self.clients[client].demand.connections[connection as usize];
        let delay = self.servers[server].nature.delay / 2.0;
        let at = self.now + self.jitter(delay);
        let bytes = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{what}}}\n").into_bytes();
        self.at(at, Event::Comes(client, connection, bytes));
    }

    /// Clients that share a server must not march in step.
    fn jitter(&mut self, delay: f64) -> u64 {
        ns(delay * (0.9 + 0.2 * self.rng.f64())).max(1)
    }
}

fn is_call(line: &[u8]) -> bool {
    line.windows(12).any(|piece| piece == b"\"tools/call\"")
}

fn id_of(line: &[u8]) -> u64 {
    let text = std::str::from_utf8(line).expect("the engine writes text");
    let (_, id) = text.split_once("\"id\":").expect("a request has an id");
    let digits: String = id.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("the engine's ids are numbers")
}
