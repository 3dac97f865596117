//! `loadgen serve` as a server to test against: started, read for its address, frozen, killed, and ended when dropped.
//!
//! The tests cannot depend on a binary of another package, so the harness has cargo build it, once for each test process,
//! with the same profile and into the same folder as the tests; mostly there is nothing left to do.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Signal;
use volley::Endpoint;

use crate::patience::until_blocking;
use crate::ports;
use crate::processes::{self, MARK, Mark};

/// The two sorts of server: what they offer.
pub const ERAS: [&str; 2] = ["legacy", "modern"];

/// The program, built.
///
/// # Panics
/// When it cannot be built.
pub fn loadgen() -> &'static Path {
    static LOADGEN: OnceLock<PathBuf> = OnceLock::new();
    LOADGEN.get_or_init(|| {
        // TARGET/PROFILE/deps/faults-0123456789abcdef, or TARGET/PROFILE/fault-client.
        let own = std::env::current_exe().expect("this program has a path");
        let folder =
            own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a folder of the build");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            None | Some("debug") => "dev",
            Some(other) => other,
        };
        let built = Command::new(env!("CARGO"))
            // All packages are named so that features, and with them all that is built already, are the same; so is an example, since only
            // for one (or for tests) does cargo count in what tests alone depend on.
            .args([
                "build",
                "--quiet",
                "--workspace",
                "--bin",
                "loadgen",
                "--example",
                "hello",
                "--profile",
                profile,
                "--target-dir",
            ])
            .arg(folder.parent().expect("the folder of all builds"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo can be started");
        assert!(built.status.success(), "loadgen was not built: {}", String::from_utf8_lossy(&built.stderr));
        folder.join("loadgen")
    })
}

/// A running target that listens on a socket.
#[derive(Debug)]
pub struct Target {
    child: Child,
    /// Held open; the target ends with it, so it does not outlive a test that was killed.
    _stdin: ChildStdin,
    address: String,
}

impl Target {
    /// On a free TCP port.
    pub fn tcp(switches: &[&str]) -> Self {
        Self::start(&["--tcp".into(), "127.0.0.1:0".into()], switches).expect("the target listens")
    }

    /// On a TCP port on which it can be started again. Those come from below the range out of which the system draws
    /// ports, so nobody takes one while its server is away; another test may have it, then there is a next one.
    pub fn tcp_at_home(switches: &[&str]) -> (Self, u16) {
        loop {
            let port = fastrand::u16(10_000..30_000);
            if let Some(target) = Self::tcp_at(port, switches) {
                return (target, port);
            }
        }
    }

    /// On this TCP port, if it is free.
    pub fn tcp_at(port: u16, switches: &[&str]) -> Option<Self> {
        Self::start(&["--tcp".into(), format!("127.0.0.1:{port}").into()], switches)
    }

    /// Over HTTP, on a free TCP port.
    pub fn http(switches: &[&str]) -> Self {
        Self::start_at_a_new_url("--http", switches)
    }

    /// Over HTTP+SSE, on a free TCP port.
    pub fn sse(switches: &[&str]) -> Self {
        Self::start_at_a_new_url("--sse", switches)
    }

    /// As [`Self::tcp_at_home`], for the HTTP transport of this switch: `--http` or `--sse`.
    pub fn http_at_home(transport: &str, switches: &[&str]) -> (Self, u16) {
        loop {
            let port = fastrand::u16(10_000..30_000);
            if let Some(target) = Self::http_at(transport, port, switches) {
                return (target, port);
            }
        }
    }

    /// On this TCP port, if it is free, for `--http` or `--sse`.
    pub fn http_at(transport: &str, port: u16, switches: &[&str]) -> Option<Self> {
        Self::start(&[transport.into(), format!("127.0.0.1:{port}").into()], switches)
    }

    /// On a Unix socket.
    pub fn unix(switches: &[&str]) -> Self {
        let path = std::env::temp_dir().join(format!("volley-test-{}.sock", Mark::new().as_str()));
        Self::start(&["--unix".into(), path.into()], switches).expect("the target listens")
    }

    fn start_at_a_new_url(transport: &str, switches: &[&str]) -> Self {
        loop {
            let target =
                Self::start(&[transport.into(), "127.0.0.1:0".into()], switches).expect("the target listens");
            let url: http::Uri = target.address.parse().expect("a URL");
            if ports::is_new(url.port_u16().expect("a port")) {
                return target;
            }
        }
    }

    fn start(place: &[OsString], switches: &[&str]) -> Option<Self> {
        Self::launch(Command::new(loadgen()).arg("serve").args(place).arg("--exit-on-parent").args(switches))
    }

    /// Any server that says where it listens, in the words of the target. `None` if it ends instead.
    pub fn launch(command: &mut Command) -> Option<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server can be started");
        let stdin = child.stdin.take().expect("a pipe");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("the server's stdout can be read");
        match line.trim().strip_prefix("listening ") {
            Some(address) => Some(Self { child, _stdin: stdin, address: address.to_owned() }),
            None => {
                child.wait().expect("a child can be waited for");
                None
            }
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> Endpoint {
        self.address.parse().expect("an endpoint")
    }

    /// Where it listens, as it says itself.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops it in the middle of whatever it does; its sockets stay open and fill up.
    pub fn freeze(&self) {
        freeze(self.child.id());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        processes::signal(self.child.id(), Signal::KILL);
        self.child.wait().expect("a child can be waited for");
        // What a killed server leaves behind would be in the way of the next.
        if let Some(path) = self.address.strip_prefix("unix:") {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Stops a process and waits until it has stopped.
pub fn freeze(pid: u32) {
    processes::signal(pid, Signal::STOP);
    until_blocking("a process stops", || processes::is_stopped(pid));
}

/// A target on stdio, as a command for the engine to start. The mark finds its processes.
pub fn stdio(mark: &Mark, switches: &[&str]) -> Endpoint {
    volley::Command::new(loadgen())
        .args(["serve", "--stdio"])
        .args(switches.iter().copied())
        .env(MARK, mark.as_str())
        .into()
}
