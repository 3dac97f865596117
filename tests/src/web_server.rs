//! A server over HTTP/1.1 that shows each request to a function and sends what that answers.
//!
//! Each connection is served on a thread of its own, request after request, until the client hangs up. The requests are kept.
//! [`Asked::welcome`] gives the answers of a well-behaved server of the modern era, so that a function has only to say what is
//! out of the ordinary.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    ports,
    scripted_server::{discovered, echoed},
};

/// The listener and what it was asked. Dropping it ends the listening; connections end with their clients.
#[derive(Debug)]
pub struct HttpServer {
    origin: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// As in the request line.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What stands in `Authorization`, or nothing.
    pub authorization: String,
    /// The body.
    pub body: String,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    challenge: Option<String>,
    body: String,
}

impl Asked {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The method of JSON-RPC.
    pub fn rpc(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    /// What a well-behaved server of the modern era says: it has no tools and echoes every call.
    pub fn welcome(&self) -> Answer {
        let message = self.json();
        let result = match self.rpc().as_str() {
            "server/discover" => discovered(&["2026-07-28"]),
            "tools/list" => json!({"tools": [], "ttlMs": 0, "cacheScope": "private"}),
            "tools/call" => return Answer::json(&echoed(&message)),
            _ => return Answer { status: 404, challenge: None, body: String::new() },
        };
        Answer::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    }
}

impl Answer {
    /// 200 with this document.
    pub fn json(document: &Value) -> Self {
        Self { status: 200, challenge: None, body: document.to_string() }
    }

    /// A refusal with this `WWW-Authenticate`.
    pub fn refused(status: u16, challenge: impl Into<String>) -> Self {
        Self { status, challenge: Some(challenge.into()), body: r#"{"error":"refused"}"#.to_owned() }
    }

    /// 404.
    pub fn nothing() -> Self {
        Self { status: 404, challenge: None, body: String::new() }
    }
}

impl HttpServer {
    /// On a free port.
    ///
    /// # Panics
    /// If there is no port.
    pub fn start(answer: impl Fn(&str, &Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = ports::listener();
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let (asked, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (all, is_over, answer, own) =
            (Arc::clone(&asked), Arc::clone(&over), Arc::new(answer), origin.clone());
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if is_over.load(Ordering::Acquire) {
                    break;
                }
                let (all, answer, own) = (Arc::clone(&all), Arc::clone(&answer), own.clone());
                thread::spawn(move || serve(&socket, &all, &|asked| answer(&own, asked)));
            }
        });
        Self { origin, asked, over }
    }

    /// `http://127.0.0.1:port`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The address of the MCP server.
    pub fn endpoint(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// The requests so far that `is_it` picks.
    pub fn asked(&self, is_it: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        self.asked.lock().iter().filter(|asked| is_it(asked)).cloned().collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the listener; if nobody listens any more, so much the better.
        let _ = TcpStream::connect(self.origin.trim_start_matches("http://"));
    }
}

fn serve(socket: &TcpStream, all: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    let mut reader = BufReader::new(socket);
    while let Some(asked) = read(&mut reader) {
        all.lock().push(asked.clone());
        let Answer { status, challenge, body } = answer(&asked);
        let challenge =
            challenge.map(|challenge| format!("WWW-Authenticate: {challenge}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{challenge}\r\n",
            body.len()
        );
        let mut socket = socket;
        if socket.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, target, authorization, body: String::from_utf8(body).ok()? })
}
