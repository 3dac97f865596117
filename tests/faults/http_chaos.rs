//! A server that does at random, for each request, one of all the things that the other files do one at a time.
//!
//! Nothing is said here of how a call ends, only that it does: once, in its time, with its own answer if it has one; that the
//! server executed no call twice unless it had said that it did not execute it; and that nothing is left behind. A failing run
//! is a number, which is printed and can be set with `VOLLEY_HTTP_SEED`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use volley::{Client, Error, ErrorKind, Fate};
use volley_tests::calls::{books_balance, echo, first_text, message};
use volley_tests::http_server::{HttpServer, Peer, Request, Then};
use volley_tests::target::ERAS;
use volley_tests::wait::story_alone;

use super::connect;

const SEEDS: u64 = 3;
const TASKS: u64 = 8;
const CALLS_PER_TASK: u64 = 40;
const CALL_TIME: Duration = Duration::from_millis(500);

/// A server's memory of a world of chaos.
struct World {
    rng: Mutex<fastrand::Rng>,
    session: AtomicU64,
    /// How often each call was executed or may have been, for all that its client was told.
    executed: Mutex<HashMap<String, u32>>,
}

impl World {
    fn dice(&self, sides: u8) -> u8 {
        self.rng.lock().u8(..sides)
    }

    fn pause(&self, most_us: u64) {
        std::thread::sleep(Duration::from_micros(self.rng.lock().u64(0..most_us)));
    }

    /// One request, after the opening has been seen to.
    fn play(&self, peer: &mut Peer, request: &Request) -> Then {
        if request.method == "GET" {
            peer.begin_events();
            peer.chunk("id: again\nretry: 20\ndata:\n\n");
            peer.end_chunks();
            return Then::Keep;
        }
        if !request.is_call() {
            // Cancellations.
            return match self.dice(8) {
                0 => Then::Close,
                1 => {
                    peer.respond("500 Oh", "", "");
                    Then::Keep
                }
                _ => {
                    peer.accept();
                    Then::Keep
                }
            };
        }
        let present = format!("s-{}", self.session.load(Ordering::SeqCst));
        if request.header("mcp-session-id").is_some_and(|session| session != present) {
            self.pause(3000);
            peer.respond("404 Not Found", "", "");
            return Then::Keep;
        }
        *self.executed.lock().entry(request.text().to_owned()).or_default() += 1;
        self.pause(1500);
        let body = request.answer();
        match self.dice(24) {
            0 => return Then::Close,
            1 => {
                peer.say("HTTP/1.1 200 OK\r\nContent-Type: application/js");
                return Then::Close;
            }
            2 => {
                let half = &body[..body.len() / 2];
                peer.say(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{half}",
                    body.len()
                ));
                return Then::Close;
            }
            3 => {
                peer.bytes_until_end();
                return Then::Close;
            }
            4 => {
                peer.respond("503 Busy", "Retry-After: 1\r\n", "");
            }
            5 => {
                peer.say("what is this");
                return Then::Close;
            }
            6 => {
                self.session.fetch_add(1, Ordering::SeqCst);
                peer.echo(request);
            }
            7 => {
                peer.json("200 OK", &body.replace(&request.id(), "77777777"));
            }
            8 => {
                peer.respond("200 OK", "Connection: close\r\nContent-Type: application/json\r\n", &body);
                return Then::Close;
            }
            9 => {
                peer.echo(request);
                self.pause(1500);
                return Then::Close;
            }
            10 => {
                peer.begin_events();
                peer.chunk("id: 5\nretry: 10\ndata:\n\n");
                peer.end_chunks();
            }
            11 => {
                peer.echo(request);
                peer.echo(request);
            }
            12 => {
                peer.begin_events();
                peer.chunk(&format!("data: {body}\n\n"));
                return Then::Close;
            }
            13..=17 => {
                peer.begin_events();
                let event = format!(": hello\r\ndata: {body}\r\n\r\n");
                let cut = self.rng.lock().usize(1..event.len());
                peer.chunk(&event[..cut]);
                self.pause(1000);
                peer.chunk(&event[cut..]);
                peer.end_chunks();
            }
            _ => {
                peer.echo(request);
            }
        }
        Then::Keep
    }
}

fn is_expected(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ConnectionLost => error.fate() == Fate::Unknown || error.fate() == Fate::NotSent,
        ErrorKind::Timeout => error.fate() != Fate::Answered,
        ErrorKind::Http => error.fate() == Fate::Answered,
        ErrorKind::Unreachable => error.fate() == Fate::NotSent,
        _ => false,
    }
}

async fn task(client: Client, number: u64, mut rng: fastrand::Rng) -> [u64; 3] {
    let [mut answered, mut failed, mut dropped] = [0; 3];
    for n in number * CALLS_PER_TASK..(number + 1) * CALLS_PER_TASK {
        let call = client.call(echo(n));
        if rng.u8(..8) == 0 {
            // The end of the wait drops the call.
            match tokio::time::timeout(Duration::from_micros(rng.u64(..3000)), call).await {
                Ok(Ok(result)) => assert_eq!(first_text(&result), message(n)),
                Ok(Err(error)) => assert!(is_expected(&error), "{error} ({:?})", error.fate()),
                Err(_) => {}
            }
            dropped += 1;
            continue;
        }
        let began = Instant::now();
        match call.await {
            Ok(result) => {
                assert_eq!(first_text(&result), message(n));
                answered += 1;
            }
            Err(error) => {
                assert!(is_expected(&error), "call {n}: {error} ({:?} {:?})", error.kind(), error.fate());
                failed += 1;
            }
        }
        assert!(began.elapsed() < CALL_TIME + Duration::from_secs(5), "call {n} took {:?}", began.elapsed());
    }
    [answered, failed, dropped]
}

#[test]
fn every_call_ends_once_in_a_world_of_http_faults() {
    story_alone(async {
        let fixed = std::env::var("VOLLEY_HTTP_SEED").ok().and_then(|seed| seed.parse().ok());
        for n in 0..SEEDS {
            let seed = fixed.unwrap_or_else(|| fastrand::u64(..));
            for era in ERAS {
                println!("seed {seed}, round {n}, {era}");
                let world = Arc::new(World {
                    rng: Mutex::new(fastrand::Rng::with_seed(seed)),
                    session: AtomicU64::new(0),
                    executed: Mutex::default(),
                });
                let plays = Arc::clone(&world);
                let server = HttpServer::plain(era, move |peer, request| {
                    let session = format!("Mcp-Session-Id: s-{}\r\n", plays.session.load(Ordering::SeqCst));
                    if request.method != "GET" && peer.opens_with(request, &session) {
                        return Then::Keep;
                    }
                    plays.play(peer, request)
                });
                let client = connect(server.endpoint(), |config| {
                    config
                        .in_flight(6)
                        .connections(2)
                        .timeout(CALL_TIME)
                        .orphan_debt(Duration::from_millis(50))
                        .backoff(Duration::from_millis(1), Duration::from_millis(20))
                        .attempts_max(1000)
                        .seed(seed)
                })
                .await;
                let tasks: Vec<_> = (0..TASKS)
                    .map(|n| tokio::spawn(task(client.clone(), n, fastrand::Rng::with_seed(seed ^ n))))
                    .collect();
                let [mut answered, mut failed, mut dropped] = [0; 3];
                for task in tasks {
                    let [a, f, d] = task.await.expect("no task panics");
                    (answered, failed, dropped) = (answered + a, failed + f, dropped + d);
                }
                let stats = books_balance(&client).await;
                println!("{answered} answered, {failed} failed, {dropped} dropped; {stats:?}");
                assert_eq!(answered + failed + dropped, TASKS * CALLS_PER_TASK);
                assert!(answered > TASKS * CALLS_PER_TASK / 3, "{stats:?}");
                let twice: Vec<_> = world
                    .executed
                    .lock()
                    .iter()
                    .filter(|(_, times)| **times > 1)
                    .map(|(text, _)| text.clone())
                    .collect();
                assert!(twice.is_empty(), "executed twice: {twice:?}");
                let began = Instant::now();
                client.close().await;
                assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
                server.no_socket_is_left();
            }
        }
    });
}
