//! Tokens: that all calls wait for one and the same, that nobody asks in a loop, and that no token is seen where it should not be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use parking_lot::Mutex;
use volley::{Challenge, Client, Config, ConfigBuilder, ErrorKind, Fate};
use volley_tests::{
    calls::{echo, first_text, message},
    patience::PATIENCE,
    wait::story,
    web_server::{Answer, Asked, HttpServer},
};

const INVALID: &str = r#"Bearer error="invalid_token", scope="read""#;

fn is_call(asked: &Asked) -> bool {
    asked.rpc() == "tools/call"
}

/// A server that accepts this token, which can be changed, and no other.
fn keeper_of(token: &Arc<Mutex<String>>) -> HttpServer {
    let token = Arc::clone(token);
    HttpServer::start(move |_, asked| {
        if asked.authorization == format!("Bearer {}", token.lock()) {
            asked.welcome()
        } else {
            Answer::refused(401, INVALID)
        }
    })
}

/// A server that is open to all but those who call.
fn keeper_of_calls(refusal: Answer) -> HttpServer {
    HttpServer::start(move |_, asked| if is_call(asked) { refusal.clone() } else { asked.welcome() })
}

fn counted(
    brings: impl Fn(&Challenge) -> String + Send + Sync + 'static,
) -> (ConfigBuilder, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&count);
    let config = Config::builder().timeout(PATIENCE).credentials(move |challenge: &Challenge| {
        counts.fetch_add(1, Ordering::AcqRel);
        Ok(brings(challenge))
    });
    (config, count)
}

#[test]
fn one_question_brings_the_token_for_all_calls_of_all_shards() {
    story(async {
        let token = Arc::new(Mutex::new("first".to_owned()));
        let server = keeper_of(&token);
        let current = Arc::clone(&token);
        let (config, asked) = counted(move |_| current.lock().clone());
        let config = config.bearer("stale").shards(2).connections(2).in_flight(8).build().unwrap();
        let client = Client::connect(&server.endpoint(), config).await.unwrap();
        for (round, expires) in [(1, "second"), (2, "third"), (3, "")] {
            let answers: Vec<_> = (0..64).map(|n| (n, client.call(echo(n)))).collect();
            for (n, answer) in answers {
                assert_eq!(first_text(&answer.await.unwrap()), message(n));
            }
            assert_eq!(asked.load(Ordering::Acquire), round);
            expires.clone_into(&mut token.lock());
        }
        client.close().await;
    });
}

#[test]
fn a_token_that_is_refused_as_soon_as_it_was_brought_ends_the_call() {
    story(async {
        let server = keeper_of_calls(Answer::refused(401, INVALID));
        let (config, asked) = counted(|_| "sesame".to_owned());
        let client = Client::connect(&server.endpoint(), config.build().unwrap()).await.unwrap();
        for _ in 0..3 {
            let error = client.call(echo(1)).await.unwrap_err();
            assert_eq!((error.kind(), error.fate()), (ErrorKind::Unauthorized, Fate::Answered));
            assert!(error.to_string().contains(r#"scope="read""#), "{error}");
            assert!(!format!("{error:?}").contains("sesame"));
        }
        assert_eq!(asked.load(Ordering::Acquire), 1);
        // The first was sent twice, the others not again.
        assert_eq!(server.asked(is_call).len(), 4);
        client.close().await;
    });
}

#[test]
fn calls_wait_for_a_token_no_longer_than_their_own_time() {
    story(async {
        let server = keeper_of_calls(Answer::refused(401, INVALID));
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let (config, _) = counted(move |_| {
            // Ends with the test, which drops the other end.
            let _ = released.lock().recv();
            "late".to_owned()
        });
        let config = config.timeout(Duration::from_millis(200)).build().unwrap();
        let client = Client::connect(&server.endpoint(), config).await.unwrap();
        let error = client.call(echo(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::NotSent));
        drop(release);
        client.close().await;
    });
}

#[test]
fn a_step_up_is_asked_for_once() {
    story(async {
        let narrow = r#"Bearer error="insufficient_scope", scope="write""#;
        let server = HttpServer::start(move |_, asked| {
            if is_call(asked) && asked.authorization != "Bearer wide" {
                Answer::refused(403, narrow)
            } else {
                asked.welcome()
            }
        });
        for (brought, is_enough) in [("wide", true), ("narrow", false)] {
            let (config, asked) = counted(move |challenge| {
                assert!(challenge.is_about_scope());
                assert_eq!(challenge.scope(), Some("write"));
                brought.to_owned()
            });
            let config = config.bearer("narrow").build().unwrap();
            let client = Client::connect(&server.endpoint(), config).await.unwrap();
            for n in 0..3 {
                let answer = client.call(echo(n)).await;
                assert_eq!(
                    answer.as_ref().err().map(|error| error.kind()),
                    (!is_enough).then_some(ErrorKind::Unauthorized)
                );
            }
            assert_eq!(asked.load(Ordering::Acquire), 1);
            client.close().await;
        }
    });
}

#[test]
fn without_credentials_an_opening_that_is_refused_says_so_at_once() {
    story(async {
        let server = keeper_of(&Arc::new(Mutex::new("another".to_owned())));
        let config = Config::builder().bearer("sesame").build().unwrap();
        assert!(!format!("{config:?}").contains("sesame"));
        let error = Client::connect(&server.endpoint(), config).await.err().unwrap();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Unauthorized, Fate::NotSent));
        assert!(error.to_string().contains("invalid_token"), "{error}");
        assert!(!format!("{error:?}").contains("sesame"));
        assert_eq!(server.asked(|_| true).len(), 1);
    });
}

#[test]
fn credentials_that_fail_or_panic_are_the_reason_and_are_left_alone() {
    story(async {
        let server = keeper_of_calls(Answer::refused(401, INVALID));
        let (config, asked) = counted(|_| panic!("out of tokens"));
        let client = Client::connect(&server.endpoint(), config.build().unwrap()).await.unwrap();
        for _ in 0..3 {
            let error = client.call(echo(1)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized);
            assert!(error.to_string().contains("panicked"), "{error}");
        }
        assert_eq!(asked.load(Ordering::Acquire), 1);
        client.close().await;
    });
}

#[test]
fn the_token_of_an_environment_variable_is_sent() {
    story(async {
        // A variable that is always there, and whose value could be a token.
        let path = std::env::var("PATH").unwrap();
        let server = keeper_of(&Arc::new(Mutex::new(path)));
        let config = Config::builder().bearer_env("PATH").build().unwrap();
        let client = Client::connect(&server.endpoint(), config).await.unwrap();
        client.call(echo(1)).await.unwrap();
        client.close().await;
    });
}
