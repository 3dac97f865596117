//! Our own target, in a process of its own: started for a run, ended with it.
//!
//! A child process, so that its CPU time is its own and a crash is not ours. It ends when its
//! stdin does, so it cannot outlive us even if we are killed; at the end it is given a moment to
//! go by itself, then ended by its id. In a process group of its own, because a Ctrl-C on the
//! terminal is meant for us. A stdio target is started by the engine instead, once a connection.
//! Owner: the main thread; [`Embedded`] ends the child when dropped.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, Transport};

/// The running target and where it is.
#[derive(Debug)]
pub(crate) struct Embedded {
    endpoint: Endpoint,
    /// Held until the end; none for stdio, where the engine starts it.
    _running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Held open; closing it asks the child to end.
    stdin: Option<ChildStdin>,
    /// The folder of its Unix socket, removed at the end.
    folder: Option<PathBuf>,
}

impl Embedded {
    /// Starts `loadgen serve` for this transport and waits until it listens.
    ///
    /// # Errors
    ///
    /// When the process cannot be started, ends at once, or does not say within five seconds
    /// where it listens.
    pub(crate) fn start(transport: Transport) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        if transport == Transport::Stdio {
            let args = vec!["serve".into(), "--stdio".into()];
            return Ok(Self { endpoint: Endpoint::Stdio { program: program.into(), args }, _running: None });
        }
        let mut command = Command::new(program);
        command.arg("serve");
        let mut folder = None;
        if transport == Transport::Unix {
            let path = fresh_folder()?;
            command.arg("--unix").arg(path.join("target.sock"));
            folder = Some(path);
        } else {
            command.arg(format!("--{}", transport.name())).arg("127.0.0.1:0");
        }
        command.arg("--exit-on-parent");
        let mut started = Self::launch(command, folder, START_WAIT_MAX)?;
        if let (Transport::Sse, Endpoint::Url { transport: heard @ Transport::Http, .. }) =
            (transport, &mut started.endpoint)
        {
            // It names the URL, which does not tell HTTP+SSE from Streamable HTTP.
            *heard = Transport::Sse;
        }
        match started.endpoint.transport() == transport {
            true => Ok(started),
            false => Err(io::Error::other(format!(
                "it listens at {}, not over {}",
                started.endpoint,
                transport.name()
            ))),
        }
    }

    /// Where it is.
    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn launch(mut command: Command, folder: Option<PathBuf>, wait_max: Duration) -> io::Result<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                remove(folder.as_deref());
                return Err(error);
            }
        };
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("the target has no stdout"))?;
        // From here on the child is ended on every way out.
        let running = Running { child, stdin, folder };
        let endpoint = first_announcement(stdout, wait_max)?;
        Ok(Self { endpoint, _running: Some(running) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < END_WAIT_MAX {
            thread::sleep(END_POLL);
        }
        // Both fail only if it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove(self.folder.as_deref());
    }
}

/// Reads stdout until the target says where it listens, then on, so that it never blocks on us.
fn first_announcement(stdout: ChildStdout, wait_max: Duration) -> io::Result<Endpoint> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name("target-stdout".into()).spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            if let Some(address) = line.strip_prefix("listening ") {
                // Nobody listens any more after the first; the lines are read all the same.
                let _ = tell.send(Endpoint::parse(address.trim()));
            }
        }
    })?;
    match told.recv_timeout(wait_max) {
        Ok(Ok(endpoint)) => Ok(endpoint),
        Ok(Err(error)) => Err(io::Error::other(format!("the target announced no address: {error}"))),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("the target ended before it listened"))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(io::Error::other(format!("the target did not listen within {} s", wait_max.as_secs_f64())))
        }
    }
}

/// A new folder that only we can enter.
fn fresh_folder() -> io::Result<PathBuf> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..FOLDER_TRIES_MAX {
        let name = format!("loadgen-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn remove(folder: Option<&Path>) {
    if let Some(folder) = folder {
        // A socket file that stays behind harms nobody; the report is more important.
        let _ = fs::remove_dir_all(folder);
    }
}

const START_WAIT_MAX: Duration = Duration::from_secs(5);
const END_WAIT_MAX: Duration = Duration::from_secs(1);
const END_POLL: Duration = Duration::from_millis(2);
const FOLDER_TRIES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_announced_address_is_taken_and_the_child_ends_with_its_stdin() {
        let script = "echo hello; echo listening tcp://127.0.0.1:4711; cat >/dev/null";
        let embedded = Embedded::launch(shell(script), None, START_WAIT_MAX).unwrap();
        assert_eq!(embedded.endpoint(), &Endpoint::Tcp("127.0.0.1:4711".into()));
        let pid = embedded._running.as_ref().unwrap().child.id();
        drop(embedded);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_child_that_ends_or_is_silent_is_an_error_and_leaves_nothing() {
        let folder = fresh_folder().unwrap();
        let ended = Embedded::launch(shell("exit 3"), Some(folder.clone()), START_WAIT_MAX).unwrap_err();
        assert!(ended.to_string().contains("ended before"), "{ended}");
        assert!(!folder.exists());
        let silent = Embedded::launch(shell("cat"), None, Duration::from_millis(50)).unwrap_err();
        assert!(silent.to_string().contains("did not listen within 0.05 s"), "{silent}");
        let odd = Embedded::launch(shell("echo listening nowhere; cat"), None, START_WAIT_MAX).unwrap_err();
        assert!(odd.to_string().contains("announced no address"), "{odd}");
    }

    #[test]
    fn stdio_is_left_to_the_engine() {
        let embedded = Embedded::start(Transport::Stdio).unwrap();
        let Endpoint::Stdio { args, .. } = embedded.endpoint() else { panic!("not stdio") };
        assert_eq!(args, &["serve", "--stdio"]);
    }
}
