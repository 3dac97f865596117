//! A WebSocket server that says what a test scripts. Its frames are tungstenite's.
//!
//! Each connection gets a thread that runs the script with a [`Peer`]. A peer answers the opening requests by itself, in the
//! modern era. A script ends when it returns or when the client hangs up.

use std::{
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::Value;
use volley::internals::tungstenite::{
    self, Message, WebSocket,
    handshake::server::{ErrorResponse, Request, Response},
    http::{HeaderValue, StatusCode},
};

use crate::{
    byte_server::{Asked, Opening, answer, opening},
    patience::PATIENCE,
    ports,
};

/// What the server does with the request that opens a connection.
#[derive(Clone, Copy, Debug)]
pub enum Welcome {
    /// Agrees, to the subprotocol as well.
    Warm,
    /// Agrees and does not speak of the subprotocol.
    Silent,
    /// Agrees to another subprotocol.
    Other,
    /// Refuses with this status.
    Refused(u16),
}

/// A listening server. Dropping it ends the listening; connections end with their scripts.
#[derive(Debug)]
pub struct WebSocketServer {
    port: u16,
    over: Arc<AtomicBool>,
}

/// The server's end of one connection.
#[derive(Debug)]
pub struct Peer {
    /// For frames out of the ordinary.
    pub socket: WebSocket<TcpStream>,
    /// The request that opened it: its path with the query, and its headers.
    pub request: Request,
}

impl WebSocketServer {
    /// On a free port. `script` gets the number of its connection, from 0.
    ///
    /// # Panics
    /// If there is no port.
    pub fn start(welcome: Welcome, script: impl Fn(usize, &mut Peer) + Send + Sync + 'static) -> Self {
        Self::on(ports::listener(), welcome, script)
    }

    /// On a listener that exists.
    ///
    /// # Panics
    /// If it has no address.
    pub fn on(
        listener: TcpListener,
        welcome: Welcome,
        script: impl Fn(usize, &mut Peer) + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let over = Arc::new(AtomicBool::new(false));
        let (ends, script) = (Arc::clone(&over), Arc::new(script));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.expect("a connection");
                // Whatever goes wrong, a test ends.
                stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                stream.set_nodelay(true).expect("no delay");
                let script = Arc::clone(&script);
                thread::spawn(move || {
                    if let Some(mut peer) = Peer::accept(stream, welcome) {
                        script(number, &mut peer);
                    }
                });
            }
        });
        Self { port, over }
    }

    /// One that answers every call.
    pub fn echoing() -> Self {
        Self::start(Welcome::Warm, |_, peer| peer.answer_all())
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for WebSocketServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; if it cannot be reached it has gone already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Peer {
    #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
    fn accept(stream: TcpStream, welcome: Welcome) -> Option<Self> {
        let mut seen = None;
        let greet = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            seen = Some(request.clone());
            let chosen = match welcome {
                Welcome::Warm => "mcp",
                Welcome::Other => "chat",
                Welcome::Silent => return Ok(response),
                Welcome::Refused(status) => {
                    let mut refusal = ErrorResponse::new(None);
                    *refusal.status_mut() = StatusCode::from_u16(status).expect("a status");
                    return Err(refusal);
                }
            };
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(chosen));
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, greet).ok()?;
        Some(Self { socket, request: seen? })
    }

    /// The next message; `None` once the client has hung up or closed.
    ///
    /// # Panics
    /// If it is not one JSON text on one line.
    pub fn next_message(&mut self) -> Option<Value> {
        loop {
            match self.socket.read().ok()? {
                Message::Text(text) => {
                    assert!(!text.as_str().contains('\n'), "the line feed stays at home: {text}");
                    return Some(serde_json::from_str(text.as_str()).expect("the client sends JSON"));
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => return None,
                other => panic!("the client sends text, not {other:?}"),
            }
        }
    }

    /// Answers the first message, which opens the connection.
    pub fn open(&mut self) {
        if let Some(Opening::Answer(line)) = self.next_message().map(|message| opening("modern", &message)) {
            self.say(&line);
        }
    }

    /// The next call; openings are answered.
    pub fn next_call(&mut self) -> Option<Asked> {
        loop {
            let message = self.next_message()?;
            match opening("modern", &message) {
                Opening::Answer(line) => self.say(&line),
                Opening::Over if message["method"] == "tools/call" => {
                    let text = message["params"]["arguments"]["message"].as_str().unwrap_or_default();
                    return Some(Asked { id: message["id"].to_string(), message: text.to_owned() });
                }
                Opening::Over | Opening::Nothing => {}
            }
        }
    }

    /// Says a text.
    pub fn say(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    /// Sends any message.
    pub fn send(&mut self, message: Message) {
        // The client may have hung up; the next read shows it.
        let _ = self.socket.send(message);
    }

    /// Answers calls as they come until the client hangs up.
    pub fn answer_all(&mut self) {
        while let Some(asked) = self.next_call() {
            self.say(&answer(&asked.id, &asked.message));
        }
    }

    /// Reads to the end, and gives the code with which the client closed.
    ///
    /// # Panics
    /// If it did not.
    pub fn close_code(&mut self) -> u16 {
        loop {
            let message = self.socket.read().expect("the client closes before it hangs up");
            if let Message::Close(frame) = message {
                return frame.expect("a code").code.into();
            }
        }
    }
}
