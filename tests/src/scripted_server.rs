//! A server that does what a script says, line by line, and keeps all that the client wrote.
//!
//! Each connection is played on a thread of its own by the same script, which reads and writes through a [`Peer`]. It has no
//! manners but those the script gives it; [`Peer::open`] plays the opening of a well-behaved server, [`Peer::serve`] all of
//! it. [`ScriptedServer::finish`] waits until the client has hung up, passes a script's panic on, and gives the [`Record`].
//! For scripts that only have to say something odd, without a record, there is [`crate::byte_server`].

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use volley::{Era, Revision};

use crate::{
    patience::PATIENCE,
    ports,
    record::{Line, Record},
};

/// The listener and what it has seen.
#[derive(Debug)]
pub struct ScriptedServer {
    endpoint: String,
    seen: Arc<Seen>,
    listening: Arc<AtomicBool>,
    accepting: JoinHandle<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Seen {
    lines: Mutex<Vec<Line>>,
    news: Condvar,
}

/// One connection, as its script sees it.
#[derive(Debug)]
pub struct Peer {
    reader: BufReader<TcpStream>,
    number: usize,
    seen: Arc<Seen>,
}

impl ScriptedServer {
    /// Listens on a free port and plays `script` on each connection.
    ///
    /// # Panics
    /// If the system gives no port.
    pub fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = ports::listener();
        let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
        let (seen, listening) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(true)));
        let (sees, listens, script) = (Arc::clone(&seen), Arc::clone(&listening), Arc::new(script));
        let accepting = thread::spawn(move || {
            let mut playing = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                if !listens.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.expect("a connection");
                // Whatever goes wrong, a test ends.
                stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                stream.set_nodelay(true).expect("no delay");
                let mut peer = Peer { reader: BufReader::new(stream), number, seen: Arc::clone(&sees) };
                let script = Arc::clone(&script);
                playing.push(thread::spawn(move || script(&mut peer)));
            }
            playing
        });
        Self { endpoint, seen, listening, accepting }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits until the client has written a line like this, and gives it.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn wait_for(&self, is_it: impl Fn(&Line) -> bool) -> Line {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.seen.lines.lock();
        loop {
            if let Some(line) = lines.iter().find(|line| is_it(line)) {
                return line.clone();
            }
            let waited = self.seen.news.wait_until(&mut lines, until);
            assert!(!waited.timed_out(), "the client never wrote it; it wrote {:#?}", *lines);
        }
    }

    /// Everything written so far.
    pub fn so_far(&self) -> Record {
        Record::new(self.seen.lines.lock().clone())
    }

    /// Waits for the end of all connections and gives all that the client wrote. Close the client first.
    ///
    /// # Panics
    /// If a script has panicked, or the client broke a rule that holds always ([`Record::check`]).
    pub fn finish(self) -> Record {
        self.listening.store(false, Ordering::SeqCst);
        // Wakes the listener, which sees that it is over.
        let _ = TcpStream::connect(self.endpoint.trim_start_matches("tcp://"));
        for script in self.accepting.join().expect("the listener lives") {
            if let Err(panic) = script.join() {
                std::panic::resume_unwind(panic);
            }
        }
        let record = Record::new(self.seen.lines.lock().clone());
        record.check();
        record
    }
}

impl Peer {
    /// Which connection this is, from 0 on.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next line that the client writes; `None` when it has hung up. What is no JSON comes as null: the record knows.
    ///
    /// # Panics
    /// If the client is silent for long.
    pub fn read(&mut self) -> Option<Value> {
        let mut bytes = Vec::new();
        match self.reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) => {}
            // The client may hang up with bytes of ours unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("connection {}: {error}", self.number),
        }
        let line = Line::new(self.number, bytes);
        let message = line.message.clone();
        self.seen.lines.lock().push(line);
        self.seen.news.notify_all();
        Some(message)
    }

    /// Reads on until a line with this method, or to the end.
    pub fn read_until(&mut self, method: &str) -> Option<Value> {
        loop {
            let message = self.read()?;
            if message["method"] == method {
                return Some(message);
            }
        }
    }

    /// Reads so many calls of tools.
    ///
    /// # Panics
    /// If the client hangs up first.
    pub fn read_calls(&mut self, count: usize) -> Vec<Value> {
        (0..count)
            .map(|n| self.read_until("tools/call").unwrap_or_else(|| panic!("{n} calls came")))
            .collect()
    }

    /// Reads one call of a tool.
    ///
    /// # Panics
    /// If the client hangs up first.
    pub fn read_call(&mut self) -> Value {
        self.read_until("tools/call").expect("a call")
    }

    /// Reads to the end and answers nothing.
    pub fn read_rest(&mut self) {
        while self.read().is_some() {}
    }

    /// Checks that the client writes nothing for so long.
    ///
    /// # Panics
    /// If it does.
    pub fn expect_silence(&mut self, wait: Duration) {
        self.reader.get_ref().set_read_timeout(Some(wait)).expect("a time-out");
        let seen = self.reader.fill_buf().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        self.reader.get_ref().set_read_timeout(Some(PATIENCE)).expect("a time-out");
        if let Ok(bytes) = seen {
            panic!("connection {}: the client wrote {bytes:?}", self.number);
        }
    }

    /// Writes these bytes, as they are.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may have hung up; the record shows what came before.
        let _ = self.reader.get_mut().write_all(bytes.as_ref());
    }

    /// Writes one message on a line.
    pub fn send(&mut self, message: &Value) {
        self.say(format!("{message}\n"));
    }

    /// Answers a request with a result.
    pub fn result(&mut self, request: &Value, result: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}));
    }

    /// Answers a request with an error.
    pub fn error(&mut self, request: &Value, code: i64, data: &Value) {
        let error = json!({"code": code, "message": "so says the script", "data": data});
        self.send(&json!({"jsonrpc": "2.0", "id": request["id"], "error": error}));
    }

    /// Answers a call of a tool with its own `message` argument.
    pub fn echo(&mut self, call: &Value) {
        let answer = echoed(call);
        self.send(&answer);
    }

    /// Plays the opening of a server that speaks this revision and no other, until calls may come.
    ///
    /// # Panics
    /// If the client hangs up, or opens in a way that such a server cannot answer.
    pub fn open(&mut self, revision: Revision) {
        let first = self.read().expect("an opening request");
        if revision.era() == Era::Modern {
            assert_eq!(first["method"], "server/discover", "the first request");
            return self.result(&first, &discovered(&[revision.as_str()]));
        }
        let initialize = if first["method"] == "server/discover" {
            self.error(&first, -32601, &Value::Null);
            self.read().expect("a second opening request")
        } else {
            first
        };
        self.agree(&initialize, revision.as_str());
    }

    /// Answers `initialize` with this revision and reads `notifications/initialized`.
    ///
    /// # Panics
    /// If the client writes anything else.
    pub fn agree(&mut self, initialize: &Value, revision: &str) {
        assert_eq!(initialize["method"], "initialize", "the opening request");
        self.result(initialize, &initialized(revision));
        let next = self.read().expect("a notification");
        assert_eq!(next["method"], "notifications/initialized", "what follows the answer to initialize");
    }

    /// Opens, then answers every call with its own argument until the client hangs up.
    pub fn serve(&mut self, revision: Revision) {
        self.open(revision);
        self.echo_rest();
    }

    /// Answers every call with its own argument until the client hangs up.
    pub fn echo_rest(&mut self) {
        while let Some(call) = self.read_until("tools/call") {
            self.echo(&call);
        }
    }

    /// Ends the connection, as a crashing server does.
    pub fn hang_up(&mut self) {
        // It may be gone already.
        let _ = self.reader.get_mut().shutdown(Shutdown::Both);
    }
}

/// The answer of `echo` to this call.
pub fn echoed(call: &Value) -> Value {
    let text = &call["params"]["arguments"]["message"];
    json!({"jsonrpc": "2.0", "id": call["id"], "result": {"content": [{"type": "text", "text": text}]}})
}

/// The result of `initialize` of a server that chose this revision.
pub fn initialized(revision: &str) -> Value {
    json!({"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": {"name": "scripted", "version": "1"}})
}

/// The result of `server/discover` of a server that speaks these revisions.
pub fn discovered(revisions: &[&str]) -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": revisions,
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "scripted", "version": "1"}},
    })
}
