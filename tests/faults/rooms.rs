//! Windows that are full, and bulks under stress: nobody is lost in the queue, nobody is served twice.

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use volley::{Call, ErrorKind, Fate};
use volley_tests::calls::{books_balance, echo, echoes_work, first_text, message};
use volley_tests::target::{ERAS, Target};
use volley_tests::wait::{PATIENCE, story, until};

use super::connect;

/// No queue, a window of four, and a server that never answers: the fifth call comes back as it was.
#[test]
fn a_full_window_gives_the_call_back() {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--never-answer"]);
            let client = connect(target.endpoint(), |config| config.in_flight(4).queue(0)).await;
            let calls: Vec<Call> =
                (0..4).map(|n| client.try_call(echo(n)).expect("there is a place")).collect();
            for _ in 0..10 {
                let full = client.try_call(echo(4)).err().expect("there is no place");
                assert_eq!(full.0, echo(4));
            }
            until("four are in flight", || client.stats().live == 4).await;
            drop(calls);
            books_balance(&client).await;
            let stats = client.stats();
            assert_eq!((stats.submitted, stats.cancelled), (4, 4), "{stats:?}");
            // The places are free; that the window is not, for a while, only makes the call wait.
            drop(client.try_call(echo(5)).expect("there is a place"));
            books_balance(&client).await;
            client.close().await;
        }
    });
}

/// Puts the number of a task at the end of the line when it is woken.
struct Turn(mpsc::Sender<usize>, usize);

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        // The line is gone when all tasks are done.
        let _ = self.0.send(self.1);
    }
}

/// An executor of the plainest sort: first woken, first run. So ten callers who are answered together all give their places
/// back before the first of those who wait has run. If that woke only one of them, the window would be used by one call at
/// a time from then on.
#[test]
fn every_free_place_wakes_a_waiter() {
    const CALLERS: usize = 100;
    let target = Target::tcp(&["--delay", "50ms"]);
    let client = pollster::block_on(connect(target.endpoint(), |config| config.in_flight(10).queue(0)));
    let began = Instant::now();
    let mut callers: Vec<Call> = (0..CALLERS as u64).map(|n| client.call(echo(n))).collect();
    let (tell, line) = mpsc::channel();
    (0..CALLERS).for_each(|n| tell.send(n).expect("we hold the line"));
    for _ in 0..CALLERS {
        loop {
            let n = line.recv_timeout(PATIENCE).expect("nobody is forgotten");
            let waker = Waker::from(Arc::new(Turn(tell.clone(), n)));
            if let Poll::Ready(outcome) = pin!(&mut callers[n]).poll(&mut Context::from_waker(&waker)) {
                assert_eq!(first_text(&outcome.expect("an answer")), message(n as u64));
                break;
            }
        }
    }
    // Ten at a time take 0.5 s, one at a time 5 s.
    assert!(began.elapsed() < Duration::from_millis(2500), "the window was not used: {:?}", began.elapsed());
    pollster::block_on(client.close());
    assert_eq!(client.stats().answered, CALLERS as u64);
}

/// A bulk over several connections while the server is killed and comes back, twice. Every index has one outcome.
#[test]
fn a_bulk_over_a_dying_server_tells_every_index_once() {
    const CALLS: u64 = 6000;
    story(async {
        for era in ERAS {
            let switches = ["--revisions", era, "--delay", "0ms..2ms"];
            let (mut target, port) = Target::tcp_at_home(&switches);
            let client = connect(target.endpoint(), |config| {
                config
                    .connections(4)
                    .shards(2)
                    .in_flight(32)
                    .attempts_max(1000)
                    .backoff(Duration::from_millis(5), Duration::from_millis(50))
            })
            .await;
            let mut bulk = client.bulk((0..CALLS).map(echo));
            let (mut seen, mut outcomes, mut lost) = (vec![0; CALLS as usize], 0, 0);
            while let Some((index, outcome)) = bulk.next().await {
                seen[index as usize] += 1;
                outcomes += 1;
                match outcome {
                    Ok(answer) => {
                        assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index))
                    }
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), error.fate()),
                            (ErrorKind::ConnectionLost, Fate::Unknown),
                            "{error}"
                        );
                        lost += 1;
                    }
                }
                if outcomes == CALLS / 3 || outcomes == CALLS / 2 {
                    target.kill();
                    target = Target::tcp_at(port, &switches).expect("the port is free");
                }
            }
            assert!(seen.iter().all(|times| *times == 1), "each once");
            // Two deaths, four windows; and what a turn puts into a window whose last answers it reads with the end.
            assert!(lost <= 2 * 4 * 2 * 32, "at most what was in flight: {lost}");
            let stats = books_balance(&client).await;
            assert_eq!(stats.failed, lost);
            echoes_work(&client, 0..100).await;
            client.close().await;
        }
    });
}

/// Outcomes in order from a server that answers in none, with a bound on what is finished and unread.
#[test]
fn an_ordered_bulk_is_in_order_whatever_the_server_does() {
    const CALLS: u64 = 3000;
    story(async {
        for era in ERAS {
            let target = Target::tcp(&["--revisions", era, "--reorder", "32", "--delay", "0ms..2ms"]);
            for buffer in [1, 7, 64, 1000] {
                let client = connect(target.endpoint(), |config| config.connections(2).in_flight(64)).await;
                let pulled = std::cell::Cell::new(0);
                let calls = (0..CALLS / 4).map(|n| {
                    pulled.set(n + 1);
                    echo(n)
                });
                let mut bulk = client.bulk(calls).ordered().buffer(buffer);
                let mut next = 0;
                while let Some((index, outcome)) = bulk.next().await {
                    assert_eq!(index, next);
                    let answer = outcome.expect("an answer");
                    assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index));
                    next += 1;
                    assert!(pulled.get() <= next + buffer as u64 + 1, "pulled {} for {next}", pulled.get());
                }
                assert_eq!(next, CALLS / 4);
                let stats = books_balance(&client).await;
                assert_eq!(stats.answered, CALLS / 4);
                client.close().await;
            }
        }
    });
}
