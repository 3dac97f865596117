//! An HTTP server that answers each request with exactly the bytes that a test scripts, and keeps all requests.
//!
//! Each connection gets a thread. It reads one request after another with a parser of its own and hands each to the script,
//! which says what it likes through a [`Peer`] and whether the connection goes on ([`Then`]). [`HttpServer::start`] answers the
//! opening of its era by itself, so that scripts are about calls; [`HttpServer::plain`] gives the script every request, and
//! [`HttpServer::raw`] the bare connection. Nothing here knows how the engine reads: the bytes of an answer are written out in
//! the tests, or by the few spellings below.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use volley::Endpoint;

use crate::{
    byte_server::{Opening, answer, opening},
    patience::until_blocking,
    ports,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of its connection, from 0.
    pub connection: usize,
    /// `POST`, `GET` or `DELETE`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, if it is JSON; else null.
    pub message: Value,
    /// When it had been read.
    pub at: Instant,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request is read.
    Keep,
    /// It is closed.
    Close,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    over: AtomicBool,
}

/// A listening server. Dropping it ends the listening; connections end with their scripts.
#[derive(Debug)]
pub struct HttpServer {
    port: u16,
    /// Which of this process's servers.
    number: usize,
    seen: Arc<Seen>,
}

/// The server's end of one connection.
#[derive(Debug)]
pub struct Peer {
    era: &'static str,
    reader: BufReader<TcpStream>,
    number: usize,
    seen: Arc<Seen>,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The method of the JSON-RPC message, or nothing.
    pub fn rpc(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    /// The id of the JSON-RPC message, as JSON.
    pub fn id(&self) -> String {
        self.message["id"].to_string()
    }

    /// The argument `message` of a call.
    pub fn text(&self) -> &str {
        self.message["params"]["arguments"]["message"].as_str().unwrap_or_default()
    }

    /// Is it a call of a tool?
    pub fn is_call(&self) -> bool {
        self.rpc() == "tools/call"
    }

    /// The right answer of `echo` to it.
    pub fn answer(&self) -> String {
        answer(&self.id(), self.text())
    }
}

impl HttpServer {
    /// A server of the era `legacy` or `modern`. It answers openings, and hands `script` the other requests.
    ///
    /// # Panics
    /// If the system gives no port.
    pub fn start(
        era: &'static str,
        script: impl Fn(&mut Peer, &Request) -> Then + Send + Sync + 'static,
    ) -> Self {
        Self::plain(
            era,
            move |peer, request| if peer.opens(request) { Then::Keep } else { script(peer, request) },
        )
    }

    /// As [`Self::start`], but `script` gets all requests. [`Peer::opens`] answers those of an opening.
    ///
    /// # Panics
    /// If the system gives no port.
    pub fn plain(
        era: &'static str,
        script: impl Fn(&mut Peer, &Request) -> Then + Send + Sync + 'static,
    ) -> Self {
        Self::raw(era, move |peer| {
            while let Some(request) = peer.next_request() {
                if script(peer, &request) == Then::Close {
                    return;
                }
            }
        })
    }

    /// As [`Self::plain`], but `script` gets each connection as soon as it stands.
    ///
    /// # Panics
    /// If the system gives no port.
    pub fn raw(era: &'static str, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::listen(ports::listener(), era, script)
    }

    /// As [`Self::raw`], on a port of the caller's.
    ///
    /// # Panics
    /// If the listener has no address.
    pub fn listen(
        listener: TcpListener,
        era: &'static str,
        script: impl Fn(&mut Peer) + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Seen::default());
        let (sees, script) = (Arc::clone(&seen), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if sees.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // Without it answers wait for acknowledgements; a stream that is gone already shows when it is read.
                let _ = stream.set_nodelay(true);
                let number = sees.accepted.fetch_add(1, Ordering::SeqCst);
                sees.open.fetch_add(1, Ordering::SeqCst);
                let (seen, script) = (Arc::clone(&sees), Arc::clone(&script));
                thread::spawn(move || {
                    // Dropped last, when the peer's socket has been closed.
                    let _open = Open(Arc::clone(&seen));
                    let mut peer = Peer { era, reader: BufReader::new(stream), number, seen };
                    script(&mut peer);
                });
            }
        });
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        Self { port, number: NUMBER.fetch_add(1, Ordering::Relaxed), seen }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never.
    pub fn endpoint(&self) -> Endpoint {
        self.url().parse().expect("an endpoint")
    }

    /// Where it listens, as text. No server before it in this process was there: ports come again, and what clients find out of
    /// an address is remembered for the life of the process.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp?server={}", self.port, self.number)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections it has had.
    pub fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// How many connections it has.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// All requests so far, in the order in which they were read.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().clone()
    }

    /// How many requests so far are such.
    pub fn count(&self, is_it: impl Fn(&Request) -> bool) -> usize {
        self.seen.requests.lock().iter().filter(|request| is_it(request)).count()
    }

    /// How many messages with this method came.
    pub fn count_rpc(&self, rpc: &str) -> usize {
        self.count(|request| request.rpc() == rpc)
    }

    /// Sockets of this process that are connected to the server, or still have to be closed: file descriptors, by what the
    /// kernel knows of them.
    ///
    /// # Panics
    /// If there is no `/proc`.
    pub fn client_sockets(&self) -> usize {
        sockets_to(self.port)
    }

    /// Waits until the client holds no socket to this server.
    ///
    /// # Panics
    /// When it still does after long.
    pub fn no_socket_is_left(&self) {
        until_blocking("the client has closed its sockets", || self.client_sockets() == 0);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::SeqCst);
        // A connection wakes the thread that accepts; if it cannot be had, the thread has gone already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Counts a socket as open until it is closed, and not a moment less: who waits for that may take the end for granted. (A peer once counted itself
/// out before its socket was closed, and a call that was sent in between was lost.)
struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How many sockets with a file descriptor are connected to this port of this machine.
fn sockets_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a kernel with TCP");
    let wanted = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The other end's address, and the inode, which a socket that no process holds does not have.
        words.get(2).is_some_and(|remote| remote.ends_with(&wanted))
            && words.get(9).is_some_and(|inode| *inode != "0")
    };
    table.lines().skip(1).filter(is_one).count()
}

impl Peer {
    /// Which connection this is, from 0 on.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next request, whole; `None` once the client has hung up, or says something that is no request.
    pub fn next_request(&mut self) -> Option<Request> {
        let head = self.next_head()?;
        self.rest_of(head)
    }

    /// The body of the request whose head this is; recorded then.
    pub fn rest_of(&mut self, mut request: Request) -> Option<Request> {
        let len = request.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        let mut body = vec![0; len];
        self.reader.read_exact(&mut body).ok()?;
        request.message = serde_json::from_slice(&body).unwrap_or_default();
        request.at = Instant::now();
        self.seen.requests.lock().push(request.clone());
        Some(request)
    }

    /// The head of the next request; its body is still to be read. Not recorded.
    pub fn next_head(&mut self) -> Option<Request> {
        let line = self.line()?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let (connection, at) = (self.number, Instant::now());
        Some(Request { connection, method, target, headers, message: Value::Null, at })
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    /// Answers a request of an opening, of a stream for the server's own messages, or of an end: `false` if it is none.
    pub fn opens(&mut self, request: &Request) -> bool {
        self.opens_with(request, "")
    }

    /// As [`Self::opens`]; the answer to `initialize` has these headers as well, each a whole line.
    pub fn opens_with(&mut self, request: &Request, headers: &str) -> bool {
        if request.method != "POST" {
            let status = if request.method == "DELETE" { "200 OK" } else { "405 Method Not Allowed" };
            self.respond(status, "", "");
            return true;
        }
        if self.era == "modern" && request.rpc() == "tools/list" {
            let tools = json!({"resultType": "complete", "tools": []});
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{tools}}}"#, request.id());
            self.json("200 OK", &body);
            return true;
        }
        match opening(self.era, &request.message) {
            Opening::Answer(body) => {
                let headers = format!("Content-Type: application/json\r\n{headers}");
                self.respond("200 OK", &headers, &body);
            }
            Opening::Nothing => {
                self.accept();
            }
            Opening::Over => return false,
        }
        true
    }

    /// Says these bytes. `false` if the client has hung up.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = self.reader.get_mut();
        stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()).is_ok()
    }

    /// A whole answer with `Content-Length`; `headers` are whole lines.
    pub fn respond(&mut self, status: &str, headers: &str, body: &str) -> bool {
        self.say(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// A whole answer in JSON.
    pub fn json(&mut self, status: &str, body: &str) -> bool {
        self.respond(status, "Content-Type: application/json\r\n", body)
    }

    /// The right answer of `echo`, in JSON.
    pub fn echo(&mut self, request: &Request) -> bool {
        self.json("200 OK", &request.answer())
    }

    /// 202, as to a notification.
    pub fn accept(&mut self) -> bool {
        self.respond("202 Accepted", "", "")
    }

    /// The head of a stream of events in chunks.
    pub fn begin_events(&mut self) -> bool {
        self.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    }

    /// One chunk.
    pub fn chunk(&mut self, data: &str) -> bool {
        self.say(format!("{:x}\r\n{data}\r\n", data.len()))
    }

    /// The last chunk.
    pub fn end_chunks(&mut self) -> bool {
        self.say("0\r\n\r\n")
    }

    /// Ends the connection in both directions.
    pub fn hang_up(&mut self) {
        // It may be gone already.
        let _ = self.reader.get_mut().shutdown(Shutdown::Both);
    }

    /// The next so many bytes, as text; fewer if the client hangs up.
    pub fn some_bytes(&mut self, len: u64) -> String {
        let mut bytes = Vec::new();
        // Half of them are good enough for whoever asks.
        let _ = self.reader.by_ref().take(len).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until the client hangs up; how many bytes came before. A reset is an end as well.
    pub fn bytes_until_end(&mut self) -> usize {
        let (mut bytes, mut piece) = (0, [0; 4096]);
        while let Ok(n @ 1..) = self.reader.read(&mut piece) {
            bytes += n;
        }
        bytes
    }
}
