//! A shard with the real desk and exchange, before a server that answers in any order. `runner/mod.rs` without a poll: its order is
//! kept here by hand, since what it polls are sockets.

use std::sync::Arc;

use serde_json::{Value, json};
use shuttle::rand::{Rng, thread_rng};

use super::{Model, Sleeper};
use crate::{
    base::time::Instant,
    decode::pool::Pool,
    proto::{
        event::{Failure, Fate, Why},
        exchange::Exchange,
    },
    shard::{
        inbox::{Command, ShardHandle, question},
        memory::{Memory, ShardMemory},
        porter::Porter,
        runner::desk::Desk,
    },
    telemetry::counters::Stats,
};

/// See the module.
pub(crate) struct Full {
    handle: Arc<ShardHandle>,
    sleeper: Arc<Sleeper>,
    desk: Desk,
    exchange: Exchange,
    /// Answers that the server has not sent.
    answers: Vec<Vec<u8>>,
    now: Instant,
    dialled: bool,
}

impl Full {
    pub(crate) fn of(model: &mut Model) -> Self {
        let config = &model.engine.config;
        let memory = ShardMemory { memory: Arc::new(Memory::default()), may_probe: true };
        let magazine = model.magazine.take().expect("one shard a model");
        let slots = model.layout.slots();
        let exchange = Exchange::new(config.settings(0, 7), Arc::new(memory), model.layout, slots, magazine);
        let porter = Arc::new(Porter::new(None, None).expect("no thread without a handler"));
        let pool = Pool::new(0).expect("no thread");
        let handle = Arc::clone(&model.handle);
        let desk = Desk::new(Arc::clone(&handle), porter, pool, usize::MAX, false);
        let sleeper = Arc::clone(&model.sleeper);
        Self {
            handle,
            sleeper,
            desk,
            exchange,
            answers: Vec::new(),
            now: Instant::from_ns(1),
            dialled: false,
        }
    }

    /// Runs until told to close; the counters at the end.
    pub(crate) fn run(mut self) -> Stats {
        loop {
            let claims_seen = self.handle.claims();
            let closing = self.take_commands();
            self.take_calls();
            self.desk.feed(self.now, &mut self.exchange);
            let did = self.turn();
            // As a shard does: more may come, and the consumer need not be woken yet.
            self.desk.hand_out(did, false);
            if closing {
                break;
            }
            if !did && self.handle.may_sleep(claims_seen) {
                self.sleeper.sleep();
                self.handle.woke();
            }
        }
        self.exchange.close(self.now, Why::Closed, &mut self.desk);
        self.desk.fail_claims(Failure { why: Why::Closed, fate: Fate::NotSent });
        self.desk.hand_out(false, false);
        self.desk.abandon_jobs(Why::Closed);
        self.handle.close(false);
        *self.exchange.stats()
    }

    fn take_commands(&mut self) -> bool {
        let mut closing = false;
        while let Some(command) = self.handle.pop_command() {
            match command {
                Command::Cancel(key) => self.exchange.cancel(self.now, key, &mut self.desk),
                Command::Job(job) => self.desk.open_job(job),
                Command::Notify(note) => self.desk.notify(note),
                Command::Respond { .. } | Command::Drain => {}
                Command::Close => closing = true,
            }
        }
        closing
    }

    fn take_calls(&mut self) {
        while let Some(key) = self.handle.pop_call() {
            let cell = self.handle.slab.get(key).expect("a popped key is live");
            let patience = question(cell, |question| question.patience);
            let abandoned = cell.is_abandoned();
            self.exchange.enqueue(self.now, key, key.wire(), &patience, &mut self.desk);
            if abandoned {
                self.exchange.cancel(self.now, key, &mut self.desk);
            }
        }
    }

    /// Dialling, writing, the server, reading.
    fn turn(&mut self) -> bool {
        let mut did = false;
        while let Some(n) = self.exchange.poll_dial(self.now) {
            assert!(!std::mem::replace(&mut self.dialled, true), "dialled twice");
            self.exchange.handle_opened(self.now, n, false);
            did = true;
        }
        did |= self.exchange.assign(self.now, &mut self.desk) > 0;
        while let Some(n) = self.exchange.poll_dirty() {
            let bytes = self.exchange.transmit(n).to_vec();
            self.exchange.handle_transmitted(n, bytes.len());
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                self.serve(&serde_json::from_slice(line).expect("a request is JSON"));
            }
            did = true;
        }
        // Some of the answers, in any order; all of them sooner or later.
        for _ in 0..self.answers.len().min(3) {
            let answer = self.answers.swap_remove(thread_rng().gen_range(0..self.answers.len()));
            let space = self.exchange.space(0);
            assert!(answer.len() <= space.len(), "a short answer");
            space[..answer.len()].copy_from_slice(&answer);
            self.exchange.handle_received(self.now, 0, answer.len(), &mut self.desk);
            did = true;
        }
        did
    }

    fn serve(&mut self, request: &Value) {
        let (Some(method), Some(id)) = (request["method"].as_str(), request.get("id")) else { return };
        let result = match method {
            "initialize" => json!({
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {},
                "serverInfo": {"name": "model", "version": "1"},
            }),
            _ => json!({"content": [], "arguments": request["params"]["arguments"]}),
        };
        let mut answer = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string().into_bytes();
        answer.push(b'\n');
        self.answers.push(answer);
    }
}
