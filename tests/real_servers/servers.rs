//! The servers out of `servers.txt`: how each is started, over which transport, and that it is gone afterwards.
//!
//! A server over HTTP gets a port from below the range out of which the system draws its own, and counts as started when it
//! takes a connection. Dropping a [`Running`] kills it.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use volley::{Endpoint, Era};
use volley_tests::processes::{MARK, Mark};

/// A server of the list.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    /// Its name in the list.
    pub(crate) name: &'static str,
    /// What its `echo` puts before the message.
    pub(crate) prefix: &'static str,
    /// The era that a client finds by itself, unless over HTTP+SSE, which only the legacy one has.
    pub(crate) finds: Era,
}

pub(crate) const EVERYTHING: Server = Server { name: "everything", prefix: "Echo: ", finds: Era::Legacy };
pub(crate) const PYTHON: Server = Server { name: "python", prefix: "", finds: Era::Modern };
pub(crate) const FASTMCP: Server = Server { name: "fastmcp", prefix: "", finds: Era::Modern };
pub(crate) const TS2: Server = Server { name: "ts2", prefix: "", finds: Era::Modern };
pub(crate) const RMCP: Server = Server { name: "rmcp", prefix: "", finds: Era::Modern };

/// A server that listens on a port.
pub(crate) struct Running {
    child: Child,
    port: u16,
}

impl Server {
    /// The command that the list has for this transport, word by word, and whether the modern era is said to be spoken.
    fn line(&self, transport: &str) -> (Vec<String>, bool) {
        let list = std::fs::read_to_string(folder().join("servers.txt")).expect("the list of servers");
        let line = list
            .lines()
            .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
            .find(|fields| fields[0] == self.name && fields.get(1) == Some(&transport))
            .unwrap_or_else(|| panic!("servers.txt does not start {} over {transport}", self.name));
        assert!(
            self.name == RMCP.name || folder().join(".env").exists(),
            "the servers are not installed: run tests/real-servers/install, or `just real-servers`"
        );
        (line[3].split_whitespace().map(str::to_owned).collect(), line[2].contains("modern"))
    }

    /// The command for stdio. Its paths are relative to the folder of the list.
    pub(crate) fn stdio(&self, mark: &Mark) -> Endpoint {
        let (words, modern) = self.line("stdio");
        assert_eq!(modern, self.finds == Era::Modern, "{}: the eras of the list", self.name);
        let args = &words[1..];
        volley::Command::new(program(&words[0]))
            .args(args)
            .current_dir(folder())
            .env(MARK, mark.as_str())
            .into()
    }

    /// Starts it on a port and waits until it listens.
    pub(crate) fn listen(&self, transport: &str) -> Running {
        let (words, _) = self.line(transport);
        for _ in 0..PORTS_TRIED_MAX {
            let port = fastrand::u16(10_000..30_000);
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                continue;
            }
            let words: Vec<String> = words
                .iter()
                .map(|word| match word.as_str() {
                    "PORT" => port.to_string(),
                    "PORT=PORT" => format!("PORT={port}"),
                    _ => word.clone(),
                })
                .collect();
            let (env, words): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("PORT="));
            let child = Command::new(program(words[0]))
                .args(&words[1..])
                .envs(env.iter().filter_map(|word| word.split_once('=')))
                .current_dir(folder())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{} cannot be started: {error}", words[0]));
            let mut running = Running { child, port };
            if running.comes_up() {
                return running;
            }
        }
        panic!("{} over {transport} listens on none of {PORTS_TRIED_MAX} ports", self.name);
    }
}

impl Running {
    /// Waits until it takes a connection; no if it ends instead, as it does when the port was taken from under it.
    fn comes_up(&mut self) -> bool {
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if self.child.try_wait().expect("a child can be asked").is_some() {
                return false;
            }
            assert!(since.elapsed() < START_MAX, "the server does not listen within {START_MAX:?}");
            thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("real-servers")
}

/// Where a program is: ours stands where cargo built it, others are found by their path from the folder, or by the system.
fn program(word: &str) -> PathBuf {
    match word {
        "rmcp-server" => env!("CARGO_BIN_EXE_rmcp-server").into(),
        // The program is looked up before the child has changed its folder.
        path if path.contains('/') => folder().join(path),
        name => name.into(),
    }
}

const PORTS_TRIED_MAX: u32 = 8;
/// Python takes a second or two, and longer on a machine that has other things to do.
const START_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
