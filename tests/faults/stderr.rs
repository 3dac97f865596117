//! Servers that talk too much on stderr: it is always drained, and its end tells why a server has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use volley::{Command, ErrorKind, Fate};
use volley_tests::calls::{books_balance, echo, echoes_work};
use volley_tests::processes::{MARK, Mark};
use volley_tests::target::{self, ERAS, loadgen};
use volley_tests::wait::{story, until};

use super::{connect, try_connect};

const FLOOD: u64 = 10 << 20;

/// 10 MiB at the start, before the server has read a byte, and more with each call. Nobody stalls, and each byte is shown.
#[test]
fn a_flood_of_10_mib_on_stderr_stalls_nothing() {
    story(async {
        for era in ERAS {
            let mark = Mark::new();
            let seen = Arc::new(AtomicU64::new(0));
            let sees = Arc::clone(&seen);
            let flood = FLOOD.to_string();
            let client =
                connect(target::stdio(&mark, &["--revisions", era, "--stderr-flood", &flood]), |config| {
                    config.on_stderr(move |bytes| {
                        sees.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                    })
                })
                .await;
            echoes_work(&client, 0..1000).await;
            until("all of it is seen", || seen.load(Ordering::SeqCst) == FLOOD + 1000 * 200).await;
            books_balance(&client).await;
            client.close().await;
            mark.nobody_is_left();
        }
    });
}

/// A server whose stderr never ends, as fast as a pipe goes: calls get through all the same, and so does closing.
#[test]
fn an_endless_stderr_does_not_occupy_the_event_loop() {
    story(async {
        let mark = Mark::new();
        let script =
            format!("yes 'this line comes again and again' >&2 & exec {} serve --stdio", loadgen().display());
        let command = Command::new("sh").args(["-c", &script]).env(MARK, mark.as_str());
        let client = connect(command.into(), |config| config).await;
        for n in 0..20 {
            echoes_work(&client, n * 100..(n + 1) * 100).await;
        }
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.failed, stats.disconnects), (2000, 0, 0));
        client.close().await;
        mark.nobody_is_left();
    });
}

/// When a server dies its last words on stderr stand in the error of the calls that it had.
#[test]
fn the_last_words_of_a_server_stand_in_the_error() {
    story(async {
        let mark = Mark::new();
        let script = format!(
            "echo 'warming up' >&2; {} serve --stdio --die-after 5; echo 'out of cheese' >&2; exit 7",
            loadgen().display()
        );
        let command = Command::new("sh").args(["-c", &script]).env(MARK, mark.as_str());
        let client = connect(command.into(), |config| config.in_flight(1)).await;
        echoes_work(&client, 0..4).await;
        let error = client.call(echo(4)).await.expect_err("it dies over this one");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown));
        assert!(error.to_string().ends_with("its last words on stderr: out of cheese"), "{error}");
        echoes_work(&client, 5..8).await;
        books_balance(&client).await;
        client.close().await;
        mark.nobody_is_left();
    });
}

/// The same for a server that does not even come up.
#[test]
fn a_server_that_fails_to_start_is_quoted() {
    story(async {
        let command = Command::new("sh").args(["-c", "echo 'no licence found' >&2; exit 1"]);
        let configure = |config: volley::ConfigBuilder| {
            config.backoff(Duration::from_millis(1), Duration::from_millis(10))
        };
        let error = try_connect(command.into(), configure).await.err().expect("it does not start");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent));
        assert!(error.to_string().contains("no licence found"), "{error}");
    });
}
