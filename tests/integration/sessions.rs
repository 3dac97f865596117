//! Sessions over HTTP, and what one client's findings mean for the next: our own target forgets sessions in mid-run.

use volley::{Client, Config, Revision};
use volley_tests::{
    calls::{books_balance, echo, message},
    target::Target,
    wait::story,
};

fn told(revision: Revision) -> Config {
    Config::builder().in_flight(64).revision(revision).build().expect("a valid configuration")
}

/// Once, a 404 to a call of the session before was taken for the end of the session of now, and calls whose 404 came while a
/// session was being opened failed.
#[test]
fn a_session_that_is_forgotten_takes_no_call_with_it() {
    story(async {
        const CALLS: u64 = 5_000;
        const CALLS_OF_A_SESSION: u64 = 500;
        let target = Target::http(&["--session-calls", &CALLS_OF_A_SESSION.to_string()]);
        let client = Client::connect(target.endpoint(), told(Revision::V2025_11_25)).await.expect("a server");
        let mut bulk = client.bulk((0..CALLS).map(echo));
        while let Some((n, outcome)) = bulk.next().await {
            let answer = outcome.unwrap_or_else(|error| panic!("call {n}: {error} ({:?})", error.fate()));
            assert_eq!(answer.tool_result().expect("a result").text(), message(n));
        }
        let stats = books_balance(&client).await;
        assert_eq!(stats.answered, CALLS, "{stats:?}");
        // The last session carries the last calls.
        assert_eq!(stats.sessions_lost, CALLS / CALLS_OF_A_SESSION - 1, "{stats:?}");
        client.close().await;
    });
}

/// Once, what another client of the process had found out of a URL outweighed the revision that a client insisted on.
#[test]
fn what_others_found_out_of_a_url_does_not_outweigh_what_a_client_is_told() {
    story(async {
        let target = Target::http(&[]);
        for (config, spoken) in [
            (told(Revision::V2025_06_18), Revision::V2025_06_18),
            (Config::default(), Revision::V2026_07_28),
            (told(Revision::V2025_11_25), Revision::V2025_11_25),
            (told(Revision::V2026_07_28), Revision::V2026_07_28),
        ] {
            let client = Client::connect(target.endpoint(), config).await.expect("a server");
            let revision = client.server_info().and_then(|info| info.revision());
            assert_eq!(revision, Some(spoken));
            client.call(echo(0)).await.expect("an answer");
            client.close().await;
        }
    });
}
