//! Servers with children, and servers that do not want to go: when a client has closed, nothing of them is left; when its
//! process is killed, its servers are killed with it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use volley_tests::calls::{books_balance, echoes_work};
use volley_tests::processes::{self, MARK, Mark, exists, signal};
use volley_tests::target::{self, ERAS, loadgen};
use volley_tests::wait::{story, until};

use super::connect;

/// It has three children, ignores the end of its stdin, and SIGTERM as well.
#[test]
fn the_whole_tree_is_gone_after_close() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let switches = ["--revisions", era, "--fork-children", "3", "--ignore-eof", "--ignore-term"];
            let client = connect(target::stdio(&mark, &switches), |config| {
                config.close_grace(Duration::from_millis(100))
            })
            .await;
            echoes_work(&client, 0..10).await;
            let pids = mark.await_processes(4).await;
            let began = Instant::now();
            client.close().await;
            // Gone, reaped included: a zombie of ours would still have its folder. Grandchildren are reaped by init.
            let ours = pids.iter().filter(|pid| processes::status(**pid, "PPid:") == Some(own_pid())).count();
            assert_eq!(ours, 0, "a zombie is left");
            mark.nobody_is_left();
            assert!(began.elapsed() >= Duration::from_millis(200), "it had its time to go by itself");
            books_balance(&client).await;
            until("init has reaped the grandchildren", || pids.iter().all(|pid| !exists(*pid))).await;
        }
    });
}

/// A server that goes when its stdin ends is not signalled, and closing does not take the whole grace.
#[test]
fn a_polite_server_goes_by_itself() {
    story(async {
        let mark = Mark::new();
        let client =
            connect(target::stdio(&mark, &[]), |config| config.close_grace(Duration::from_secs(30))).await;
        echoes_work(&client, 0..10).await;
        let pid = mark.await_processes(1).await[0];
        let began = Instant::now();
        client.close().await;
        assert!(!exists(pid), "gone and reaped");
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        books_balance(&client).await;
    });
}

/// A server with children that dies by itself leaves them behind; the engine does not.
#[test]
fn the_children_of_a_dead_server_are_ended_too() {
    story(async {
        let mark = Mark::new();
        let client = connect(target::stdio(&mark, &["--fork-children", "2"]), |config| {
            config.close_grace(Duration::from_millis(100))
        })
        .await;
        echoes_work(&client, 0..10).await;
        let first = mark.await_processes(3).await;
        let server = *first
            .iter()
            .find(|pid| processes::status(**pid, "PPid:") == Some(own_pid()))
            .expect("our child");
        signal(server, Signal::KILL);
        until("the old family is gone", || first.iter().all(|pid| !exists(*pid))).await;
        echoes_work(&client, 10..20).await;
        mark.await_processes(3).await;
        client.close().await;
        mark.nobody_is_left();
        let stats = books_balance(&client).await;
        assert_eq!(stats.disconnects, 1, "{stats:?}");
    });
}

/// SIGKILL to the client's process: it cannot clean up, and its server ignores the end of stdin. It goes all the same.
#[test]
fn a_server_dies_with_its_killed_parent() {
    story(async {
        let mark = Mark::new();
        let mut parent = Command::new(env!("CARGO_BIN_EXE_fault-client"))
            .arg("hold")
            .arg(loadgen())
            .args(["serve", "--stdio", "--ignore-eof", "--ignore-term"])
            .env(MARK, mark.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client can be started");
        let mut said = String::new();
        let mut stdout = BufReader::new(parent.stdout.take().expect("a pipe"));
        stdout.read_line(&mut said).expect("it can be read");
        assert_eq!(said, "ready\n");
        let family = mark.await_processes(2).await;
        signal(parent.id(), Signal::KILL);
        parent.wait().expect("a child can be waited for");
        until("the server is gone", || family.iter().all(|pid| !exists(*pid))).await;
    });
}

fn own_pid() -> String {
    std::process::id().to_string()
}
