//! Ports that nobody in this process has listened on before.
//!
//! What a client finds out of a URL is remembered by the whole process, and the system gives out a port again as soon as it is
//! free: a server on a port that another test has used would be taken for the server of that test.

use std::{collections::BTreeSet, net::TcpListener, sync::Mutex};

/// Listens on a new port of loopback.
///
/// # Panics
/// When the system has no port.
pub fn listener() -> TcpListener {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        if is_new(listener.local_addr().expect("it listens").port()) {
            return listener;
        }
    }
}

/// Is this the first time that this is asked of a port?
///
/// # Panics
/// Never: nobody panics while it is asked.
pub fn is_new(port: u16) -> bool {
    static USED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    USED.lock().expect("nobody panics with it").insert(port)
}
