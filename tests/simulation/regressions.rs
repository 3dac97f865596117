//! What once went wrong, each with its story, on a core that is driven by hand.

use std::time::Duration;

use serde_json::{Value, json};
use volley::{
    Config,
    internals::exchange::{Core, Wait},
};

const WAIT: Wait =
    Wait { timeout: Duration::from_secs(30), at_most: Duration::from_secs(60), progress: false };

fn core() -> Core {
    Core::new(&Config::builder().in_flight(4).seed(1).build().expect("a valid configuration"), 1)
}

/// What the core wants to say on its one connection, taken from it.
fn said(core: &mut Core) -> String {
    let bytes = core.transmit(0).to_vec();
    core.handle_transmitted(0, bytes.len());
    String::from_utf8(bytes).expect("UTF-8")
}

/// Opens the connection to a server of the handshake era, which says `before` while the engine is still waiting.
fn shake_hands(core: &mut Core, now: u64, revision: &str, before: &str) {
    assert_eq!(core.poll_dial(now), Some(0));
    core.handle_opened(now, 0);
    core.handle_received(now, 0, before.as_bytes());
    while !core.view(0).ready {
        let asked: Value = serde_json::from_str(&said(core)).expect("one request");
        let mut answer = if asked["method"] == "initialize" {
            json!({"result": {"protocolVersion": revision, "capabilities": {}}})
        } else {
            json!({"error": {"code": -32601, "message": "what is that?"}})
        };
        (answer["jsonrpc"], answer["id"]) = ("2.0".into(), asked["id"].clone());
        core.handle_received(now, 0, format!("{answer}\n").as_bytes());
    }
    said(core);
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
