//! Which era and revision: found out by itself, insisted on, counter-offered, refused; and what the server says of itself.

use std::time::Duration;

use serde_json::json;
use volley::{Client, Config, ErrorKind, Fate, Inline, Revision};

use crate::servers::{Server, pinned};

/// A call that any of the servers answers.
async fn says_hello(client: &Client) {
    let result = client.call_tool("echo", &json!({"message": "hello"})).await.unwrap();
    assert_eq!(result.text(), "hello");
}

#[test]
fn the_newest_era_is_found_by_itself_over_every_transport() {
    for (servers, name) in [(Server::targets(), "loadgen-target"), (Server::rmcps(), "volley-rmcp")] {
        for server in servers {
            let client = server.connect(Config::builder());
            pollster::block_on(async {
                says_hello(&client).await;
                let info = client.server_info().expect("the server was asked");
                assert_eq!(info.revision(), Some(Revision::V2026_07_28), "{}", server.name);
                assert_eq!(info.name(), Some(name));
                assert!(info.version().is_some_and(|version| !version.is_empty()));
                assert!(info.capabilities()["tools"].is_object(), "{info:?}");
                client.close().await;
            });
        }
    }
}

#[test]
fn every_revision_can_be_insisted_on_with_the_target_and_with_rmcp() {
    for revision in Revision::all() {
        for server in [Server::target(&[]), Server::rmcp()] {
            let client = server.connect(pinned(Some(revision)));
            pollster::block_on(async {
                says_hello(&client).await;
                assert_eq!(client.server_info().unwrap().revision(), Some(revision), "{}", server.name);
                client.close().await;
            });
            let inline = Inline::connect(&server.endpoint, &pinned(Some(revision)).build().unwrap()).unwrap();
            assert_eq!(inline.revision(), Some(revision), "{}", server.name);
            assert_eq!(inline.server_info().unwrap().revision(), Some(revision));
            inline.close(|_, _, _| ());
        }
    }
}

#[test]
fn a_legacy_server_is_found_by_itself_and_its_counter_offer_taken() {
    for (offered, agreed) in [
        ("legacy", Revision::V2025_11_25),
        ("2024-11-05", Revision::V2024_11_05),
        ("2024-11-05,2025-03-26", Revision::V2025_03_26),
        ("2025-06-18", Revision::V2025_06_18),
        ("modern", Revision::V2026_07_28),
        ("2024-11-05,2026-07-28", Revision::V2026_07_28),
    ] {
        let server = Server::target(&["--revisions", offered]);
        let client = server.connect(Config::builder());
        pollster::block_on(async {
            says_hello(&client).await;
            assert_eq!(client.server_info().unwrap().revision(), Some(agreed), "the server offers {offered}");
            client.close().await;
        });
    }
}

#[test]
fn a_revision_that_the_server_does_not_speak_is_an_error_that_names_both() {
    let backoff = (Duration::from_millis(1), Duration::from_millis(2));
    for (offered, insisted) in [
        ("modern", Revision::V2025_11_25),
        ("legacy", Revision::V2026_07_28),
        ("2024-11-05", Revision::V2025_06_18),
    ] {
        let server = Server::target(&["--revisions", offered]);
        let config = pinned(Some(insisted)).backoff(backoff.0, backoff.1).build().unwrap();
        let refused = pollster::block_on(Client::connect(server.endpoint.clone(), config));
        let Err(error) = refused else { panic!("{insisted} with a server that offers {offered}") };
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Unreachable, Fate::NotSent));
        assert!(error.to_string().contains(insisted.as_str()), "{error}");
    }
}

#[test]
fn ping_is_answered_by_servers_of_the_handshake_era() {
    for server in [Server::target(&[]), Server::rmcp()] {
        for revision in Revision::all() {
            let client = server.connect(pinned(Some(revision)));
            pollster::block_on(async {
                let pinged = client.ping().await;
                if revision == Revision::V2026_07_28 {
                    // The modern era has no ping; rmcp answers it all the same.
                    let refused = pinged.err().map(|error| error.rpc_error().unwrap().code);
                    assert_eq!(refused, (!server.name.contains("rmcp")).then_some(-32601), "{}", server.name);
                } else {
                    pinged.unwrap_or_else(|error| panic!("{} in {revision}: {error}", server.name));
                }
                client.close().await;
            });
        }
    }
}

#[test]
fn raw_requests_go_to_any_method_and_come_back_undecoded() {
    for server in [Server::target(&[]), Server::rmcp()] {
        for revision in [None, Some(Revision::V2025_11_25)] {
            let client = server.connect(pinned(revision));
            pollster::block_on(async {
                let params = json!({"name": "echo", "arguments": {"message": "raw"}});
                let answer = client.request("tools/call", &params).await.unwrap();
                assert_eq!(answer.tool_result().unwrap().text(), "raw");
                let message: serde_json::Value = serde_json::from_slice(answer.message()).unwrap();
                assert_eq!(message["jsonrpc"], "2.0");
                let unknown = client.request("no/such/method", &json!(null)).await.unwrap_err();
                assert_eq!(unknown.rpc_error().unwrap().code, -32601, "{}: {unknown}", server.name);
                let refused = client.request("tools/call", &json!([1])).await.unwrap_err();
                assert_eq!((refused.kind(), refused.fate()), (ErrorKind::InvalidInput, Fate::NotSent));
                client.close().await;
            });
        }
    }
}

/// Whoever waits is told when the attempts are used up, on a shard that has nothing else to wake it; and calls fail with the
/// reason as long as the engine does not try again.
#[test]
fn a_server_that_is_not_there_is_an_error_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = taken.local_addr().unwrap();
    drop(taken);
    for endpoint in [
        format!("tcp://{free}"),
        "unix:/nonexistent/socket".to_owned(),
        "stdio:/nonexistent/server".to_owned(),
    ] {
        let config =
            Config::builder().backoff(Duration::from_millis(5), Duration::from_millis(20)).build().unwrap();
        let started = std::time::Instant::now();
        let Err(error) = pollster::block_on(Client::connect(&endpoint, config)) else {
            panic!("{endpoint} answers")
        };
        assert_eq!(
            (error.kind(), error.fate()),
            (ErrorKind::Unreachable, Fate::NotSent),
            "{endpoint}: {error}"
        );
        assert!(started.elapsed() < Duration::from_secs(2), "{endpoint}: {:?}", started.elapsed());
    }
}
