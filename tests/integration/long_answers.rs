//! Long answers: read by workers, in order or as they come, among small calls that do not notice.

use std::collections::HashMap;
use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};
use volley::{Client, Config, ConfigBuilder, ErrorKind, Fate, Interceptor, ToolCall, ToolResult};
use volley_tests::byte_server::{ByteServer, Peer, answer};

use crate::servers::{Server, echo, message};

const MIB: usize = 1 << 20;

/// A door that a server waits at.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

/// A server that answers the call `long` with so many bytes of text. All but the last MiB it says at once, the rest when the door
/// is open. What else it is asked on that connection has to wait.
fn gated(bytes: usize, door: Arc<Door>) -> ByteServer {
    ByteServer::unix("modern", move |_, peer: &mut Peer| {
        while let Some(asked) = peer.next_call() {
            if asked.message != "long" {
                peer.say_line(&answer(&asked.id, &asked.message));
                continue;
            }
            let head = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":""#,
                asked.id
            );
            peer.say(head.as_bytes());
            let piece = vec![b'x'; MIB];
            for n in 0..bytes / MIB {
                if n + 1 == bytes / MIB {
                    door.wait();
                }
                if !peer.say(&piece) {
                    return;
                }
            }
            peer.say_line(r#""}]}}"#);
        }
    })
}

fn long() -> ToolCall {
    ToolCall::new("echo", &json!({"message": "long"})).unwrap()
}

fn connect(server: &ByteServer, config: ConfigBuilder) -> Client {
    let config = config.connections(2).shards(1).frame_bytes_max(128 * MIB).build().unwrap();
    pollster::block_on(Client::connect(server.endpoint(), config)).unwrap()
}

fn is_long(result: &ToolResult, bytes: usize) -> bool {
    let text = result.content[0].as_text().unwrap();
    text.len() == bytes && text.bytes().all(|byte| byte == b'x')
}

/// Calls that are answered while the long one is not whole: as many as there are beyond the window that it blocks. Only then may
/// the long one end, so a shard that held the small ones up for it would hang here.
fn small_calls_pass(client: &Client, door: &Door) {
    const CALLS: u64 = 1_000;
    let mut bulk = client.bulk((0..CALLS).map(echo)).blocking();
    for ended in 0..CALLS {
        if ended == CALLS - 64 {
            door.open();
        }
        let (n, outcome) = bulk.next().unwrap();
        assert_eq!(outcome.unwrap().tool_result().unwrap().text(), message(n));
    }
    assert!(bulk.next().is_none());
}

#[test]
fn small_calls_are_answered_before_a_typed_answer_of_100_mib_is_whole() {
    let door = Arc::new(Door::default());
    let server = gated(100 * MIB, Arc::clone(&door));
    let client = connect(&server, Config::builder());
    let call = client.call(long());
    small_calls_pass(&client, &door);
    assert!(is_long(&pollster::block_on(call).unwrap(), 100 * MIB));
    pollster::block_on(client.close());
}

#[test]
fn small_calls_are_answered_before_a_raw_answer_of_100_mib_is_whole() {
    let door = Arc::new(Door::default());
    let server = gated(100 * MIB, Arc::clone(&door));
    let client = connect(&server, Config::builder());
    let call = client.call_raw(long());
    small_calls_pass(&client, &door);
    let answer = pollster::block_on(call).unwrap();
    assert!(answer.message().len() > 100 * MIB);
    assert!(is_long(&answer.tool_result().unwrap(), 100 * MIB));
    pollster::block_on(client.close());
}

#[test]
fn small_calls_are_answered_before_an_answer_of_100_mib_in_a_bulk_job_is_whole() {
    for workers in [0, 1] {
        let door = Arc::new(Door::default());
        let server = gated(100 * MIB, Arc::clone(&door));
        let client = connect(&server, Config::builder().decode_workers(workers));
        let mut job = client.bulk([long(), echo(1)]).ordered().decoded();
        // The job's calls go out when it is polled.
        let mut next = Box::pin(job.next());
        assert!(poll_once(next.as_mut()).is_none());
        small_calls_pass(&client, &door);
        let (n, outcome) = pollster::block_on(next).unwrap();
        assert!(n == 0 && is_long(&outcome.unwrap(), 100 * MIB));
        let (n, outcome) = pollster::block_on(job.next()).unwrap();
        assert_eq!((n, outcome.unwrap().text()), (1, message(1)));
        assert!(pollster::block_on(job.next()).is_none());
        pollster::block_on(client.close());
    }
}

fn poll_once<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// How long the answer to the n-th call is: mostly short, some around the bound, some far beyond it.
fn length(n: u64) -> usize {
    match n % 10 {
        3 => 4_000 + n as usize,
        6 => 100_000 + n as usize,
        9 => 1_000_000 + n as usize,
        _ => n as usize % 50,
    }
}

fn blobs(calls: u64) -> impl Iterator<Item = ToolCall> {
    (0..calls).map(|n| ToolCall::new("blob", &json!({"bytes": length(n)})).unwrap())
}

#[test]
fn a_decoded_job_yields_each_answer_once_in_order_or_as_they_come() {
    const CALLS: u64 = 300;
    let server = Server::target(&["--reorder", "16"]);
    for workers in [0, 1, 3] {
        let config =
            || Config::builder().decode_workers(workers).decode_offload_bytes(4_096).shards(2).connections(2);
        let client = server.connect(config());
        let ordered = client.bulk(blobs(CALLS)).ordered().decoded().blocking();
        for (expected, (n, outcome)) in (0..).zip(ordered) {
            assert_eq!((n, outcome.unwrap().text().len()), (expected, length(n)), "{workers} workers");
        }
        let mut seen = HashMap::new();
        for (n, outcome) in client.bulk(blobs(CALLS)).decoded_as::<Value>().blocking() {
            let text = outcome.unwrap()["content"][0]["text"].as_str().unwrap().len();
            assert_eq!((text, seen.insert(n, ())), (length(n), None), "{workers} workers");
        }
        assert_eq!(seen.len() as u64, CALLS);
        pollster::block_on(client.close());
        let stats = client.stats();
        assert_eq!((stats.submitted, stats.answered, stats.live), (2 * CALLS, 2 * CALLS, 0), "{stats:?}");
    }
}

#[test]
fn a_decoded_job_pulls_no_more_calls_than_its_bound_allows() {
    let server = Server::target(&[]);
    for ordered in [false, true] {
        let client = server.connect(Config::builder().decode_offload_bytes(1_024));
        let pulled = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&pulled);
        let calls = blobs(300).inspect(move |_| {
            counting.fetch_add(1, Ordering::SeqCst);
        });
        let bulk = client.bulk(calls).buffer(10);
        let job = if ordered { bulk.ordered() } else { bulk }.decoded();
        for (taken, (_, outcome)) in (0..).zip(job.blocking()) {
            outcome.unwrap();
            let pulled = pulled.load(Ordering::SeqCst);
            assert!(pulled <= taken + 1 + 10, "{pulled} pulled, {taken} taken");
        }
        assert_eq!(pulled.load(Ordering::SeqCst), 300);
        pollster::block_on(client.close());
    }
}

struct Idle;

impl Interceptor for Idle {}

/// Such a job makes single calls, under the same bound: what the workers hold of it must neither exceed it nor end the job.
#[test]
fn a_decoded_job_with_interceptors_yields_each_answer_once_within_its_bound() {
    let server = Server::target(&["--reorder", "16"]);
    for (workers, ordered) in [(1, false), (1, true), (0, true)] {
        let config = Config::builder().interceptor(Idle).decode_workers(workers).decode_offload_bytes(1_024);
        let client = server.connect(config);
        let pulled = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&pulled);
        let calls = (0..100).map(|n| ToolCall::new("blob", &json!({"bytes": 50_000 + n})).unwrap());
        let calls = calls.inspect(move |_| {
            counting.fetch_add(1, Ordering::SeqCst);
        });
        let bulk = client.bulk(calls).buffer(2);
        let job = if ordered { bulk.ordered() } else { bulk }.decoded();
        let mut seen = Vec::new();
        for (n, outcome) in job.blocking() {
            assert_eq!(outcome.unwrap().text().len() as u64, 50_000 + n);
            seen.push(n);
            assert!(pulled.load(Ordering::SeqCst) <= seen.len() as u64 + 2);
        }
        if !ordered {
            seen.sort_unstable();
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>(), "{workers} workers");
        pollster::block_on(client.close());
    }
}

/// Jobs and calls whose owner goes while workers read for them.
#[test]
fn what_is_dropped_while_it_is_read_harms_nobody() {
    let server = Server::target(&[]);
    let client = server.connect(Config::builder().decode_offload_bytes(1_024));
    for round in 0..20 {
        let mut job = client.bulk(blobs(100)).decoded().blocking();
        for _ in 0..round {
            job.next().unwrap().1.unwrap();
        }
        let call = client.call(ToolCall::new("blob", &json!({"bytes": MIB})).unwrap());
        drop(job);
        if round % 2 == 0 {
            drop(call);
        } else {
            assert_eq!(pollster::block_on(call).unwrap().text().len(), MIB);
        }
    }
    assert_eq!(pollster::block_on(client.call(echo(7))).unwrap().text(), message(7));
    pollster::block_on(client.close());
    let stats = client.stats();
    assert_eq!(stats.submitted, stats.answered + stats.failed + stats.cancelled, "{stats:?}");
}

/// Long answers that cannot be read fail their own call, whoever reads them, and say where.
#[test]
fn a_long_answer_that_cannot_be_read_fails_its_own_call_only() {
    let server = ByteServer::tcp("modern", |_, peer: &mut Peer| {
        while let Some(asked) = peer.next_call() {
            let filling = "y".repeat(100_000);
            let mut line = answer(&asked.id, &filling).into_bytes();
            let at = line.len() - 1_000;
            match asked.message.as_str() {
                "invalid UTF-8" => line[at] = 0xff,
                "control character" => line[at] = 1,
                "depth bomb" => {
                    let bomb = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
                    line = format!(
                        r#"{{"jsonrpc":"2.0","id":{},"result":{{"structuredContent":{bomb}}}}}"#,
                        asked.id
                    )
                    .into_bytes();
                }
                "twice" => {
                    line.pop();
                    line.extend_from_slice(br#","result":{"content":[]}}"#);
                }
                other => line = answer(&asked.id, other).into_bytes(),
            }
            line.push(b'\n');
            peer.say(&line);
        }
    });
    for workers in [0, 1] {
        let client = connect(&server, Config::builder().decode_workers(workers));
        let cases = [
            ("invalid UTF-8", "invalid unicode code point at line 1 column"),
            ("control character", "found while parsing a string at line 1 column"),
            ("depth bomb", "recursion limit exceeded at line 1 column"),
            ("twice", "duplicate field `result` at line 1 column"),
        ];
        for (case, says) in cases {
            let call = || ToolCall::new("echo", &json!({"message": case})).unwrap();
            let single = pollster::block_on(client.call(call())).unwrap_err();
            let mut bulk = client.bulk([call(), echo(1)]).ordered().decoded().blocking();
            let in_bulk = bulk.next().unwrap().1.unwrap_err();
            for error in [single, in_bulk] {
                assert_eq!(
                    (error.kind(), error.fate()),
                    (ErrorKind::Decode, Fate::Answered),
                    "{case}: {error}"
                );
                assert!(error.to_string().contains(says), "{case}: {error}");
            }
            assert_eq!(bulk.next().unwrap().1.unwrap().text(), message(1));
        }
        pollster::block_on(client.close());
        assert_eq!(client.stats().disconnects, 0);
    }
}

/// A type of the caller's that cannot be read without a panic.
#[derive(Debug)]
struct Fragile;

impl<'de> serde::Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a reader with a fault")
    }
}

/// A reader or an iterator of the caller's that panics is the caller's affair; the calls around it keep their numbers, and none is lost.
/// The next outcome had the number of the one before, and an ordered job waited for calls that it had lost.
#[test]
fn what_panics_in_the_callers_code_costs_no_other_call() {
    let server = Server::target(&[]);
    for workers in [0, 1] {
        let config = Config::builder().decode_workers(workers).decode_offload_bytes(if workers == 0 {
            MIB
        } else {
            64
        });
        let client =
            volley::blocking::Client::connect(server.endpoint.clone(), config.build().unwrap()).unwrap();
        for ordered in [true, false] {
            let bulk = client.as_async().bulk((0..100).map(echo));
            let bulk = if ordered { bulk.ordered() } else { bulk };
            let mut seen: Vec<_> = bulk
                .decoded_as::<Fragile>()
                .blocking()
                .map(|(index, outcome)| {
                    let error = outcome.expect_err("it cannot be read");
                    assert_eq!(
                        (error.kind(), error.fate()),
                        (ErrorKind::Internal, Fate::Answered),
                        "{error}"
                    );
                    index
                })
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
        }
        for ordered in [true, false] {
            let calls = (0..100).map(|n| if n == 37 { panic!("an iterator with a fault") } else { echo(n) });
            let bulk = client.as_async().bulk(calls);
            let mut bulk = if ordered { bulk.ordered() } else { bulk }.blocking();
            let mut texts = Vec::new();
            let mut panics = 0;
            loop {
                let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bulk.next()));
                match next {
                    Ok(Some((_, outcome))) => texts.push(outcome.unwrap().tool_result().unwrap().text()),
                    Ok(None) => break,
                    Err(_) => panics += 1,
                }
            }
            texts.sort_unstable();
            let mut expected: Vec<_> = (0..100).filter(|n| *n != 37).map(message).collect();
            expected.sort_unstable();
            assert_eq!((texts, panics), (expected, 1));
        }
        client.close();
    }
}
