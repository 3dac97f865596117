//! What once went wrong, each with its story, on a core that is driven by hand.

use std::time::Duration;

use serde_json::{Value, json};
use volley::{
    Config, ErrorKind, Fate,
    internals::exchange::{Core, End, Told, Wait},
};

const WAIT: Wait =
    Wait { timeout: Duration::from_secs(30), at_most: Duration::from_secs(60), progress: false };

fn core() -> Core {
    Core::new(&Config::builder().in_flight(4).seed(1).build().expect("a valid configuration"), 1)
}

/// What the core wants to say on its first connection, taken from it.
fn said(core: &mut Core) -> String {
    said_on(core, 0)
}

fn said_on(core: &mut Core, connection: u32) -> String {
    let bytes = core.transmit(connection).to_vec();
    core.handle_transmitted(connection, bytes.len());
    String::from_utf8(bytes).expect("UTF-8")
}

/// Opens the connection to a server of the handshake era, which says `before` while the engine is still waiting.
fn shake_hands(core: &mut Core, now: u64, revision: &str, before: &str) {
    assert_eq!(core.poll_dial(now), Some(0));
    shake_hands_on(core, 0, now, revision, before);
}

/// The same for a connection that has been dialled.
fn shake_hands_on(core: &mut Core, connection: u32, now: u64, revision: &str, before: &str) {
    core.handle_opened(now, connection);
    core.handle_received(now, connection, before.as_bytes());
    while !core.view(connection).ready {
        let asked: Value = serde_json::from_str(&said_on(core, connection)).expect("one request");
        let answer = if asked["method"] == "initialize" {
            json!({"result": {"protocolVersion": revision, "capabilities": {}}})
        } else {
            json!({"error": {"code": -32601, "message": "what is that?"}})
        };
        answer_on(core, connection, now, &asked, answer);
    }
    said_on(core, connection);
}

fn answer_on(core: &mut Core, connection: u32, now: u64, asked: &Value, mut answer: Value) {
    (answer["jsonrpc"], answer["id"]) = ("2.0".into(), asked["id"].clone());
    core.handle_received(now, connection, format!("{answer}\n").as_bytes());
}

/// Shuts the transports that are to be shut.
fn hang_up(core: &mut Core) {
    while let Some(connection) = core.poll_hang_up() {
        core.handle_gone(connection);
    }
}

/// Lets time pass until the first connection is dialled again.
fn dial_again(core: &mut Core, now: &mut u64) {
    hang_up(core);
    *now = core.poll_deadline().max(*now);
    core.handle_time(*now);
    assert_eq!(core.poll_dial(*now), Some(0));
}

/// A connection kept the revision of its last transport until the next one was ready. What a server said in between was
/// read by the wrong rules: here an array, which only 2025-03-26 has, was taken apart. The other way round, a legacy server
/// that had taken a modern one's place got no reply to a `ping` before its answer to `initialize`.
#[test]
fn a_new_transport_starts_without_a_revision() {
    let mut core = core();
    shake_hands(&mut core, 1, "2025-03-26", "");
    core.take_told();
    core.handle_lost(2, 0, "gone");
    core.handle_time(core.poll_deadline());
    let array = "[{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}]\n";
    shake_hands(&mut core, 3, "2025-06-18", array);
    assert_eq!(core.take_told(), []);
    assert_eq!(core.stats().malformed, 1);
}

/// Calls that were given up while they waited for a connection stood in line until the first one that was still alive had
/// been sent: callers who gave up quickly filled the memory behind one who was patient.
#[test]
fn callers_who_give_up_cost_no_memory_behind_one_who_waits() {
    let mut core = core();
    core.enqueue(1, 0, WAIT, b"\"method\":\"m\",\"params\":{").expect("a free slot");
    for n in 1..10_000 {
        let id = core.enqueue(1, n, WAIT, b"\"method\":\"m\",\"params\":{").expect("a free slot");
        core.cancel(1, id);
        core.release(id);
    }
    assert_eq!(core.stats().cancelled, 9_999);
    assert!(core.unplaced_entries() < 100, "{} entries for one call", core.unplaced_entries());
}

/// A notification that had been taken and then died in the output of its connection was lost without a trace.
#[test]
fn a_notification_that_did_not_leave_is_counted() {
    let mut core = core();
    shake_hands(&mut core, 1, "2025-06-18", "");
    assert!(core.notify("left/entirely", None));
    said(&mut core);
    assert!(core.notify("left/in/part", None) && core.notify("stayed", None) && core.notify("stayed", None));
    core.handle_transmitted(0, 1);
    core.handle_lost(2, 0, "gone");
    assert_eq!(core.stats().notifications_unsent, 2);
}

/// Two connections lost their server. One used its attempts up while the other was being dialled, and was given up; the other came to stand,
/// and the first stayed closed for good. (It comes back when an answer has come: each of two connections to a server that dies of its first call
/// would bring the other back for ever, were it enough to stand.)
#[test]
fn a_connection_that_was_given_up_comes_back_with_one_that_stands() {
    let config =
        Config::builder().connections(2).in_flight(4).attempts_max(3).seed(1).build().expect("valid");
    let (mut core, mut now) = (Core::new(&config, 1), 1);
    shake_hands(&mut core, now, "2025-06-18", "");
    assert_eq!(core.poll_dial(now), Some(1));
    shake_hands_on(&mut core, 1, now, "2025-06-18", "");
    core.handle_lost(now, 1, "gone");
    core.handle_lost(now, 0, "gone");
    core.handle_time(now);
    assert_eq!([core.poll_dial(now), core.poll_dial(now)], [Some(0), Some(1)]);
    while !core.view(0).closed {
        core.handle_lost(now, 0, "refused");
        if !core.view(0).closed {
            dial_again(&mut core, &mut now);
        }
    }
    shake_hands_on(&mut core, 1, now, "2025-06-18", "");
    assert!(core.view(0).closed, "nothing is proved yet");
    core.submit(now, 0, WAIT, b"\"method\":\"m\",\"params\":{").expect("there is room");
    let asked: Value = serde_json::from_str(&said_on(&mut core, 1)).expect("a call");
    answer_on(&mut core, 1, now, &asked, json!({"result": {}}));
    assert!(!core.view(0).closed, "the server is there");
    assert_eq!(core.poll_dial(now), Some(0));
    shake_hands_on(&mut core, 0, now, "2025-06-18", "");
}

/// A server that dies of the probe was dialled while its supervisor started it again. That was refused, and the refusal made the engine forget:
/// it probed again, and killed it again.
#[test]
fn a_refused_dial_does_not_hide_that_the_server_dies_of_the_probe() {
    let (mut core, mut now) = (core(), 1);
    assert_eq!(core.poll_dial(now), Some(0));
    core.handle_opened(now, 0);
    assert!(said(&mut core).contains("server/discover"));
    core.handle_lost(now, 0, "it died");
    dial_again(&mut core, &mut now);
    core.handle_lost(now, 0, "refused");
    dial_again(&mut core, &mut now);
    core.handle_opened(now, 0);
    assert!(said(&mut core).contains("initialize"));
}

/// A modern server that was killed during the probe got `initialize` on the next transport and refused it, and on each one after that.
#[test]
fn a_server_that_refuses_to_initialize_is_probed_again() {
    let (mut core, mut now) = (core(), 1);
    assert_eq!(core.poll_dial(now), Some(0));
    core.handle_opened(now, 0);
    core.handle_lost(now, 0, "it was killed");
    dial_again(&mut core, &mut now);
    core.handle_opened(now, 0);
    let asked: Value = serde_json::from_str(&said(&mut core)).expect("a request");
    assert_eq!(asked["method"], "initialize");
    answer_on(&mut core, 0, now, &asked, json!({"error": {"code": -32601, "message": "no such method"}}));
    dial_again(&mut core, &mut now);
    core.handle_opened(now, 0);
    assert!(said(&mut core).contains("server/discover"));
}

/// To open another transport in the other era counted as a failed attempt. With one attempt allowed, a healthy server was never reached.
#[test]
fn another_transport_in_the_other_era_is_no_failed_attempt() {
    let config = Config::builder().in_flight(4).attempts_max(1).seed(1).build().expect("valid");
    let (mut core, mut now) = (Core::new(&config, 1), 1);
    assert_eq!(core.poll_dial(now), Some(0));
    core.handle_opened(now, 0);
    let asked: Value = serde_json::from_str(&said(&mut core)).expect("a probe");
    let elsewhere = json!({"error": {"code": -32022, "message": "?", "data": {"supported": ["2025-06-18"]}}});
    answer_on(&mut core, 0, now, &asked, elsewhere);
    dial_again(&mut core, &mut now);
    shake_hands_on(&mut core, 0, now, "2025-06-18", "");
}

/// A shard that panicked over a broken window panicked over it again as it closed, and calls that it had not reached never ended.
#[test]
fn calls_end_once_whatever_is_broken() {
    let mut core = core();
    shake_hands(&mut core, 1, "2025-11-25", "");
    let in_flight: Vec<_> =
        (0..4).map(|tag| core.submit(2, tag, WAIT, b"\"method\":\"m\",\"params\":{")).collect();
    assert!(in_flight.iter().all(Option::is_some));
    core.enqueue(2, 7, WAIT, b"\"method\":\"m\",\"params\":{").expect("a slot");
    core.take_told();
    core.abandon(3);
    let mut ends: Vec<_> = core
        .take_told()
        .into_iter()
        .map(|told| match told {
            Told::Ended { tag, end: End::Failed(ErrorKind::Internal, fate), .. } => (tag, fate),
            other => panic!("{other:?}"),
        })
        .collect();
    ends.sort_by_key(|(tag, _)| *tag);
    assert_eq!(
        ends,
        [(0, Fate::Unknown), (1, Fate::Unknown), (2, Fate::Unknown), (3, Fate::Unknown), (7, Fate::NotSent)]
    );
    core.abandon(4);
    assert!(core.take_told().is_empty());
}

/// A core for a peer without MCP, whose connection is ready unheard.
fn plain(attempts_max: u32) -> Core {
    let config = Config::builder().plain_json_rpc().attempts_max(attempts_max).in_flight(4).seed(1);
    Core::new(&config.build().expect("valid"), 1)
}

const BODY: &[u8] = b"\"method\":\"m\",\"params\":{";

/// Whether a connection of a modern server, or of a plain one, came to stand says nothing of what is behind it: it is `Ready` unheard. Its end was
/// excused as that of one that had been idle for long, since its last transport had been: a proxy whose server was down was dialled
/// without end and without a pause, and a command that had begun to crash was started so.
#[test]
fn a_door_that_opens_on_nobody_is_knocked_at_a_few_times() {
    const ATTEMPTS: u32 = 5;
    let (mut core, mut now) = (plain(ATTEMPTS), 1);
    assert_eq!(core.poll_dial(now), Some(0));
    core.handle_opened(now, 0);
    let id = core.submit(now, 0, WAIT, BODY).expect("room");
    said(&mut core);
    answer_on(&mut core, 0, now, &json!({"id": id}), json!({"result": {}}));
    now += 60_000_000_000;
    let (began, mut dials) = (now, 0);
    while dials <= 2 * ATTEMPTS {
        core.handle_lost(now, 0, "closed");
        hang_up(&mut core);
        if core.refuses(now) {
            break;
        }
        now = core.poll_deadline().max(now);
        core.handle_time(now);
        assert_eq!(core.poll_dial(now), Some(0));
        core.handle_opened(now, 0);
        dials += 1;
    }
    assert_eq!(dials, ATTEMPTS - 1, "the idle one's end is the first attempt");
    assert!(now - began > 100_000_000, "with pauses: {} ns", now - began);
}

/// A server that hangs takes connections and calls, and answers none. When the calls had timed out nothing was in flight and nothing had been
/// heard for long, so each such connection's end was excused as an idle one's, and calls never came to fail at once.
#[test]
fn a_server_that_swallows_calls_is_given_up() {
    const ATTEMPTS: u32 = 4;
    let (mut core, mut now) = (plain(ATTEMPTS), 1);
    let mut dials = 0;
    while !core.refuses(now) {
        if dials > 0 {
            now = core.poll_deadline().max(now);
            core.handle_time(now);
        }
        assert_eq!(core.poll_dial(now), Some(0));
        dials += 1;
        assert!(dials <= 2 * ATTEMPTS, "it is dialled for ever");
        core.handle_opened(now, 0);
        let wait = Wait { timeout: Duration::from_secs(1), ..WAIT };
        core.submit(now, dials.into(), wait, BODY).expect("room");
        said(&mut core);
        now += 20_000_000_000;
        core.handle_time(now);
        said(&mut core);
        assert!(core.is_idle(), "it has timed out");
        core.handle_lost(now, 0, "closed by what stands in between");
        hang_up(&mut core);
    }
    assert_eq!(dials, ATTEMPTS);
}

/// The output of a connection was full and its server read no more, but one call was in flight still, whose answer came. From then on nothing was
/// in flight, nobody looked again, and calls that have no deadline before they are put on a connection waited for ever.
#[test]
fn a_full_output_that_stands_still_is_looked_at_after_the_last_answer() {
    let config = Config::builder().plain_json_rpc().in_flight(1024).seed(1).build().expect("valid");
    let (mut core, mut now) = (Core::new(&config, 1), 1);
    assert_eq!(core.poll_dial(now), Some(0));
    core.handle_opened(now, 0);
    let patient = core.submit(now, 0, WAIT, BODY).expect("room");
    said(&mut core);
    let long = [BODY, b"\"a\":\"", &[b'x'; 100_000], b"\""].concat();
    let hasty = Wait { timeout: Duration::from_secs(1), ..WAIT };
    while core.submit(now, 1, hasty, &long).is_some() {}
    let answers_at = now + 25_000_000_000;
    while core.poll_deadline() < answers_at {
        now = core.poll_deadline().max(now);
        core.handle_time(now);
        assert_eq!(core.submit(now, 2, WAIT, BODY), None, "the output is full");
    }
    now = answers_at;
    answer_on(&mut core, 0, now, &json!({"id": patient}), json!({"result": {}}));
    assert!(core.is_idle() && core.submit(now, 3, WAIT, BODY).is_none());
    while core.stats().retired == 0 {
        let at = core.poll_deadline();
        assert!(at < now + 60_000_000_000, "nobody looks");
        now = at.max(now);
        core.handle_time(now);
    }
}
