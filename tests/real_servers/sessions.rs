//! Sessions that their server ends in mid-run, in three real servers that each say it in their own way: 404 with JSON
//! (`python`, `fastmcp`), 404 in plain text (`rmcp`), 400 (`everything`).
//!
//! A tap between the engine and the server learns the session, and three times in a run it is deleted behind the engine's
//! back. The run has to recover by itself, and every call has to end once.

use volley::{Client, Config, Fate, Revision};

use crate::{
    servers::{EVERYTHING, FASTMCP, PYTHON, RMCP, Server},
    session_tap::SessionTap,
    volleys::{calls, has_echo, volley},
};

/// Kills the session after one, two and three eighths of the calls, or as soon after that as there is one.
fn recovers(server: &Server) {
    let running = server.listen("http");
    let tap = SessionTap::start(running.port());
    let url = format!("http://127.0.0.1:{}/mcp", tap.port());
    let config =
        Config::builder().in_flight(IN_FLIGHT).revision(Revision::V2025_11_25).build().expect("valid");
    pollster::block_on(async {
        let client = Client::connect(url.as_str(), config).await.expect("it connects");
        has_echo(&client).await;
        let calls = calls();
        let (mut failures, mut kills) = (Vec::new(), 0);
        let took = volley(
            &client,
            server,
            calls,
            |_, error| failures.push(error),
            |ended| {
                if ended >= (kills + 1) * (calls / 8) && kills < KILLS {
                    // The session of now is the newest; those of before are gone, and say so. The next one may not stand yet: then it is
                    // this one's turn when another call has ended.
                    let is_ended = |id: &_| (200..300).contains(&tap.end_session(id));
                    kills += u64::from(tap.take().iter().filter(|id| is_ended(*id)).count() >= 1);
                }
            },
        )
        .await;
        // Whatever became of the run, the session of now is a good one.
        has_echo(&client).await;
        client.close().await;
        let stats = client.stats();
        println!(
            "{:10} sessions: {calls} calls in {:.2} s, {kills} sessions killed, {} lost, {} calls failed, {} moved",
            server.name,
            took.as_secs_f64(),
            stats.sessions_lost,
            failures.len(),
            stats.moved
        );
        assert_eq!(kills, KILLS);
        assert!(stats.sessions_lost >= 1, "{stats:?}");
        // Only calls that were out when their session died may fail; none of them is known to have been executed.
        assert!(
            failures.len() as u64 <= KILLS * u64::from(IN_FLIGHT),
            "{} failed: {stats:?}",
            failures.len()
        );
        for error in &failures {
            assert!(
                matches!(error.fate(), Fate::Unknown | Fate::NotSent),
                "{error} (fate: {:?})",
                error.fate()
            );
        }
        // The two lists of tools were calls too.
        assert_eq!((stats.submitted, stats.live), (calls + 2, 0), "{stats:?}");
        let failed = failures.len() as u64;
        assert_eq!((stats.answered, stats.failed), (calls + 2 - failed, failed), "{stats:?}");
    });
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn everything_may_end_sessions_in_mid_run() {
    recovers(&EVERYTHING);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn python_may_end_sessions_in_mid_run() {
    recovers(&PYTHON);
}

#[test]
#[ignore = "needs tests/real-servers/install; `just real-servers` runs it"]
fn fastmcp_may_end_sessions_in_mid_run() {
    recovers(&FASTMCP);
}

#[test]
#[ignore = "one of the real servers; `just real-servers` runs it"]
fn rmcp_may_end_sessions_in_mid_run() {
    recovers(&RMCP);
}

const IN_FLIGHT: u32 = 64;
const KILLS: u64 = 3;
