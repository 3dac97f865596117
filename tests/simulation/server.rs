//! The servers of a world: right about what they are asked, and wrong about everything else.
//!
//! A server reads whole lines and keeps what it was asked until it is told to act; then it may answer anything it was
//! asked, in any order and in many spellings, twice, late, never, too long or in pieces that make no sense, and says things
//! of its own in between. It writes the wire with its own code. Every line says what it means ([`Item`]), so that the
//! world knows what the engine must make of it.

use std::collections::VecDeque;

use fastrand::Rng;
use serde_json::{Value, json};

/// The revision that has arrays.
const WITH_ARRAYS: &str = "2025-03-26";

/// How a server opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Knows `server/discover` and wants no handshake.
    Modern,
    /// Wants a handshake and refuses the probe with some error.
    Legacy,
    /// Refuses the probe as a modern server would, then wants a handshake on another transport.
    LegacyElsewhere,
    /// Dies of any first request but `initialize`.
    DiesOfProbe,
    /// Hears nothing but `initialize` at first.
    DeafToProbe,
    /// Opens, and then never says a word.
    Mute,
    /// Opens, and is gone.
    Crashes,
}

/// What a server makes of a JSON-RPC array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// It takes arrays of up to so many requests, as if they had come one by one.
    pub(crate) takes: usize,
    /// Of longer ones it says that they are wrong, without a word of which; else it drops them in silence.
    pub(crate) complains: bool,
}

impl Manner {
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        Self { takes: [0, 2, 3, 100, 100, 100][rng.usize(..6)], complains: rng.bool() }
    }
}

/// What one line says.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: Vec<Item>,
}

/// The parts of a line that the engine must act upon.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// Ends the call with this id, if it is one of this connection's.
    Answer(u64),
    /// Is brought to whoever listens.
    Notification(Vec<u8>),
    /// Gets one reply.
    Request(String),
}

/// How likely a server does what, in percent of its acts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) answers: u32,
    pub(crate) odd_spelling: u32,
    pub(crate) twice: u32,
    pub(crate) unusable: u32,
    pub(crate) chatter: u32,
    pub(crate) forges: u32,
    pub(crate) frame_bytes_max: usize,
}

/// Something the server was asked and has not answered.
struct Asked {
    id: u64,
    arg: Value,
    token: Option<Value>,
    cancelled: bool,
}

/// One server process, as long as one transport lasts.
pub(crate) struct Server {
    mode: Mode,
    manner: Option<Manner>,
    revision: &'static str,
    /// The handshake was made, in this revision.
    agreed: Option<&'static str>,
    initialized: bool,
    unread: Vec<u8>,
    asked: Vec<Asked>,
    answered: Vec<u64>,
    /// Of these, those whose answer named them.
    settled: Vec<u64>,
    pub(crate) out: VecDeque<Line>,
    /// It has closed its end.
    pub(crate) dead: bool,
    started: u64,
    /// Notifications of the client that arrived, cancellations and the handshake's aside.
    pub(crate) heard: Vec<Value>,
    /// Replies of the client to requests of this server.
    pub(crate) replies: Vec<String>,
}

impl Server {
    pub(crate) fn new(mode: Mode, manner: Option<Manner>, rng: &mut Rng) -> Self {
        let revisions = ["2024-11-05", WITH_ARRAYS, "2025-06-18", "2025-11-25"];
        let drawn = revisions[rng.usize(..4)];
        Self {
            mode,
            manner,
            revision: if manner.is_some() { WITH_ARRAYS } else { drawn },
            agreed: None,
            initialized: false,
            unread: Vec::new(),
            asked: Vec::new(),
            answered: Vec::new(),
            settled: Vec::new(),
            out: VecDeque::new(),
            dead: mode == Mode::Crashes,
            started: 0,
            heard: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// Does the engine take it for a server of the handshake era, so that its requests get replies?
    pub(crate) fn has_shaken_hands(&self) -> bool {
        self.agreed.is_some()
    }

    /// Requests that it holds and that were not cancelled.
    pub(crate) fn in_flight(&self) -> usize {
        self.asked.iter().filter(|asked| !asked.cancelled).count()
    }

    /// Bytes from the kernel.
    pub(crate) fn read(&mut self, bytes: &[u8], rng: &mut Rng) {
        self.unread.extend_from_slice(bytes);
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let message = serde_json::from_slice(&line).expect("the engine writes JSON, one message a line");
            match message {
                Value::Array(messages) => self.hear_array(messages, rng),
                message => self.hear(message, rng),
            }
        }
    }

    fn hear_array(&mut self, messages: Vec<Value>, rng: &mut Rng) {
        let Some(manner) = self.manner.filter(|_| self.initialized) else {
            panic!("an array for a server that speaks {:?}", self.agreed);
        };
        assert!(messages.len() > 1, "an array of one call: {messages:?}");
        if messages.len() <= manner.takes {
            messages.into_iter().for_each(|message| self.hear(message, rng));
        } else if manner.complains {
            let text = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"too long"}}"#;
            self.say(text.to_owned(), Vec::new());
        }
    }

    fn hear(&mut self, message: Value, rng: &mut Rng) {
        assert_eq!(message["jsonrpc"], "2.0");
        let Some(method) = message["method"].as_str() else {
            self.replies.push(message["id"].to_string());
            return;
        };
        let Some(id) = message.get("id") else {
            self.hear_notification(method, &message);
            return;
        };
        let id = id.as_u64().expect("ids are whole numbers");
        let is_modern = message["params"]["_meta"].get("io.modelcontextprotocol/protocolVersion").is_some();
        match method {
            "server/discover" => self.hear_probe(id, rng),
            "initialize" => self.hear_initialize(id, &message),
            "ping" => self.say(odd(id, &Value::Null, rng), Vec::new()),
            _ => {
                if self.agreed.is_some() {
                    assert!(
                        self.initialized && !is_modern,
                        "a call of the other era after the handshake: {message}"
                    );
                }
                assert!(self.asked.iter().all(|asked| asked.id != id), "asked {id} twice");
                assert!(!self.answered.contains(&id), "asked {id} again after the answer");
                let token = message["params"]["_meta"].get("progressToken").cloned();
                let arg = message["params"]["arguments"]["n"].clone();
                self.asked.push(Asked { id, arg, token, cancelled: false });
            }
        }
    }

    fn hear_notification(&mut self, method: &str, message: &Value) {
        match method {
            "notifications/initialized" => {
                assert!(self.agreed.is_some() && !self.initialized, "initialized, out of turn");
                self.initialized = true;
            }
            "notifications/cancelled" => {
                let id = message["params"]["requestId"].as_u64();
                for asked in self.asked.iter_mut().filter(|asked| Some(asked.id) == id) {
                    assert!(!asked.cancelled, "cancelled twice: {message}");
                    asked.cancelled = true;
                }
            }
            _ => self.heard.push(message.clone()),
        }
    }

    fn hear_probe(&mut self, id: u64, rng: &mut Rng) {
        let answer = match self.mode {
            Mode::Modern => json!({"result": {"supportedVersions": ["2026-07-28"], "capabilities": {}}}),
            Mode::Legacy => {
                let code = [-32601, -32600, -32000, 7][rng.usize(..4)];
                json!({"error": {"code": code, "message": "?"}})
            }
            Mode::LegacyElsewhere => {
                json!({"error": {"code": -32022, "message": "?", "data": {"supported": [self.revision]}}})
            }
            Mode::DiesOfProbe => {
                self.dead = true;
                return;
            }
            Mode::DeafToProbe | Mode::Mute | Mode::Crashes => return,
        };
        self.write_opening(id, answer);
    }

    fn hear_initialize(&mut self, id: u64, message: &Value) {
        assert!(self.agreed.is_none(), "initialized twice: {message}");
        if matches!(self.mode, Mode::Mute | Mode::Crashes) {
            return;
        }
        if self.mode == Mode::Modern {
            self.write_opening(id, json!({"error": {"code": -32022, "message": "no handshake here"}}));
            return;
        }
        self.agreed = Some(self.revision);
        self.write_opening(id, json!({"result": {"protocolVersion": self.revision, "capabilities": {}}}));
    }

    fn write_opening(&mut self, id: u64, mut answer: Value) {
        answer["jsonrpc"] = "2.0".into();
        answer["id"] = id.into();
        self.out.push_back(Line { bytes: format!("{answer}\n").into_bytes(), items: Vec::new() });
    }

    /// Does one thing, or nothing. `foreign` are ids that this connection has no business with.
    pub(crate) fn act(&mut self, habits: &Habits, foreign: &[u64], rng: &mut Rng) -> Option<u64> {
        let percent = |rng: &mut Rng, likely: u32| rng.u32(..100) < likely;
        if matches!(self.mode, Mode::Mute | Mode::Crashes) {
            return None;
        }
        if percent(rng, habits.chatter) {
            self.chatter(habits, rng);
        }
        if percent(rng, habits.forges) && !foreign.is_empty() {
            let id = foreign[rng.usize(..foreign.len())];
            self.say(
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"arg":"forged"}}}}"#),
                vec![Item::Answer(id)],
            );
            return Some(id);
        }
        if !self.asked.is_empty() && percent(rng, habits.answers) {
            if self.agreed == Some(WITH_ARRAYS) && percent(rng, 20) {
                self.answer_in_an_array(rng);
            } else {
                let asked = self.asked.swap_remove(rng.usize(..self.asked.len()));
                self.answer(&asked, habits, rng);
            }
        }
        None
    }

    fn answer(&mut self, asked: &Asked, habits: &Habits, rng: &mut Rng) {
        let (id, arg) = (asked.id, &asked.arg);
        self.answered.push(id);
        if rng.u32(..100) < habits.unusable {
            self.answer_unusably(id, habits, rng);
            return;
        }
        let text = if rng.u32(..100) < habits.odd_spelling { odd(id, arg, rng) } else { plain(id, arg) };
        self.say(text.clone(), vec![Item::Answer(id)]);
        self.settled.push(id);
        if rng.u32(..100) < habits.twice {
            self.say(text, vec![Item::Answer(id)]);
        }
    }

    /// Answers that name their call and cannot be used, or are lost because they name none.
    fn answer_unusably(&mut self, id: u64, habits: &Habits, rng: &mut Rng) {
        let pad = "x".repeat(habits.frame_bytes_max + rng.usize(..2000));
        let (text, found) = match rng.u32(..5) {
            0 => (format!(r#"{{"jsonrpc":"2.0","id":{id}}}"#), true),
            1 => (format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"pad":"{pad}"}}}}"#), true),
            2 => (format!(r#"{{"jsonrpc":"2.0","result":{{"pad":"{pad}"}},"id":{id}}}"#), true),
            3 => (format!(r#"{{"result":{{"pad":"{pad}"}},"id":{id},"more":"{pad}"}}"#), false),
            _ => (
                format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-32700,"message":"{id}?"}}}}"#),
                false,
            ),
        };
        self.say(text, if found { vec![Item::Answer(id)] } else { Vec::new() });
    }

    fn answer_in_an_array(&mut self, rng: &mut Rng) {
        let (mut texts, mut items) = (Vec::new(), Vec::new());
        for _ in 0..rng.usize(1..=4).min(self.asked.len()) {
            let asked = self.asked.swap_remove(rng.usize(..self.asked.len()));
            self.answered.push(asked.id);
            texts.push(plain(asked.id, &asked.arg));
            items.push(Item::Answer(asked.id));
        }
        if rng.bool() {
            texts.push(self.notification());
            items.push(Item::Notification(texts[texts.len() - 1].clone().into_bytes()));
        }
        self.say(format!("[{}]", texts.join(if rng.bool() { "," } else { " , " })), items);
    }

    /// What nobody asked for.
    fn chatter(&mut self, habits: &Habits, rng: &mut Rng) {
        let reported = self.asked.iter().find_map(|asked| asked.token.clone());
        match rng.u32(..11) {
            0 => self.say("INFO: still here {\"id\":1}".to_owned(), Vec::new()),
            1 => self.say(["", "  ", "\r", "\u{FEFF}"][rng.usize(..4)].to_owned(), Vec::new()),
            2 => self.say("[INFO] bracketed".to_owned(), Vec::new()),
            3 => {
                let id =
                    ["9007199254740991", "99999999999999999999", "-3", "0", "null", "\"x\"", "{}", "1.5"]
                        [rng.usize(..8)];
                self.say(
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"arg":"nobody's"}}}}"#),
                    Vec::new(),
                );
            }
            4 => {
                if let Some(id) = self.settled.last() {
                    let late = plain(*id, &json!("a second answer"));
                    self.say(late, Vec::new());
                }
            }
            5 if reported.is_some() => {
                let token = reported.unwrap_or_default();
                let token = if rng.bool() { json!(token.to_string()) } else { token };
                let params = json!({"progressToken": token, "progress": 1});
                let text = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
                    .to_string();
                self.say(text.clone(), vec![Item::Notification(text.into_bytes())]);
            }
            6 => {
                let long = "y".repeat(habits.frame_bytes_max + rng.usize(..3000));
                self.say(format!(r#"{{"jsonrpc":"2.0","method":"long","params":"{long}"}}"#), Vec::new());
            }
            7 | 8 => self.request(rng),
            9 if self.agreed != Some(WITH_ARRAYS) => {
                self.say(r#"[{"jsonrpc":"2.0","method":"in/an/array"}]"#.to_owned(), Vec::new());
            }
            _ => {
                let text = self.notification();
                self.say(text.clone(), vec![Item::Notification(text.into_bytes())]);
            }
        }
    }

    fn notification(&mut self) -> String {
        self.started += 1;
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"n":{}}}}}"#, self.started)
    }

    fn request(&mut self, rng: &mut Rng) {
        self.started += 1;
        let id = if rng.bool() { format!("\"s-{}\"", self.started) } else { self.started.to_string() };
        let method = if rng.bool() { "ping" } else { "roots/list" };
        self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#), vec![Item::Request(id)]);
    }

    fn say(&mut self, text: String, items: Vec<Item>) {
        let mut bytes = text.into_bytes();
        bytes.push(b'\n');
        self.out.push_back(Line { bytes, items });
    }
}

fn plain(id: u64, arg: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"arg":{arg}}}}}"#)
}

/// The same answer as other servers would write it.
fn odd(id: u64, arg: &Value, rng: &mut Rng) -> String {
    match rng.u32(..10) {
        0 => format!(r#"{{"jsonrpc":"2.0","result":{{"arg":{arg}}},"id":{id}}}"#),
        1 => format!(r#"{{ "jsonrpc" : "2.0" , "id" : {id} , "result" : {{ "arg" : {arg} }} }}  "#),
        2 => format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"arg":{arg}}}}}"#),
        3 => format!(r#"{{"jsonrpc":"2.0","id":{id}.0,"result":{{"arg":{arg}}}}}"#),
        4 => format!(r#"{{"\u0069d":{id},"result":{{"arg":{arg}}}}}"#),
        5 => format!(r#"{{"result":{{"arg":{arg}}},"id":{id},"jsonrpc":"2.0"}}"#),
        6 => format!(r#"{{"result":{{"id":12345,"arg":{arg}}},"jsonrpc":"2.0","id":{id}}}"#),
        7 => format!("\u{FEFF} {}\r", plain(id, arg)),
        8 => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":"no","data":{{"arg":{arg}}}}}}}"#
        ),
        _ => {
            format!(r#"{{"error":{{"code":-32602,"message":"\"id\":1","data":{{"arg":{arg}}}}},"id":{id}}}"#)
        }
    }
}
