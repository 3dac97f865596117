//! HTTP/2: streams and sockets that end before their time, by the server's doing or the caller's. Every call ends once, and
//! none is executed twice.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use h2::Reason;
use volley::{Call, ErrorKind, Fate, Inline, InlineOutcome, Tool};
use volley_tests::{
    calls::{books_balance, echo, echoes_work, first_text, message},
    h2_server::{Asked, Does, H2Server, Reset, Terms},
    patience::{PATIENCE, until},
    wait::story_alone,
};

use crate::{
    http2::{connect, told},
    servers::{Account, echoes},
};

/// How often the server executed each call.
fn executed(server: &H2Server) -> HashMap<String, u32> {
    let mut times = HashMap::new();
    for asked in server.asked(Asked::is_call) {
        *times.entry(asked.text().to_owned()).or_default() += 1;
    }
    times
}

#[test]
fn a_server_that_goes_away_after_so_many_calls_takes_none_with_it() {
    const CALLS: u64 = 3_000;
    for era in ["modern", "legacy"] {
        let server = H2Server::start(Terms { era, ..Terms::default() }, |asked| {
            if asked.calls_before == 200 { Does::EchoAndGoAway } else { Does::Echo }
        });
        let config = told(era).in_flight(64).build().expect("a valid configuration");
        let client =
            volley::blocking::Client::connect(server.endpoint().as_str(), config).expect("it connects");
        let mut account = Account::new(CALLS);
        client.bulk(echoes(CALLS)).for_each(|(n, outcome)| account.enter_raw(n, outcome));
        client.close();
        account.close(&client.stats(), 0);
        assert!(server.connections() > 5, "{} connections", server.connections());
        assert!(executed(&server).values().all(|times| *times == 1));
    }
}

/// Sockets that a server has said goodbye on stand for as long as something rides on them, and eight such were all that there might be:
/// with one slow call on each, no call was sent any more.
#[test]
fn sockets_that_the_server_is_leaving_do_not_keep_new_ones_away() {
    story_alone(async {
        for era in ["modern", "legacy"] {
            let server = H2Server::start(Terms { era, ..Terms::default() }, |asked| {
                let is_slow = (0..12).any(|n| asked.text() == message(n));
                if is_slow { Does::EchoWhenTold } else { Does::EchoAndGoAway }
            });
            let client = connect(&server, told(era).in_flight(64)).await;
            let mut slow = Vec::new();
            for n in 0..12 {
                slow.push(client.call(echo(n)));
                let is_there = |asked: &Asked| asked.is_call() && asked.text() == message(n);
                until("the slow call is there", || server.count(is_there) == 1).await;
                let quick = client.call(echo(100 + n)).await.expect("an answer");
                assert_eq!(first_text(&quick), message(100 + n));
            }
            server.let_go();
            for (n, call) in slow.into_iter().enumerate() {
                assert_eq!(first_text(&call.await.expect("an answer")), message(n as u64));
            }
            assert!(executed(&server).values().all(|times| *times == 1));
            client.close().await;
            books_balance(&client).await;
        }
    });
}

#[test]
fn a_refused_stream_is_sent_again_and_executed_once() {
    const CALLS: u64 = 2_000;
    let count = AtomicU64::new(0);
    let server = H2Server::start(Terms::default(), move |_| {
        if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(5) { Does::Refuse } else { Does::Echo }
    });
    let config = told("modern").in_flight(64).build().expect("a valid configuration");
    let client = volley::blocking::Client::connect(server.endpoint().as_str(), config).expect("it connects");
    let mut account = Account::new(CALLS);
    client.bulk(echoes(CALLS)).for_each(|(n, outcome)| account.enter_raw(n, outcome));
    client.close();
    let stats = client.stats();
    account.close(&stats, 0);
    assert!(stats.moved >= CALLS / 5, "{stats:?}");
    assert_eq!((stats.http_sockets, stats.disconnects), (1, 0), "{stats:?}");
    let times = executed(&server);
    assert!(times.len() == CALLS as usize && times.values().all(|times| *times == 1));
}

/// A server that refuses each stream was asked again at the speed of the wire, until the call's time was over.
#[test]
fn a_server_that_refuses_every_stream_is_not_asked_for_ever() {
    story_alone(async {
        let server = H2Server::start(Terms::default(), |_| Does::Refuse);
        let client = connect(&server, told("modern")).await;
        let error = client.call(echo(1)).await.expect_err("it is refused each time");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::NotSent), "{error}");
        let stats = books_balance(&client).await;
        assert!(stats.moved <= 20, "{stats:?}");
        client.close().await;
    });
}

#[test]
fn an_answer_that_breaks_off_ends_its_call_and_no_other() {
    story_alone(async {
        let server = H2Server::start(Terms::default(), |asked| {
            if asked.text() == message(7) { Does::BreakOff } else { Does::Echo }
        });
        let client = connect(&server, told("modern")).await;
        let calls: Vec<Call> = (0..50).map(|n| client.call(echo(n))).collect();
        for (n, call) in (0..).zip(calls) {
            match call.await {
                Ok(answer) => assert_eq!(first_text(&answer), message(n)),
                Err(error) => {
                    assert_eq!(
                        (n, error.kind(), error.fate()),
                        (7, ErrorKind::ConnectionLost, Fate::Unknown)
                    );
                }
            }
        }
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.failed, stats.http_sockets), (49, 1, 1), "{stats:?}");
        client.close().await;
    });
}

#[test]
fn a_socket_that_is_cut_in_mid_run_takes_with_it_only_what_had_left() {
    const CALLS: u64 = 3_000;
    for era in ["modern", "legacy"] {
        let server = H2Server::start(Terms { era, ..Terms::default() }, |asked| {
            if asked.calls_before == 300 { Does::Cut } else { Does::Echo }
        });
        let config = told(era).in_flight(64).build().expect("a valid configuration");
        let client =
            volley::blocking::Client::connect(server.endpoint().as_str(), config).expect("it connects");
        let (mut ended, mut lost) = (vec![0; CALLS as usize], 0);
        client.bulk((0..CALLS).map(echo)).for_each(|(n, outcome)| {
            ended[n as usize] += 1;
            match outcome {
                Ok(answer) => assert_eq!(answer.tool_result().expect("a result").text(), message(n)),
                Err(error) => {
                    assert_eq!((error.kind(), error.fate()), (ErrorKind::ConnectionLost, Fate::Unknown));
                    lost += 1;
                }
            }
        });
        client.close();
        let stats = client.stats();
        assert!(ended.iter().all(|times| *times == 1));
        assert_eq!(
            (stats.submitted, stats.answered, stats.failed, stats.live),
            (CALLS, CALLS - lost, lost, 0)
        );
        let cuts = server.connections() as u64 - 1;
        assert!(cuts > 3 && (cuts..=cuts * 64).contains(&lost), "{era}: {lost} lost, {cuts} cuts");
        assert!(executed(&server).values().all(|times| *times == 1));
    }
}

/// The server answers calls with an even number.
fn half_silent(era: &'static str) -> H2Server {
    H2Server::start(Terms { era, ..Terms::default() }, |asked| {
        let number: u64 = asked.text().split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
        if number.is_multiple_of(2) { Does::Echo } else { Does::Nothing }
    })
}

#[test]
fn a_modern_call_that_is_dropped_resets_its_stream_and_no_other() {
    story_alone(async {
        let server = half_silent("modern");
        let client = connect(&server, told("modern")).await;
        let mut calls: Vec<Option<Call>> = (0..40).map(|n| Some(client.call(echo(n)))).collect();
        until("all are there", || server.count(Asked::is_call) == 40).await;
        for n in [1, 5, 9] {
            calls[n] = None;
        }
        until("the server hears of it", || server.resets().len() == 3).await;
        let mut resets = server.resets();
        resets.sort_by(|a, b| a.text.cmp(&b.text));
        let reset = |n| Reset { connection: 0, text: message(n), reason: Reason::CANCEL };
        assert_eq!(resets, [reset(1), reset(5), reset(9)]);
        for n in (0..40).step_by(2) {
            let answer = calls[n].take().expect("it was kept").await.expect("an answer");
            assert_eq!(first_text(&answer), message(n as u64));
        }
        echoes_work_even(&client).await;
        drop(calls);
        let stats = books_balance(&client).await;
        assert_eq!((stats.cancelled, stats.failed, stats.http_sockets), (20, 0, 1), "{stats:?}");
        until("all that were dropped are reset", || server.resets().len() == 20).await;
        assert_eq!(server.count(|asked| asked.message["method"] == "notifications/cancelled"), 0);
        client.close().await;
    });
}

async fn echoes_work_even(client: &volley::Client) {
    for n in (0..100).step_by(2) {
        assert_eq!(first_text(&client.call(echo(n)).await.expect("an answer")), message(n));
    }
}

#[test]
fn a_legacy_call_that_is_dropped_is_told_by_a_message_and_its_stream_goes_with_the_debt() {
    story_alone(async {
        let server = half_silent("legacy");
        let client = connect(&server, told("legacy").orphan_debt(Duration::from_millis(100))).await;
        let call = client.call(echo(1));
        until("it is there", || server.count(Asked::is_call) == 1).await;
        drop(call);
        let told_of = |asked: &Asked| asked.message["method"] == "notifications/cancelled";
        until("the server is told", || server.count(told_of) == 1).await;
        echoes_work_even(&client).await;
        until("the stream goes", || server.resets().len() == 1).await;
        let stats = books_balance(&client).await;
        assert_eq!((stats.cancelled, stats.answered, stats.http_sockets), (1, 50, 1), "{stats:?}");
        client.close().await;
    });
}

#[test]
fn calls_that_time_out_leave_the_others_in_peace() {
    story_alone(async {
        for era in ["modern", "legacy"] {
            let server = half_silent(era);
            let config = told(era).timeout(Duration::from_secs(2)).orphan_debt(Duration::from_millis(100));
            let client = connect(&server, config).await;
            let calls: Vec<Call> = (0..40).map(|n| client.call(echo(n))).collect();
            for (n, call) in (0..).zip(calls) {
                match call.await {
                    Ok(answer) => assert_eq!(first_text(&answer), message(n)),
                    Err(error) => {
                        assert_eq!(
                            (n % 2, error.kind(), error.fate()),
                            (1, ErrorKind::Timeout, Fate::Unknown)
                        );
                    }
                }
            }
            let stats = books_balance(&client).await;
            assert_eq!((stats.answered, stats.timed_out), (20, 20), "{stats:?}");
            until("their streams go", || server.resets().len() == 20).await;
            assert!(server.resets().iter().all(|reset| reset.reason == Reason::CANCEL));
            echoes_work_even(&client).await;
            client.close().await;
        }
    });
}

/// Once, a socket whose other end had vanished without a word swallowed call after call.
#[test]
fn a_socket_that_has_fallen_silent_gets_no_more_calls_once_one_has_timed_out() {
    story_alone(async {
        let server = H2Server::start(Terms::default(), |asked| {
            if asked.connection == 0 && asked.calls_before == 20 { Does::Freeze } else { Does::Echo }
        });
        let client = connect(&server, told("modern").timeout(Duration::from_secs(1))).await;
        echoes_work(&client, 0..20).await;
        let error = client.call(echo(20)).await.expect_err("nobody hears it");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Unknown), "{error}");
        echoes_work(&client, 21..100).await;
        let stats = books_balance(&client).await;
        assert_eq!((stats.answered, stats.timed_out, stats.http_sockets), (99, 1, 2), "{stats:?}");
        client.close().await;
    });
}

/// Nobody reads between the turns of an inline engine: the end of the socket lies there when the next call is written.
#[test]
fn a_call_is_not_risked_on_a_socket_that_the_server_has_closed_meanwhile() {
    let server = H2Server::start(Terms::default(), |asked| {
        if asked.calls_before == 0 { Does::EchoAndGoAway } else { Does::Echo }
    });
    let config = told("modern").build().expect("a valid configuration");
    let endpoint = server.endpoint().parse().expect("an endpoint");
    let mut engine = Inline::connect(&endpoint, &config).expect("it connects");
    for n in 0..5 {
        let arguments = serde_json::json!({ "message": message(n) }).to_string();
        let (mut answered, until) = (false, std::time::Instant::now() + PATIENCE);
        engine.submit(&Tool::new("echo"), arguments.as_bytes(), n).expect("there is room");
        while !answered {
            let turned = engine.turn(Duration::from_millis(50), |tag, _, outcome| {
                assert!(matches!(outcome, InlineOutcome::Result(_)), "call {tag}: {outcome:?}");
                answered = true;
            });
            turned.expect("a turn");
            assert!(std::time::Instant::now() < until, "call {n} is not answered");
        }
        // Longer than any look is spared for.
        std::thread::sleep(Duration::from_millis(30));
    }
    let stats = engine.stats();
    assert_eq!((stats.answered, stats.failed), (5, 0), "{stats:?}");
    // Five, unless a call was there before the server had said that it takes no more; it may answer that one too.
    assert!((2..=5).contains(&server.connections()), "{} connections", server.connections());
    engine.close(|_, _, outcome| panic!("{outcome:?}"));
}
