//! Ctrl-C on `loadgen run`: the first prints what was measured, the second ends it on the spot; no target is left.

use std::io::{BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use volley_tests::byte_server::{ByteServer, Peer};
use volley_tests::processes::{MARK, Mark, children, exists, is_pending, signal, status};
use volley_tests::target::loadgen;
use volley_tests::wait::{PATIENCE, story, until};

const INTERRUPTED: i32 = 105;

/// A running `loadgen run` whose stdout is gathered.
struct Run {
    child: Child,
    stdout: Option<JoinHandle<String>>,
}

impl Run {
    fn start(mark: &Mark, words: &[&str]) -> Self {
        let mut child = Command::new(loadgen())
            .args(["run", "--quiet", "-w", "0"])
            .args(words)
            .env(MARK, mark.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("loadgen can be started");
        let mut pipe = BufReader::new(child.stdout.take().expect("a pipe"));
        let stdout = Some(std::thread::spawn(move || {
            let mut said = String::new();
            pipe.read_to_string(&mut said).expect("it can be read");
            said
        }));
        Self { child, stdout }
    }

    /// Its handlers are installed: before that a signal would just end it.
    async fn await_handlers(&self) {
        let bit = 1_u64 << (Signal::INT.as_raw() - 1);
        until("loadgen listens for Ctrl-C", || {
            let caught =
                status(self.child.id(), "SigCgt:").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
            caught.is_some_and(|caught| caught & bit != 0)
        })
        .await;
    }

    async fn interrupt(&self) {
        signal(self.child.id(), Signal::INT);
        until("the signal was handled", || !is_pending(self.child.id(), Signal::INT)).await;
    }

    /// Its exit code and what it said.
    async fn end(&mut self) -> (Option<i32>, String) {
        let mut status = None;
        until("loadgen ends", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        })
        .await;
        let said = self.stdout.take().expect("once").join().expect("no panic");
        (status.and_then(|status| status.code()), said)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Only if the test has failed is there anything left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the first thread of a process has used; a target has no other.
fn cpu_ns(pid: u32) -> u64 {
    let used = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    used.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

#[test]
fn ctrl_c_prints_what_was_measured_and_leaves_no_target() {
    story(async {
        for transport in ["tcp", "unix", "stdio"] {
            let mark = Mark::new();
            let mut run = Run::start(&mark, &["-z", "10m", "--transport", transport]);
            run.await_handlers().await;
            let family = mark.await_processes(2).await;
            let target = children(run.child.id());
            assert_eq!(target.len(), 1);
            // Its target has worked for a while, so there is something to print.
            until("calls are made", || cpu_ns(target[0]) > 50_000_000).await;
            run.interrupt().await;
            let (code, said) = run.end().await;
            assert_eq!(code, Some(INTERRUPTED), "{transport}: {said}");
            assert!(said.contains("lost") && said.contains("calls"), "{transport}: no table: {said}");
            until("the target is gone", || family.iter().all(|pid| !exists(*pid))).await;
        }
    });
}

/// Nobody answers, so after the first Ctrl-C it waits a moment for the calls in flight. The second does not.
#[test]
fn a_second_ctrl_c_ends_it_on_the_spot() {
    story(async {
        let (tell, heard) = std::sync::mpsc::channel();
        let server = ByteServer::tcp("modern", move |_, peer: &mut Peer| {
            while let Some(asked) = peer.next_call() {
                let _ = tell.send(asked);
            }
        });
        let mut run = Run::start(&Mark::new(), &["-z", "10m", &server.endpoint().to_string()]);
        heard.recv_timeout(PATIENCE).expect("it calls");
        run.interrupt().await;
        let second = Instant::now();
        run.interrupt().await;
        let (code, said) = run.end().await;
        assert_eq!(code, Some(INTERRUPTED), "{said}");
        assert_eq!(said, "", "there was no time for a table");
        assert!(second.elapsed() < Duration::from_secs(5), "{:?}", second.elapsed());
    });
}
