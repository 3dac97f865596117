//! Lists over pages: whole, whatever the cursors look like, and never without end.

use serde_json::json;
use volley::{Client, Config, ErrorKind, Fate, Revision};
use volley_tests::scripted_server::ScriptedServer;

use crate::servers::{Server, pinned};

#[test]
fn lists_are_whole_over_pages_of_any_size() {
    let whole = |switches: &[&str], revision| {
        let server = Server::target(switches);
        let client = server.connect(pinned(revision));
        pollster::block_on(async {
            let tools = client.list_tools().await.unwrap();
            client.close().await;
            tools
        })
    };
    for revision in [None, Some(Revision::V2025_11_25)] {
        let tools = whole(&[], revision);
        assert!(tools.len() >= 7, "{tools:?}");
        let sum = tools.iter().find(|tool| tool.name == "sum").unwrap();
        assert_eq!(sum.input_schema["properties"]["a"]["type"], "number");
        assert_eq!(sum.output_schema.as_ref().unwrap()["required"], json!(["sum"]));
        for size in ["1", "2", "3", "100"] {
            assert_eq!(whole(&["--page-size", size], revision), tools, "pages of {size}");
            assert_eq!(
                whole(&["--page-size", size, "--empty-cursor"], revision),
                tools,
                "an empty cursor, {size}"
            );
        }
    }
}

#[test]
fn rmcp_lists_its_tools() {
    for server in Server::rmcps() {
        for revision in [None, Some(Revision::V2025_11_25)] {
            let client = server.connect(pinned(revision));
            pollster::block_on(async {
                let mut tools = client.list_tools().await.unwrap();
                tools.sort_by(|a, b| a.name.cmp(&b.name));
                let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
                assert_eq!(names, ["count", "echo", "executions", "sleepy"], "{}", server.name);
                assert_eq!(tools[1].input_schema["properties"]["message"]["type"], "string");
                client.close().await;
            });
        }
    }
}

#[test]
fn pages_that_run_in_a_circle_are_an_error() {
    let server = ScriptedServer::start(|peer| {
        peer.open(Revision::V2025_11_25);
        while let Some(request) = peer.read_until("tools/list") {
            let next = match request["params"]["cursor"].as_str() {
                None => "",
                Some("") => "b",
                Some("b") => "c",
                Some(_) => "",
            };
            peer.result(&request, &json!({"tools": [], "nextCursor": next}));
        }
    });
    pollster::block_on(async {
        let client = Client::connect(server.endpoint(), Config::default()).await.unwrap();
        let error = client.list_tools().await.unwrap_err();
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Protocol, Fate::Answered));
        client.close().await;
    });
    assert_eq!(server.finish().with("tools/list").len(), 4, "it stops where the circle closes");
}
