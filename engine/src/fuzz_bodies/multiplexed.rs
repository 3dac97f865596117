//! HTTP/2: any bytes as the server's, cut anywhere. What the lanes are told has the grammar that the machine promises, however the
//! `h2` crate takes the bytes: a head, data, an end; or a loss in place of any of these; and after either nothing.

use crate::proto::http::h2::{Event, H2, RequestHead, machine};

const LANES: u32 = 4;

/// How far a lane is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Sent,
    Begun,
    Over,
}

/// Sends `lanes` requests and receives `stream` in pieces of these sizes; then the socket ends, and every lane has to know.
pub(super) fn run(lanes: u8, stream: &[u8], sizes: impl Iterator<Item = usize>) {
    let mut h2 = machine(None).expect("built with HTTP/2");
    let mut stages = Vec::new();
    let head = RequestHead {
        method: "POST",
        scheme: "http",
        authority: "localhost",
        target: "/mcp",
        headers: "Content-Type: application/json\r\n",
    };
    for lane in 0..u32::from(lanes) % (LANES + 1) {
        h2.send(lane, &head, b"{}").expect("there is room for the first few");
        stages.push(Stage::Sent);
    }
    write(&mut h2);
    let mut rest = stream;
    for size in sizes {
        let (piece, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        if piece.is_empty() {
            break;
        }
        h2.receive(piece);
        hear(&mut h2, &mut stages);
        write(&mut h2);
        hear(&mut h2, &mut stages);
    }
    h2.receive_end();
    hear(&mut h2, &mut stages);
    assert!(
        stages.iter().all(|stage| *stage == Stage::Over),
        "a lane waits for a socket that is gone: {stages:?}"
    );
    assert_eq!(h2.streams(), 0);
}

fn write(h2: &mut H2) {
    let bytes = h2.waiting().len();
    h2.written(bytes);
}

fn hear(h2: &mut H2, stages: &mut [Stage]) {
    while let Some((lane, event)) = h2.poll() {
        let stage = &mut stages[lane as usize];
        *stage = match (*stage, &event) {
            (Stage::Sent, Event::Head(head)) => {
                assert!(head.status >= 200, "an interim answer was told");
                Stage::Begun
            }
            (Stage::Begun, Event::Data(_)) => Stage::Begun,
            (Stage::Begun, Event::End) | (Stage::Sent | Stage::Begun, Event::Lost { .. }) => Stage::Over,
            (stage, event) => panic!("lane {lane} is {stage:?} and was told {event:?}"),
        };
    }
}
