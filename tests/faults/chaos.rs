//! Servers that answer twice, to nobody, in odd spellings, and between noise: every call gets its own right answer, and
//! what was not right is counted.

use volley::{Client, Endpoint, Stats};
use volley_tests::calls::{books_balance, echo, echoes_work, first_text, message};
use volley_tests::processes::Mark;
use volley_tests::target::{self, ERAS, Target};
use volley_tests::wait::story;

use super::connect;

const CALLS: u64 = 600;

/// Calls in bulk and one by one; each has its own answer.
async fn all_is_right(client: &Client) -> Stats {
    let mut bulk = client.bulk((0..CALLS - 100).map(echo));
    let mut outcomes = 0;
    while let Some((index, outcome)) = bulk.next().await {
        let answer = outcome.unwrap_or_else(|error| panic!("call {index}: {error}"));
        assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index));
        outcomes += 1;
    }
    assert_eq!(outcomes, CALLS - 100);
    echoes_work(client, 0..100).await;
    let stats = books_balance(client).await;
    assert_eq!((stats.submitted, stats.answered, stats.rpc_errors), (CALLS, CALLS, 0), "{stats:?}");
    assert_eq!((stats.late, stats.disconnects), (0, 0), "{stats:?}");
    stats
}

/// Asks a target with these switches, in both eras, and hands its counters to `check`. They are complete when all that
/// the last answer drags after itself has been read too; a call more pulls it along.
fn under(switches: &[&str], check: impl Fn(&Stats)) {
    story(async {
        for era in ERAS {
            let target = Target::tcp(&[&["--revisions", era], switches].concat());
            let client = connect(target.endpoint(), |config| config).await;
            let stats = all_is_right(&client).await;
            check(&stats);
            client.close().await;
            books_balance(&client).await;
        }
    });
}

#[test]
fn a_second_answer_is_nobodys() {
    // The copy of the last one may still be under way.
    under(&["--duplicate", "1"], |stats| assert!((CALLS - 1..=CALLS).contains(&stats.unknown), "{stats:?}"));
}

#[test]
fn answers_to_ids_that_were_never_used_are_dropped() {
    under(&["--unknown", "1"], |stats| assert_eq!(stats.unknown, CALLS));
}

#[test]
fn an_id_may_come_last() {
    under(&["--id-last"], |stats| assert_eq!((stats.unknown, stats.id_less), (0, 0)));
}

#[test]
fn an_id_may_come_back_as_a_string() {
    under(&["--string-id"], |stats| assert_eq!((stats.unknown, stats.lenient_ids), (0, CALLS)));
}

#[test]
fn keys_may_be_escaped() {
    under(&["--escaped-keys"], |stats| assert_eq!((stats.unknown, stats.id_less), (0, 0)));
}

#[test]
fn white_space_may_stand_anywhere() {
    under(&["--spaced"], |stats| assert_eq!((stats.unknown, stats.noise_lines), (0, 0)));
}

#[test]
fn errors_without_an_id_end_no_call() {
    under(&["--null-id-errors", "1"], |stats| assert_eq!((stats.id_less, stats.unknown), (CALLS, 0)));
}

#[test]
fn noise_between_answers_is_passed_over() {
    under(&["--noise", "1"], |stats| {
        // One of the four sorts of noise looks like the start of an array, and is no message.
        assert_eq!(stats.noise_lines + stats.blank_lines + stats.malformed, CALLS, "{stats:?}");
        assert!(stats.noise_lines > 0 && stats.blank_lines > 0, "{stats:?}");
    });
}

#[test]
fn notifications_that_nobody_asked_for_are_counted() {
    under(&["--notify", "1"], |stats| {
        assert_eq!((stats.notifications, stats.notifications_dropped), (CALLS, 0));
    });
}

#[test]
fn answers_may_come_in_any_order() {
    under(&["--reorder", "64"], |stats| assert_eq!(stats.unknown, 0));
}

/// A refusal is an answer: its code says that it was not executed, and it counts as answered.
#[test]
fn refusals_are_answers() {
    story(async {
        let target = Target::tcp(&["--refuse", "1"]);
        let client = connect(target.endpoint(), |config| config).await;
        for n in 0..10 {
            let error = client.call(echo(n)).await.expect_err("refused");
            assert_eq!((error.kind(), error.fate()), (volley::ErrorKind::Rpc, volley::Fate::Answered));
            assert_eq!(error.rpc_error().map(|error| error.code), Some(-32000));
        }
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.rpc_errors, stats.failed), (10, 10, 0));
        client.close().await;
    });
}

/// All at once, over every transport.
#[test]
fn every_call_has_its_own_answer_in_the_worst_of_company() {
    let switches = [
        "--duplicate",
        "0.3",
        "--unknown",
        "0.3",
        "--string-id",
        "--escaped-keys",
        "--spaced",
        "--id-last",
        "--null-id-errors",
        "0.3",
        "--noise",
        "0.5",
        "--notify",
        "0.3",
        "--reorder",
        "16",
        "--delay",
        "0ms..2ms",
    ];
    story(async {
        for era in ERAS {
            let seed = fastrand::u32(..).to_string();
            println!("era {era}, seed {seed}");
            let switches = [&["--revisions", era, "--seed", &seed], &switches[..]].concat();
            let mark = Mark::new();
            let (tcp, unix) = (Target::tcp(&switches), Target::unix(&switches));
            let endpoints: [Endpoint; 3] = [tcp.endpoint(), unix.endpoint(), target::stdio(&mark, &switches)];
            for endpoint in endpoints {
                let client = connect(endpoint, |config| config.in_flight(32)).await;
                let mut bulk = client.bulk((0..CALLS).map(echo));
                while let Some((index, outcome)) = bulk.next().await {
                    let answer = outcome.unwrap_or_else(|error| panic!("call {index}: {error}"));
                    assert_eq!(first_text(&answer.tool_result().expect("a result")), message(index));
                }
                let stats = books_balance(&client).await;
                assert_eq!((stats.submitted, stats.answered, stats.late), (CALLS, CALLS, 0), "{stats:?}");
                assert!(stats.unknown > 0 && stats.id_less > 0 && stats.notifications > 0, "{stats:?}");
                assert!(stats.lenient_ids >= CALLS, "copies have a string for an id as well: {stats:?}");
                client.close().await;
            }
        }
    });
}
