//! Many callers on few connections, and windows that follow the server, over real sockets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use volley::{Config, ConfigBuilder, ErrorKind, HttpReuse, Stats, Window};
use volley_tests::{
    http_server::{self, HttpServer, Then},
    processes,
    target::{ERAS, Target},
    wait::until_blocking,
};

use crate::servers::{Account, Server, adds_up, echo, echoes, message};

const ADAPTIVE: Window = Window::Adaptive { min: 1, max: 32 };

/// Each of ten thousand tasks has a clone of its own and makes its calls one after the other, all over fifty connections.
#[test]
fn ten_thousand_callers_share_fifty_connections() {
    const CALLERS: u64 = 10_000;
    const EACH: u64 = 3;
    let server = Server::target(&[]);
    let client = server.connect(Config::builder().shards(2).connections(50).in_flight(32));
    until_blocking("all connections are ready", || client.ready_connections() == 50);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let before = resident_kib();
    let account = runtime.block_on(async {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let client = client.clone();
                tokio::spawn(async move {
                    let mut answers = Vec::new();
                    for n in caller * EACH..(caller + 1) * EACH {
                        let result = client.call(echo(n)).await.expect("an answer");
                        assert_eq!(result.text(), message(n));
                        answers.push((n, result.text()));
                    }
                    answers
                })
            })
            .collect();
        let mut account = Account::new(CALLERS * EACH);
        for caller in callers {
            for (n, text) in caller.await.expect("no caller panicked") {
                account.enter(n, &text);
            }
        }
        account
    });
    println!("{CALLERS} callers: {} KiB resident before, {} KiB after", before, resident_kib());
    pollster::block_on(client.close());
    let stats = client.stats();
    assert_eq!((stats.connects, stats.disconnects), (50, 0), "{stats:?}");
    account.close(&stats, 0);
}

fn resident_kib() -> u64 {
    let line = processes::status(std::process::id(), "VmRSS:").unwrap_or_default();
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or_default()
}

/// Ten connections answer as one would, however they are picked, and each of them is used.
#[test]
fn an_adaptive_window_loses_nothing_on_any_transport() {
    let servers = Server::targets()
        .into_iter()
        .chain([Server::rmcp(), Server::of("target over http", Target::http(&[]))]);
    for server in servers {
        for connections in [1, 3] {
            let config = Config::builder().connections(connections).window(ADAPTIVE);
            let client = server.connect(config);
            let mut account = Account::new(5_000);
            client.bulk(echoes(5_000)).blocking().for_each(|(n, outcome)| account.enter_raw(n, outcome));
            pollster::block_on(client.close());
            let stats = client.stats();
            let bounds = connections as u64..=32 * connections as u64;
            assert!(bounds.contains(&stats.window), "{}: {stats:?}", server.name);
            assert!(stats.window_raises > 0, "{}: {stats:?}", server.name);
            // A socket for each call of the window, and three for what must not wait.
            assert!(stats.http_sockets <= 35 * connections as u64 * (1 + stats.sessions_lost), "{stats:?}");
            account.close(&stats, 0);
        }
    }
}

/// One call in ten is refused for there being too many. Each refusal is told to its caller, and the window stays small.
#[test]
fn refusals_over_http_push_the_window_back() {
    for era in ERAS {
        let calls = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&calls);
        let server = HttpServer::start(era, move |peer, request| {
            if count.fetch_add(1, Ordering::SeqCst) % 10 == 9 {
                peer.respond("429 Too Many Requests", "Retry-After: 0\r\n", "");
            } else {
                peer.echo(request);
            }
            Then::Keep
        });
        let config = Config::builder().window(ADAPTIVE).build().expect("a valid configuration");
        let client = volley::blocking::Client::connect(server.endpoint(), config).expect("it answers");
        let (mut answered, mut refused) = (0, 0);
        for (_, outcome) in client.bulk((0..400).map(volley_tests::calls::echo)) {
            match outcome {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Http, "{error}");
                    refused += 1;
                }
            }
        }
        client.close();
        let stats = client.stats();
        assert_eq!((answered, refused, calls.load(Ordering::SeqCst)), (360, 40, 400), "{era}: {stats:?}");
        assert_eq!(stats.refusals, 40, "{era}: {stats:?}");
        assert!(stats.window_cuts_refused > 0 && stats.window < 32, "{era}: {stats:?}");
        adds_up(&stats);
    }
}

/// A server that answers some calls with a status that says no, and an error in JSON-RPC as frameworks send it.
fn refusing(
    era: &'static str,
    (status, code): (&'static str, i64),
    is_refused: impl Fn(&http_server::Peer, &str) -> bool + Send + Sync + 'static,
) -> HttpServer {
    HttpServer::start(era, move |peer, request| {
        let message = request.message["params"]["arguments"]["message"].as_str();
        if is_refused(peer, message.unwrap_or_default()) {
            let error =
                format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":{code},"message":"{status}"}}}}"#);
            peer.respond(status, "Content-Type: application/json\r\n", &error);
        } else {
            peer.echo(request);
        }
        Then::Keep
    })
}

/// Makes calls over it; how many were answered with an error, and what the client counted.
fn errors_of(server: &HttpServer, config: ConfigBuilder, calls: u64) -> (u64, Stats) {
    let config = config.build().expect("a valid configuration");
    let client = volley::blocking::Client::connect(server.endpoint(), config).expect("it answers");
    let outcomes = client.bulk((0..calls).map(volley_tests::calls::echo));
    let errors = outcomes.filter(|(_, outcome)| outcome.is_err()).count() as u64;
    client.close();
    let stats = client.stats();
    adds_up(&stats);
    (errors, stats)
}

/// A refusal with an error in its body counted twice once.
#[test]
fn a_refusal_counts_once_whatever_its_error_says() {
    for era in ERAS {
        let busy = ("429 Too Many Requests", -32000);
        let server = refusing(era, busy, |_, message| message.contains("1 and"));
        let (refused, stats) = errors_of(&server, Config::builder().window(ADAPTIVE), 20);
        assert!(refused > 0 && stats.refusals == refused, "{era}: {refused}, {stats:?}");
    }
}

/// Of two sockets behind a balancer one fails each call at once. Its answers looked like those of a server that works once, so it
/// never rested and drew most calls.
#[test]
fn a_connection_whose_statuses_fail_rests_whatever_its_errors_say() {
    let server = refusing("legacy", ("500 Internal Server Error", -32603), |peer, _| peer.number() % 2 == 1);
    let (_, stats) = errors_of(&server, Config::builder().connections(2).in_flight(8), 400);
    assert!(stats.rests > 0, "{stats:?}");
}

/// A server that says for how long it wants to be left alone is left alone, and calls wait meanwhile.
#[test]
fn retry_after_is_heeded_by_an_adaptive_window() {
    for era in ERAS {
        let times = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&times);
        let server = HttpServer::start(era, move |peer, request| {
            let mut seen = seen.lock();
            seen.push(Instant::now());
            if seen.len() == 1 {
                peer.respond("503 Service Unavailable", "Retry-After: 1\r\n", "");
            } else {
                peer.echo(request);
            }
            Then::Keep
        });
        let config = Config::builder().window(ADAPTIVE).build().expect("a valid configuration");
        let client = volley::blocking::Client::connect(server.endpoint(), config).expect("it answers");
        let outcomes =
            client.bulk((0..20).map(volley_tests::calls::echo)).filter(|(_, outcome)| outcome.is_ok());
        assert_eq!(outcomes.count(), 19, "the first was refused, the others waited");
        client.close();
        let times = times.lock();
        let pause = times[1] - times[0];
        assert!(pause >= Duration::from_millis(990), "{era}: the next call came after {pause:?}");
    }
}

/// Sockets are used in turn if so wanted, and the last one first if not.
#[test]
fn http_sockets_are_used_newest_or_oldest_first() {
    for (reuse, used) in [(HttpReuse::Newest, 1), (HttpReuse::Oldest, 4)] {
        let peers = Arc::new(Mutex::new(Vec::new()));
        let gathered = Arc::new(AtomicU64::new(0));
        let (seen, together) = (Arc::clone(&peers), Arc::clone(&gathered));
        let server = HttpServer::start("legacy", move |peer, request| {
            seen.lock().push(peer.number());
            // The first four are held until all are there, so that each has a socket of its own.
            if together.fetch_add(1, Ordering::SeqCst) < 4 {
                until_blocking("four calls are there", || together.load(Ordering::SeqCst) >= 4);
            }
            peer.echo(request);
            Then::Keep
        });
        let config = Config::builder().in_flight(4).http_reuse(reuse).build().expect("a valid configuration");
        let client = volley::blocking::Client::connect(server.endpoint(), config).expect("it answers");
        assert_eq!(
            client.bulk((0..4).map(volley_tests::calls::echo)).filter(|(_, outcome)| outcome.is_ok()).count(),
            4
        );
        for n in 4..24 {
            client.call(volley_tests::calls::echo(n)).expect("an answer");
        }
        client.close();
        let mut later = peers.lock()[4..].to_vec();
        later.sort_unstable();
        later.dedup();
        assert!(later.len() >= used, "{reuse:?}: {} sockets carried one call at a time", later.len());
        assert!(reuse == HttpReuse::Oldest || later.len() <= 2, "{reuse:?}: {later:?}");
    }
}
