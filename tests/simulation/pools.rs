//! Connections of the overflow, and health checks, on a core that is driven by hand: what the clock decides.

use std::time::Duration;

use serde_json::Value;
use volley::{
    Config, ConfigBuilder, ErrorKind, Fate, Window,
    internals::exchange::{Core, End, Told, Wait},
};

use crate::world::MS;

const WAIT: Wait =
    Wait { timeout: Duration::from_secs(3600), at_most: Duration::from_secs(3600), progress: false };

const BODY: &[u8] = b"\"method\":\"m\",\"params\":{";

/// A core whose lasting connections stand; its peers want no opening.
fn core(config: ConfigBuilder) -> Core {
    let config = config.seed(1).plain_json_rpc().build().expect("valid");
    let mut core = Core::new(&config, 1);
    for connection in 0..config.connections() as u32 {
        assert_eq!(core.poll_dial(1), Some(connection));
        core.handle_opened(1, connection);
    }
    assert_eq!(core.poll_dial(1), None, "nobody needs more");
    core
}

/// Calls until there is no room; how many.
fn fill(core: &mut Core, now: u64) -> usize {
    (0..).take_while(|tag| core.submit(now, *tag, WAIT, BODY).is_some()).count()
}

/// Opens all that are to be opened; which.
fn open_all(core: &mut Core, now: u64) -> Vec<u32> {
    let dialled: Vec<u32> = std::iter::from_fn(|| core.poll_dial(now)).collect();
    dialled.iter().for_each(|connection| core.handle_opened(now, *connection));
    dialled
}

/// The requests that stand in a connection's output, which they leave.
fn said(core: &mut Core, connection: u32) -> Vec<Value> {
    let bytes = core.transmit(connection).to_vec();
    core.handle_transmitted(connection, bytes.len());
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).expect("the engine writes JSON")).collect()
}

fn answer(core: &mut Core, now: u64, connection: u32, asked: &Value) {
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{}}}}\n", asked["id"]);
    core.handle_received(now, connection, answer.as_bytes());
}

fn answer_all(core: &mut Core, now: u64, connection: u32) {
    for asked in said(core, connection) {
        answer(core, now, connection, &asked);
    }
}

fn overflow(extra: usize) -> ConfigBuilder {
    Config::builder().in_flight(2).overflow(extra, Duration::from_millis(100))
}

#[test]
fn one_is_opened_then_two_then_four() {
    let mut core = core(overflow(20));
    let mut opened = Vec::new();
    for _ in 0..6 {
        let before = core.stats().overflow_opened;
        // A call that is submitted and finds no room asks for one; those that wait say how many they are.
        fill(&mut core, 2);
        let waiting: Vec<u64> = (0..40).filter_map(|tag| core.enqueue(2, tag, WAIT, BODY)).collect();
        core.assign(2);
        opened.push(core.stats().overflow_opened - before);
        open_all(&mut core, 2);
        for id in waiting {
            core.cancel(2, id);
            core.release(id);
        }
    }
    assert_eq!(opened, [1, 2, 4, 8, 5, 0], "as many as stand, and no more than there are");
    assert_eq!((core.stats().overflow_opened, core.stats().connects), (20, 21));
}

#[test]
fn calls_go_to_the_lasting_ones_first_and_then_to_the_lowest() {
    let mut core = core(overflow(3).connections(2));
    while core.stats().connects < 5 {
        fill(&mut core, 2);
        open_all(&mut core, 2);
    }
    fill(&mut core, 2);
    let in_flight = |core: &Core| [0, 1, 2, 3, 4].map(|n| core.view(n).in_flight);
    assert_eq!(in_flight(&core), [2; 5]);
    (0..5).for_each(|connection| answer_all(&mut core, 3, connection));
    assert_eq!(in_flight(&core), [0; 5]);
    let mut seen = Vec::new();
    for tag in 0..7 {
        core.submit(4, tag, WAIT, BODY).expect("there is room");
        seen.push(in_flight(&core));
    }
    assert!(seen[..4].iter().all(|calls| calls[2..] == [0, 0, 0]), "{seen:?}");
    assert_eq!(seen[4..], [[2, 2, 1, 0, 0], [2, 2, 2, 0, 0], [2, 2, 2, 1, 0]]);
}

#[test]
fn one_that_has_no_call_for_long_enough_is_closed_and_opened_again_when_it_is_needed() {
    let mut core = core(overflow(1));
    let mut now = 2;
    for round in 1..=3 {
        fill(&mut core, now);
        assert_eq!(open_all(&mut core, now), [1]);
        assert_eq!(core.stats().window, 4);
        fill(&mut core, now);
        // Used all the time: it stays.
        for _ in 0..20 {
            now += 20 * MS;
            core.handle_time(now);
            assert_eq!(core.poll_hang_up(), None);
            answer_all(&mut core, now, 1);
            (0..2).for_each(|connection| answer_all(&mut core, now, connection));
            fill(&mut core, now);
        }
        (0..2).for_each(|connection| answer_all(&mut core, now, connection));
        let idle_since = now;
        while core.poll_hang_up().is_none_or(|connection| {
            assert_eq!(connection, 1, "the lasting one stays");
            core.handle_gone(connection);
            false
        }) {
            now = core.poll_deadline().max(now + 1);
            assert!(now - idle_since <= 201 * MS, "still there after {} ms", (now - idle_since) / MS);
            core.handle_time(now);
        }
        assert!(now - idle_since >= 99 * MS, "closed after {} ms", (now - idle_since) / MS);
        let stats = core.stats();
        assert_eq!((stats.overflow_opened, stats.overflow_closed, stats.window), (round, round, 2));
        assert_eq!((stats.disconnects, core.room()), (0, 2));
    }
}

/// Every call that found no room would dial a server that has had enough of us.
#[test]
fn one_that_cannot_be_opened_is_not_tried_for_every_call() {
    let mut core = core(overflow(4).backoff(Duration::from_millis(100), Duration::from_secs(1)));
    let (mut now, mut dials) = (2, 0);
    fill(&mut core, now);
    for _ in 0..5_000 {
        now += MS;
        core.handle_time(now);
        assert_eq!(core.submit(now, 0, WAIT, BODY), None);
        while let Some(connection) = core.poll_dial(now) {
            dials += 1;
            core.handle_lost(now, connection, "enough");
        }
    }
    // Five seconds, with waits of up to 0.1, 0.2, 0.4, 0.8, 1, 1, ... seconds and at least half of it.
    assert!((4..20).contains(&dials), "{dials} dials");
    // It is nobody's fault: calls go on where they were.
    answer_all(&mut core, now, 0);
    assert_eq!(fill(&mut core, now), 2);
}

/// A server that says that it is too busy gets no second connection for it.
#[test]
fn none_is_opened_while_the_server_wants_to_be_left_alone() {
    let window = Window::Adaptive { min: 1, max: 2 };
    let mut core = core(overflow(1).window(window));
    core.submit(1, 0, WAIT, BODY).expect("there is room");
    let refused = said(&mut core, 0).remove(0);
    let busy = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":-32000,\"message\":\"too busy\"}}}}\n",
        refused["id"]
    );
    core.handle_received(100 * MS, 0, busy.as_bytes());
    assert_eq!((core.view(0).limit, core.submit(101 * MS, 1, WAIT, BODY)), (0, None), "it pauses");
    assert_eq!(core.poll_dial(101 * MS), None);
    let mut now = 101 * MS;
    while core.view(0).limit == 0 {
        now = core.poll_deadline().max(now + 1);
        core.handle_time(now);
    }
    fill(&mut core, now);
    assert_eq!(open_all(&mut core, now), [1], "and then it does not");
}

/// The rest of the calls would have to wait for an answer that the one which is left never gives room for.
#[test]
fn one_stands_in_for_those_that_are_gone() {
    let mut core = core(overflow(1).attempts_max(2));
    fill(&mut core, 2);
    open_all(&mut core, 2);
    core.take_told();
    core.handle_lost(3, 0, "gone");
    let mut now = 3;
    for _ in 0..50 {
        now = core.poll_deadline().max(now + 20 * MS);
        core.handle_time(now);
        while let Some(connection) = core.poll_dial(now) {
            core.handle_lost(now, connection, "refused");
        }
        assert_eq!(core.poll_hang_up(), None, "the last one that stands");
    }
    assert!(core.submit(now, 0, WAIT, BODY).is_some());
}

fn checked() -> ConfigBuilder {
    Config::builder().in_flight(2).health_check(Duration::from_millis(100), Duration::from_millis(50))
}

/// The next deadline, at which something is done.
fn go_on(core: &mut Core, now: &mut u64) {
    *now = core.poll_deadline().max(*now + 1);
    core.handle_time(*now);
}

#[test]
fn a_silent_stream_is_asked_once_in_a_while_and_lives_on_with_any_answer() {
    // A time to answer in that is longer than the silence puts the next question off until then once.
    let mut core = core(checked().health_check(Duration::from_millis(100), Duration::from_secs(1)));
    let mut now = 1;
    for round in 1..=5 {
        let silent_since = now;
        while core.stats().health_checks < round {
            go_on(&mut core, &mut now);
        }
        assert_eq!(now - silent_since, 100 * MS);
        let asked = said(&mut core, 0).remove(0);
        assert_eq!(asked["method"], "ping");
        now += 49 * MS;
        let id = &asked["id"];
        let error =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32601,\"message\":\"?\"}}}}\n");
        core.handle_received(now, 0, error.as_bytes());
    }
    let stats = core.stats();
    assert_eq!((stats.retired, stats.unknown, stats.answered, stats.disconnects), (0, 0, 0, 0));
}

#[test]
fn a_stream_that_stays_silent_is_lost_with_its_calls_and_opened_again() {
    let mut core = core(checked());
    let mut now = 1;
    core.submit(now, 7, WAIT, BODY).expect("there is room");
    said(&mut core, 0);
    while core.stats().retired == 0 {
        go_on(&mut core, &mut now);
    }
    assert_eq!((now - 1, core.stats().health_checks), (151 * MS, 1), "with a turn to read in");
    let told = core.take_told();
    let lost = |told: &Told| {
        matches!(told, Told::Ended { tag: 7, end: End::Failed(ErrorKind::ConnectionLost, Fate::Unknown), .. })
    };
    assert!(told.iter().any(lost), "{told:?}");
    assert_eq!(core.poll_hang_up(), Some(0));
    core.handle_gone(0);
    while core.poll_dial(now).is_none() {
        go_on(&mut core, &mut now);
    }
    core.handle_opened(now, 0);
    assert!(core.view(0).ready && core.submit(now, 8, WAIT, BODY).is_some());
}

/// A server in the middle of a long answer, or one that tells of its progress, has said enough.
#[test]
fn whatever_is_heard_will_do() {
    let mut core = core(checked());
    let mut now = 1;
    for _ in 0..100 {
        now += 40 * MS;
        core.handle_received(now, 0, b"{\"jsonrpc\":\"2.0\",");
        core.handle_time(now.max(core.poll_deadline().min(now)));
        now += 40 * MS;
        core.handle_time(now);
    }
    assert_eq!((core.stats().health_checks, core.stats().retired), (0, 0));
    // From here on in silence, to the question; then it goes on with what it was at, and never answers the question.
    while core.stats().health_checks == 0 {
        go_on(&mut core, &mut now);
    }
    for _ in 0..100 {
        now += 40 * MS;
        core.handle_received(now, 0, b" ");
        core.handle_time(now);
    }
    assert_eq!((core.stats().health_checks, core.stats().retired), (1, 0), "one question at a time");
    while core.stats().retired == 0 {
        go_on(&mut core, &mut now);
    }
}

/// Whose output is full of a call that the server does not read cannot be asked, and is lost all the same.
#[test]
fn a_stream_that_nobody_reads_is_not_asked() {
    let mut core = core(checked());
    let mut now = 1;
    let mut body = BODY.to_vec();
    body.extend_from_slice(b"\"x\":\"");
    body.resize(5 << 20, b'x');
    body.push(b'"');
    core.submit(now, 0, WAIT, &body).expect("there is room");
    core.handle_transmitted(0, 10);
    let waiting = core.transmit(0).len();
    while core.stats().retired == 0 {
        assert_eq!(core.transmit(0).len(), waiting, "a question behind five megabytes");
        go_on(&mut core, &mut now);
    }
    assert_eq!((now - 1, core.stats().health_checks), (151 * MS, 0));
}

/// A question is no use: one that is asked all the time, or asks us, was never closed.
#[test]
fn a_stream_of_the_overflow_that_is_asked_and_asks_is_closed_all_the_same() {
    let mut core = core(overflow(1).health_check(Duration::from_millis(30), Duration::from_millis(30)));
    fill(&mut core, 1);
    open_all(&mut core, 1);
    fill(&mut core, 1);
    (0..2).for_each(|connection| answer_all(&mut core, 2, connection));
    let mut now = 2;
    while core.poll_hang_up().is_none() {
        go_on(&mut core, &mut now);
        assert!(now < 300 * MS, "nobody closes it");
        for connection in 0..2 {
            core.handle_received(
                now,
                connection,
                b"{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"ping\"}\n",
            );
            for said in said(&mut core, connection) {
                if said["method"] == "ping" {
                    answer(&mut core, now, connection, &said);
                } else {
                    assert_eq!(said["id"], "q");
                }
            }
        }
    }
    let stats = core.stats();
    assert_eq!((stats.overflow_closed, stats.retired, stats.unknown), (1, 0, 0));
    assert!(stats.server_requests > 3);
}

/// Who turns less often than a server has time to answer lost it each time, with the answer lying there unread.
#[test]
fn what_came_while_nobody_looked_is_read_before_a_stream_is_lost() {
    let mut core = core(checked());
    let mut now = 1;
    for round in 1..=5 {
        while core.stats().health_checks < round {
            go_on(&mut core, &mut now);
        }
        let asked = said(&mut core, 0).remove(0);
        // Away for a minute. A turn begins with the clock and ends with what is there to be read.
        now += 60_000 * MS;
        core.handle_time(now);
        assert_eq!(core.stats().retired, 0);
        answer(&mut core, now, 0, &asked);
    }
    assert_eq!((core.stats().retired, core.stats().disconnects), (0, 0));
}

/// A server that ends idle connections in an orderly way was taken for one that fails, since what it answered last was no call. And one that hangs from the
/// beginning is no idle one.
#[test]
fn an_answered_question_proves_the_server_and_silence_does_not() {
    let mut core =
        core(checked().attempts_max(3).backoff(Duration::from_millis(10), Duration::from_millis(100)));
    let mut now = 1;
    for round in 1..=20 {
        while core.stats().health_checks < round {
            go_on(&mut core, &mut now);
        }
        answer_all(&mut core, now, 0);
        core.handle_lost(now, 0, "the server closed the connection");
        core.handle_time(now);
        assert_eq!(core.poll_dial(now), Some(0), "at once, in round {round}");
        core.handle_opened(now, 0);
    }
    // The last of these was not proved, so two more that say nothing are enough.
    let mut silent = 0;
    while !core.view(0).closed {
        go_on(&mut core, &mut now);
        while core.poll_hang_up().is_some() {
            core.handle_gone(0);
            silent += 1;
        }
        while core.poll_dial(now).is_some() {
            core.handle_opened(now, 0);
        }
    }
    assert_eq!((silent, core.stats().retired), (2, 2));
}

/// A job's calls do not say a second time that they find no room: once the wait after a failure is over, somebody has to look.
#[test]
fn the_wait_after_a_failure_is_a_deadline() {
    let mut core = core(overflow(1).backoff(Duration::from_millis(100), Duration::from_secs(1)));
    fill(&mut core, 2);
    assert_eq!(core.poll_dial(2), Some(1));
    core.handle_lost(2, 1, "enough");
    core.handle_time(3);
    // (Without it the next would be that of a server that reads nothing, five seconds away.)
    assert!(core.poll_deadline() < 1000 * MS, "{} ms", core.poll_deadline() / MS);
}
