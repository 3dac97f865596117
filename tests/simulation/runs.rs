//! Calls that are submitted in runs against calls that are submitted one by one: two cores hear the same story, and must say the same.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use volley::{
    Config, Window,
    internals::exchange::{Core, Wait},
};

const WAIT: Wait =
    Wait { timeout: Duration::from_millis(20), at_most: Duration::from_secs(60), progress: false };

#[derive(Clone, Debug)]
enum Step {
    /// So many calls, with bodies of so many bytes.
    Submit { calls: usize, bytes: usize, progress: bool },
    /// The kernel takes so much.
    Transmit(usize),
    /// Every how-manyth call that has reached the server is answered.
    Answer(usize),
    /// Time passes, in milliseconds.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1usize..40, 0usize..300, any::<bool>())
            .prop_map(|(calls, bytes, progress)| Step::Submit { calls, bytes, progress }),
        1 => (1usize..8, 0usize..400_000).prop_map(|(calls, bytes)| Step::Submit { calls, bytes, progress: false }),
        3 => (0usize..500_000).prop_map(Step::Transmit),
        4 => prop_oneof![Just(1_usize), Just(1), 2usize..4].prop_map(Step::Answer),
        1 => (0u64..15).prop_map(Step::Wait),
    ]
}

/// A core, and the server at the other end of its connections.
struct Side {
    core: Core,
    /// What has reached the server of each connection, and the ids in it that were not answered.
    heard: Vec<Vec<u8>>,
    open: Vec<(u32, u64)>,
}

impl Side {
    fn new(config: &Config, connections: u32) -> Self {
        let mut core = Core::new(config, 1);
        while let Some(connection) = core.poll_dial(1) {
            core.handle_opened(1, connection);
        }
        assert!(
            (0..connections).all(|connection| core.view(connection).ready),
            "a plain peer needs no opening"
        );
        Self { core, heard: vec![Vec::new(); connections as usize], open: Vec::new() }
    }

    fn transmit(&mut self, bytes: usize) {
        while let Some(connection) = self.core.poll_dirty() {
            let output = self.core.transmit(connection);
            let taken = output.len().min(bytes);
            let heard = &mut self.heard[connection as usize];
            heard.extend_from_slice(&output[..taken]);
            self.core.handle_transmitted(connection, taken);
            while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = heard.drain(..=end).collect();
                let message: Value = serde_json::from_slice(&line).expect("one message a line");
                self.open.extend(message["id"].as_u64().map(|id| (connection, id)));
            }
            if taken == 0 {
                break;
            }
        }
        for connection in 0..self.heard.len() as u32 {
            if !self.core.transmit(connection).is_empty() {
                self.core.more_to_write(connection);
            }
        }
    }

    fn answer(&mut self, now: u64, every: usize) {
        let (mut n, mut answered) = (0, Vec::new());
        self.open.retain(|call| {
            n += 1;
            let is_due = n % every == 0;
            answered.extend(is_due.then_some(*call));
            !is_due
        });
        for (connection, id) in answered {
            let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n");
            self.core.handle_received(now, connection, answer.as_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn runs_say_what_single_calls_say(
        connections in 1u32..3,
        window in 1u32..80,
        adaptive in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let builder = Config::builder().connections(connections as usize).seed(1).plain_json_rpc();
        let builder = if adaptive {
            builder.window(Window::Adaptive { min: window.div_ceil(2), max: window })
        } else {
            builder.in_flight(window)
        };
        let config = builder.build().expect("a valid configuration");
        let (mut single, mut runs) = (Side::new(&config, connections), Side::new(&config, connections));
        let (mut now, mut tag) = (2_u64, 0_u64);
        for step in steps {
            match step {
                Step::Submit { calls, bytes, progress } => {
                    let wait = Wait { progress, ..WAIT };
                    let body = format!("\"method\":\"m\",\"params\":{{\"a\":\"{}\"", "x".repeat(bytes));
                    let calls: Vec<_> = (0..calls as u64).map(|n| (tag + n, body.as_bytes())).collect();
                    tag += calls.len() as u64;
                    let one_by_one =
                        calls.iter().take_while(|(tag, body)| single.core.submit(now, *tag, wait, body).is_some());
                    let taken = one_by_one.count();
                    prop_assert_eq!(runs.core.submit_runs(now, wait, &calls), taken);
                }
                Step::Transmit(bytes) => [&mut single, &mut runs].into_iter().for_each(|side| side.transmit(bytes)),
                Step::Answer(every) => {
                    // An adaptive window looks at rates.
                    now += 1_000_000;
                    [&mut single, &mut runs].into_iter().for_each(|side| side.answer(now, every));
                }
                Step::Wait(ms) => {
                    now += ms * 1_000_000;
                    [&mut single, &mut runs].into_iter().for_each(|side| side.core.handle_time(now));
                }
            }
            for connection in 0..connections {
                prop_assert_eq!(single.core.transmit(connection), runs.core.transmit(connection));
                prop_assert_eq!(single.core.view(connection), runs.core.view(connection));
            }
            prop_assert_eq!(single.core.room(), runs.core.room());
            prop_assert_eq!(single.core.poll_deadline(), runs.core.poll_deadline());
            prop_assert_eq!(single.core.take_told(), runs.core.take_told());
            prop_assert_eq!(format!("{:?}", single.core.stats()), format!("{:?}", runs.core.stats()));
        }
    }
}
