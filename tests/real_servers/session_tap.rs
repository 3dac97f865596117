//! A tap on the line: passes bytes on between a client and a server, and notes the sessions that requests name.
//!
//! Two threads for each connection, one each way; what goes to the server is looked through for `Mcp-Session-Id`. Nothing is
//! changed or held back. Besides, it ends sessions with a request of its own.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;

/// The tap. Dropping it ends the listening; connections end with their two sides.
pub(crate) struct SessionTap {
    port: u16,
    behind: u16,
    seen: Arc<Mutex<BTreeSet<String>>>,
    over: Arc<AtomicBool>,
}

impl SessionTap {
    /// In front of a server on this port of the loopback interface.
    pub(crate) fn start(behind: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (seen, over) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
        let (note, ends) = (Arc::clone(&seen), Arc::clone(&over));
        thread::spawn(move || {
            for client in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let client = client.expect("a connection");
                // A server that is gone ends the connection, which is what its client would see.
                let Ok(server) = TcpStream::connect(("127.0.0.1", behind)) else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("a socket");
                }
                let (up, down) = (client.try_clone(), server.try_clone());
                let (up, down) = (up.expect("a handle"), down.expect("a handle"));
                let note = Arc::clone(&note);
                let mut sessions = Sessions::default();
                thread::spawn(move || {
                    pass(client, server, |bytes| {
                        sessions.look(bytes, |id| {
                            note.lock().insert(id);
                        })
                    })
                });
                thread::spawn(move || pass(down, up, |_| ()));
            }
        });
        Self { port, behind, seen, over }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The sessions that were named since this was last asked.
    pub(crate) fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.seen.lock())
    }

    /// Ends a session behind the client's back; gives the status that the server answers.
    pub(crate) fn end_session(&self, id: &str) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.behind)).expect("the server listens");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a socket");
        write!(
            stream,
            "DELETE /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nMcp-Session-Id: {id}\r\nMcp-Protocol-Version: 2025-11-25\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.behind
        )
        .expect("a request");
        let mut answer = Vec::new();
        // It may hold the connection open in spite of what it was asked; the status comes first.
        while !answer.windows(2).any(|pair| pair == b"\r\n") {
            let mut piece = [0; 1024];
            match stream.read(&mut piece).expect("an answer") {
                0 => break,
                n => answer.extend_from_slice(&piece[..n]),
            }
        }
        let line = String::from_utf8_lossy(&answer);
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }
}

impl Drop for SessionTap {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; if it cannot be reached it has gone already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Passes bytes on until one side ends, then ends the other.
fn pass(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        look(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // Either may be gone already, which is the end as well.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// Finds session ids in the requests of one connection, however they are cut. Bodies are looked through as well; no text that
/// the tests send looks like that header.
#[derive(Default)]
struct Sessions {
    /// What may be the begin of a header line.
    rest: Vec<u8>,
}

impl Sessions {
    fn look(&mut self, bytes: &[u8], mut found: impl FnMut(String)) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("mcp-session-id")
            {
                found(value.trim().to_owned());
            }
        }
        // A body has no line break at its end; the next request follows on the same line. No header line is that long.
        if let Some(begin) = self.rest.iter().rposition(|byte| *byte == b'}') {
            self.rest.drain(..=begin);
        }
    }
}

const ANSWER_MAX: Duration = Duration::from_secs(10);

#[test]
fn any_cut_finds_the_session_of_each_request() {
    let requests = "POST /mcp HTTP/1.1\r\nmcp-session-id: one\r\n\r\n{\"a\":1}POST /mcp HTTP/1.1\r\n\
                    Mcp-Session-Id:two\r\nX: y\r\n\r\n{}";
    for cut in 0..requests.len() {
        let (mut sessions, mut found) = (Sessions::default(), Vec::new());
        for part in [&requests[..cut], &requests[cut..]] {
            sessions.look(part.as_bytes(), |id| found.push(id));
        }
        assert_eq!(found, ["one", "two"], "cut at {cut}");
    }
}
