//! A server that says exactly the bytes that a test scripts.
//!
//! Each connection gets a thread that runs the script with a [`Peer`]. A peer answers the opening requests by itself, in the
//! era it was made for, so that scripts are about calls. A script ends when it returns or when the client hangs up.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use volley::Endpoint;

use crate::{ports, processes::Mark};

/// A listening server. Dropping it ends the listening; connections end with their scripts.
pub struct ByteServer {
    address: String,
    accepted: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl ByteServer {
    /// A server of the era `legacy` or `modern` on a free TCP port. `script` gets the number of its connection, from 0.
    pub fn tcp(era: &'static str, script: impl Fn(usize, &mut Peer) + Send + Sync + 'static) -> Self {
        let listener = ports::listener();
        let address = format!("tcp://{}", listener.local_addr().expect("an address"));
        Self::serve(address, era, script, move || {
            let (stream, _) = listener.accept().ok()?;
            stream.set_nodelay(true).ok()?;
            Some((Box::new(stream.try_clone().ok()?), Box::new(stream)))
        })
    }

    /// The same on a listener that exists, with something between the sockets and the bytes: `wrap` makes the two halves.
    pub fn wrapped(
        listener: TcpListener,
        wrap: impl Fn(TcpStream) -> (Box<dyn Read + Send>, Box<dyn Write + Send>) + Send + 'static,
        era: &'static str,
        script: impl Fn(usize, &mut Peer) + Send + Sync + 'static,
    ) -> Self {
        let address = format!("tcp://{}", listener.local_addr().expect("an address"));
        Self::serve(address, era, script, move || {
            let (stream, _) = listener.accept().ok()?;
            stream.set_nodelay(true).ok()?;
            Some(wrap(stream))
        })
    }

    /// The same on a Unix socket.
    pub fn unix(era: &'static str, script: impl Fn(usize, &mut Peer) + Send + Sync + 'static) -> Self {
        let path = std::env::temp_dir().join(format!("volley-script-{}.sock", Mark::new().as_str()));
        let listener = UnixListener::bind(&path).expect("a free path");
        Self::serve(format!("unix:{}", path.display()), era, script, move || {
            let (stream, _) = listener.accept().ok()?;
            Some((Box::new(stream.try_clone().ok()?), Box::new(stream)))
        })
    }

    fn serve(
        address: String,
        era: &'static str,
        script: impl Fn(usize, &mut Peer) + Send + Sync + 'static,
        accept: impl Fn() -> Option<(Box<dyn Read + Send>, Box<dyn Write + Send>)> + Send + 'static,
    ) -> Self {
        let (accepted, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end, script) = (Arc::clone(&accepted), Arc::clone(&over), Arc::new(script));
        thread::spawn(move || {
            while let Some((reads, writes)) = accept() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let number = count.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                thread::spawn(move || {
                    let mut peer = Peer { era, reads: BufReader::new(reads), writes };
                    script(number, &mut peer);
                });
            }
        });
        Self { address, accepted, over }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> Endpoint {
        self.address.parse().expect("an endpoint")
    }

    /// How many connections it has had.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for ByteServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // A connection wakes the thread that accepts; if it cannot be had, the thread has gone already.
        if let Some(address) = self.address.strip_prefix("tcp://") {
            let _ = TcpStream::connect(address);
        } else if let Some(path) = self.address.strip_prefix("unix:") {
            let _ = UnixStream::connect(path);
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A listener on a free port whose connections are full after a few packets, if nobody reads.
///
/// # Panics
/// If there is none.
pub fn narrow_listener() -> TcpListener {
    let listener = ports::listener();
    // Connections inherit it; the system rounds it up.
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 4096).expect("a narrow listener");
    listener
}

/// The server's end of one connection.
pub struct Peer {
    era: &'static str,
    reads: BufReader<Box<dyn Read + Send>>,
    writes: Box<dyn Write + Send>,
}

/// A call as the server sees it.
#[derive(Debug)]
pub struct Asked {
    /// The request's id, as JSON.
    pub id: String,
    /// The argument `message`.
    pub message: String,
}

impl Peer {
    /// The next message, whatever it is; `None` once the client has hung up.
    pub fn next_message(&mut self) -> Option<Value> {
        self.next_line().map(|line| serde_json::from_str(&line).expect("the client sends JSON"))
    }

    /// The next line, with its line feed; `None` once the client has hung up.
    pub fn next_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reads.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line),
        }
    }

    /// Answers the first message, which opens the connection in the modern era.
    pub fn open(&mut self) {
        if let Some(Opening::Answer(line)) = self.next_message().map(|message| opening(self.era, &message)) {
            self.say_line(&line);
        }
    }

    /// The next message that is not about opening the connection; openings are answered.
    pub fn next_after_opening(&mut self) -> Option<Value> {
        loop {
            let message = self.next_message()?;
            match opening(self.era, &message) {
                Opening::Answer(answer) => {
                    self.say_line(&answer);
                }
                Opening::Nothing => {}
                Opening::Over => return Some(message),
            }
        }
    }

    /// The next call; other messages are passed over.
    pub fn next_call(&mut self) -> Option<Asked> {
        loop {
            let message = self.next_after_opening()?;
            if message["method"] == "tools/call" {
                let text = message["params"]["arguments"]["message"].as_str().unwrap_or_default();
                return Some(Asked { id: message["id"].to_string(), message: text.to_owned() });
            }
        }
    }

    /// The next cancellation: the id it names, as JSON.
    pub fn next_cancellation(&mut self) -> Option<String> {
        loop {
            let message = self.next_after_opening()?;
            if message["method"] == "notifications/cancelled" {
                return Some(message["params"]["requestId"].to_string());
            }
        }
    }

    /// Says these bytes. `false` if the client has hung up.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.writes.write_all(bytes).and_then(|()| self.writes.flush()).is_ok()
    }

    /// Says a line.
    pub fn say_line(&mut self, line: &str) -> bool {
        self.say(format!("{line}\n").as_bytes())
    }

    /// Reads bytes that are no messages until the client hangs up.
    pub fn pass_over_rest(&mut self) {
        // What they are and how they end is the client's affair.
        let _ = std::io::copy(&mut self.reads, &mut std::io::sink());
    }

    /// Answers calls as they come until the client hangs up.
    pub fn answer_all(&mut self) {
        while let Some(asked) = self.next_call() {
            self.say_line(&answer(&asked.id, &asked.message));
        }
    }
}

/// What a server does with a message while a connection is being opened.
pub(crate) enum Opening {
    /// It says this line.
    Answer(String),
    /// There is nothing to say to it.
    Nothing,
    /// It is no message of the opening.
    Over,
}

/// How a server of the era `legacy` or `modern` opens.
pub(crate) fn opening(era: &str, message: &Value) -> Opening {
    let id = message["id"].to_string();
    match (message["method"].as_str().unwrap_or_default(), era) {
        ("server/discover", "modern") => {
            let result = json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}});
            Opening::Answer(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
        }
        ("server/discover", _) => Opening::Answer(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"method not found"}}}}"#
        )),
        ("initialize", _) => {
            let result = json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "scripted", "version": "1"},
            });
            Opening::Answer(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
        }
        ("notifications/initialized", _) => Opening::Nothing,
        _ => Opening::Over,
    }
}

/// The answer of `echo`, without its line feed.
pub fn answer(id: &str, text: &str) -> String {
    let text = Value::from(text);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#)
}
