//! Subscriptions: our own target over all transports, and servers that play a script for what it never does.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use pollster::block_on;
use serde_json::{Value, json};
use volley::{
    Client, Config, ConfigBuilder, Endpoint, Error, ErrorKind, Fate, Inbound, Revision, Subscription,
    mcp::SubscriptionFilter,
};
use volley_tests::{
    patience::{PATIENCE, until_blocking},
    processes::Mark,
    scripted_server::{Peer, ScriptedServer, discovered},
    target::{self, Target},
};

use crate::servers::{adds_up, echo, message};

const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";
const UPDATED: &str = "notifications/resources/updated";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// The resource that the target's fixtures change.
const WATCHED: &str = "test://watched-resource";

fn connect(endpoint: impl Into<Endpoint>, config: ConfigBuilder) -> Client {
    block_on(Client::connect(endpoint.into(), config.build().expect("valid"))).expect("it connects")
}

fn scripted(server: &ScriptedServer, config: ConfigBuilder) -> Client {
    connect(server.endpoint().parse::<Endpoint>().expect("an endpoint"), config)
}

fn brisk() -> ConfigBuilder {
    Config::builder().backoff(Duration::from_millis(1), Duration::from_millis(10))
}

fn tools() -> SubscriptionFilter {
    SubscriptionFilter { tools_list_changed: true, ..Default::default() }
}

/// The next notification of a subscription that goes on.
fn next(subscription: &mut Subscription) -> volley::Notification {
    match block_on(subscription.next()) {
        Some(Ok(Inbound::Notification(one))) => one,
        other => panic!("{other:?}"),
    }
}

/// The number that a script gave a notification.
fn number(one: &volley::Notification) -> Value {
    one.params::<Value>().expect("params")["n"].clone()
}

fn trigger(client: &Client, what: &str) {
    block_on(client.call_tool(&format!("test_trigger_{what}"), &json!({}))).expect("it tells everybody");
}

/// A notification that belongs to the request of this id.
fn tagged(method: &str, id: &Value, mut params: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": id});
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

/// The acknowledgement of a request for the list of tools.
fn acknowledgement(id: &Value) -> Value {
    tagged(ACKNOWLEDGED, id, json!({"notifications": {"toolsListChanged": true}}))
}

/// Reads the request and acknowledges it.
fn acknowledge(peer: &mut Peer) -> Value {
    let request = peer.read_until("subscriptions/listen").expect("a request");
    peer.send(&acknowledgement(&request["id"]));
    request
}

/// Plays `script` on connections of a server of the modern era.
fn modern(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> ScriptedServer {
    ScriptedServer::start(move |peer| {
        if peer.number() == 0 {
            peer.open(Revision::V2026_07_28);
        }
        script(peer);
    })
}

/// The target with fixtures over each transport, and the process to be kept.
fn targets() -> Vec<(&'static str, Endpoint, Option<Target>)> {
    let (tcp, http) = (Target::tcp(&["--fixtures"]), Target::http(&["--fixtures"]));
    vec![
        ("stdio", target::stdio(&Mark::new(), &["--fixtures"]), None),
        ("tcp", tcp.endpoint(), Some(tcp)),
        ("http", http.endpoint(), Some(http)),
    ]
}

#[test]
fn changes_are_told_over_every_transport_and_a_window_of_one_stays_usable() {
    for (name, endpoint, _target) in targets() {
        let client = connect(endpoint, Config::builder().in_flight(1).queue(0));
        let wish = SubscriptionFilter {
            tools_list_changed: true,
            resource_subscriptions: vec![WATCHED.to_owned()],
            ..Default::default()
        };
        let mut changes =
            block_on(client.listen(wish.clone())).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(changes.accepted(), &wish, "{name}");
        for _ in 0..3 {
            // The change of the prompts was not asked for.
            trigger(&client, "prompt_change");
            trigger(&client, "tool_change");
            assert_eq!(next(&mut changes).method(), TOOLS, "{name}");
            trigger(&client, "resource_update");
            let updated = next(&mut changes);
            assert_eq!(
                (updated.method(), updated.params::<Value>().unwrap()["uri"].as_str()),
                (UPDATED, Some(WATCHED))
            );
        }
        assert_eq!(client.stats().live, 1, "{name}: the standing call and nothing else");
        drop(changes);
        until_blocking("it is over", || client.stats().live == 0);
        let before = client.stats().notifications;
        // What the first one might still tell would come before the answer to the second.
        trigger(&client, "tool_change");
        trigger(&client, "tool_change");
        assert_eq!(client.stats().notifications, before, "{name}: the server was told");
        block_on(client.close());
        adds_up(&client.stats());
    }
}

#[test]
fn subscriptions_on_one_connection_hear_each_its_own() {
    for (name, endpoint, _target) in targets() {
        let client = connect(endpoint, Config::builder().in_flight(1));
        let resource = vec![WATCHED.to_owned()];
        let wishes = [
            tools(),
            SubscriptionFilter { prompts_list_changed: true, ..Default::default() },
            SubscriptionFilter { resource_subscriptions: resource, ..Default::default() },
        ];
        let mut all: Vec<Subscription> =
            wishes.into_iter().map(|wish| block_on(client.listen(wish)).unwrap()).collect();
        for _ in 0..3 {
            for what in ["tool_change", "prompt_change", "resource_update"] {
                trigger(&client, what);
            }
        }
        for (subscription, method) in all.iter_mut().zip([TOOLS, PROMPTS, UPDATED]) {
            for _ in 0..3 {
                assert_eq!(next(subscription).method(), method, "{name}");
            }
        }
        drop(all.remove(0));
        trigger(&client, "resource_update");
        assert_eq!(next(&mut all[1]).method(), UPDATED, "{name}: the others go on");
        block_on(client.close());
        for mut subscription in all {
            let ended = block_on(subscription.next()).unwrap().unwrap_err();
            assert_eq!(ended.kind(), ErrorKind::Closed, "{name}");
            assert!(block_on(subscription.next()).is_none(), "{name}: an end is told once");
        }
        adds_up(&client.stats());
    }
}

#[test]
fn nothing_is_told_before_the_acknowledgement_and_nothing_of_others() {
    let server = modern(|peer| {
        let request = peer.read_until("subscriptions/listen").expect("a request");
        assert_eq!(
            request["params"]["notifications"],
            json!({"toolsListChanged": true, "resourcesListChanged": true})
        );
        let id = &request["id"];
        let (other, text) = (json!(id.as_u64().unwrap() + 1), json!(id.to_string()));
        peer.send(&tagged(TOOLS, id, json!({"n": "too early"})));
        for id in [&other, &text, &Value::Null] {
            peer.send(&tagged(ACKNOWLEDGED, id, json!({"notifications": {"promptsListChanged": true}})));
            peer.send(&tagged(TOOLS, id, json!({"n": "not ours"})));
        }
        peer.send(&acknowledgement(id));
        for id in [&other, &text, &json!(id.as_u64().unwrap() as f64 + 0.5)] {
            peer.send(&tagged(TOOLS, id, json!({"n": "not ours"})));
        }
        peer.send(&json!({"jsonrpc": "2.0", "method": TOOLS, "params": {"n": "nobody's"}}));
        peer.send(&acknowledgement(id));
        peer.send(&tagged(TOOLS, id, json!({"n": 1})));
        peer.send(&tagged(TOOLS, id, json!({"n": 2})));
        peer.result(&request, &json!({"resultType": "complete"}));
        peer.read_rest();
    });
    let client = scripted(&server, brisk());
    let mut everything = client.notifications();
    let wish = SubscriptionFilter { resources_list_changed: true, ..tools() };
    let mut changes = block_on(client.listen(wish)).unwrap();
    assert_eq!(changes.accepted(), &tools(), "the server left something out");
    assert_eq!(number(&next(&mut changes)), 1);
    assert_eq!(number(&next(&mut changes)), 2);
    assert!(block_on(changes.next()).is_none(), "the server has ended it");
    assert!(block_on(changes.next()).is_none());
    block_on(client.close());
    let mut heard = Vec::new();
    while let Some(Inbound::Notification(one)) = block_on(everything.next()) {
        heard.push(number(&one));
    }
    assert!(heard.contains(&json!(1)) && heard.contains(&json!("nobody's")), "{heard:?}");
    assert!(!heard.contains(&json!("too early")), "{heard:?}");
    assert_eq!(client.stats().notifications_early, 2, "one too early, one acknowledgement too many");
    adds_up(&client.stats());
    server.finish();
}

#[test]
fn the_server_ends_it_with_a_result_a_cancellation_or_both() {
    for ending in ["result", "cancelled", "both", "error"] {
        let server = modern(move |peer| {
            let request = acknowledge(peer);
            let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request["id"]}});
            if ending != "result" && ending != "error" {
                peer.send(&cancelled);
            }
            match ending {
                "error" => peer.error(&request, -32603, &Value::Null),
                "cancelled" => {}
                _ => peer.result(&request, &json!({"resultType": "complete"})),
            }
            peer.echo_rest();
        });
        let client = scripted(&server, brisk().in_flight(1));
        let mut changes = block_on(client.listen(tools())).unwrap();
        match (ending, block_on(changes.next())) {
            ("error", Some(Err(error))) => assert_eq!(error.rpc_error().unwrap().code, -32603),
            (_, None) => {}
            (_, other) => panic!("{ending}: {other:?}"),
        }
        assert!(block_on(changes.next()).is_none(), "{ending}");
        assert_eq!(block_on(client.call(echo(7))).unwrap().text(), message(7));
        block_on(client.close());
        let stats = client.stats();
        adds_up(&stats);
        assert_eq!((stats.unknown, stats.late), (0, u64::from(ending == "both")), "{ending}");
        assert_eq!(stats.cancellations_sent, 0, "{ending}: there is nothing left to cancel");
        server.finish();
    }
}

#[test]
fn dropping_it_tells_the_server_and_owes_nothing() {
    let server = modern(|peer| {
        let request = acknowledge(peer);
        let cancelled = peer.read_until("notifications/cancelled").expect("a cancellation");
        assert_eq!(cancelled["params"]["requestId"], request["id"]);
        peer.echo_rest();
    });
    // A debt would hold the only place for an hour.
    let client = scripted(&server, brisk().in_flight(1).orphan_debt(Duration::from_secs(3600)));
    let changes = block_on(client.listen(tools())).unwrap();
    drop(changes);
    assert_eq!(block_on(client.call(echo(7))).unwrap().text(), message(7));
    block_on(client.close());
    assert_eq!(client.stats().cancellations_sent, 1);
    adds_up(&client.stats());
    server.finish();
}

#[test]
fn a_lost_connection_asks_again_under_a_new_id_and_says_so() {
    const LIVES: usize = 4;
    let server = modern(|peer| {
        let request = acknowledge(peer);
        let n = peer.number();
        peer.send(&tagged(TOOLS, &request["id"], json!({"n": n})));
        if n + 1 < LIVES {
            peer.hang_up();
        } else {
            peer.result(&request, &json!({"resultType": "complete"}));
            peer.read_rest();
        }
    });
    let client = scripted(&server, brisk().in_flight(1));
    let mut changes = block_on(client.listen(tools())).unwrap();
    for n in 0..LIVES {
        if n > 0 {
            let told = block_on(changes.next());
            assert!(matches!(told, Some(Ok(Inbound::Interrupted))), "{n}: {told:?}");
        }
        assert_eq!(number(&next(&mut changes)), n);
    }
    assert!(block_on(changes.next()).is_none());
    block_on(client.close());
    adds_up(&client.stats());
    // No id comes twice: the record checks it.
    assert_eq!(server.finish().with("subscriptions/listen").len(), LIVES);
}

#[test]
fn a_server_that_never_acknowledges_is_not_asked_for_ever() {
    const ATTEMPTS: u32 = 3;
    let server = ScriptedServer::start(|peer| {
        // What opens and never works is asked anew what it is.
        while let Some(request) = peer.read() {
            match request["method"].as_str() {
                Some("server/discover") => peer.result(&request, &discovered(&["2026-07-28"])),
                _ => return peer.hang_up(),
            }
        }
    });
    let client = scripted(&server, brisk().attempts_max(ATTEMPTS));
    let refused = block_on(client.listen(tools())).err().expect("it is given up");
    assert!(matches!(refused.kind(), ErrorKind::ConnectionLost | ErrorKind::Unreachable), "{refused}");
    block_on(client.close());
    adds_up(&client.stats());
    let asked = server.finish().with("subscriptions/listen").len();
    assert!((1..=ATTEMPTS as usize + 1).contains(&asked), "asked {asked} times");
}

#[test]
fn the_time_out_is_for_the_acknowledgement_and_not_for_what_follows() {
    let timeout = Duration::from_millis(100);
    let server = modern(move |peer| {
        let silent = peer.read_until("subscriptions/listen").expect("a request");
        let cancelled = peer.read_until("notifications/cancelled").expect("a cancellation");
        assert_eq!(cancelled["params"]["requestId"], silent["id"]);
        let request = acknowledge(peer);
        peer.expect_silence(timeout * 5);
        peer.send(&tagged(TOOLS, &request["id"], json!({"n": 1})));
        peer.read_rest();
    });
    let client = scripted(&server, brisk().timeout(timeout));
    let silent = block_on(client.listen(tools())).err().expect("nobody acknowledges");
    assert_eq!((silent.kind(), silent.fate()), (ErrorKind::Timeout, Fate::Unknown));
    let mut changes = block_on(client.listen(tools())).unwrap();
    assert_eq!(number(&next(&mut changes)), 1);
    block_on(client.close());
    adds_up(&client.stats());
    server.finish();
}

#[test]
fn a_legacy_server_is_not_asked_and_the_error_names_what_it_has() {
    for legacy in [Target::tcp(&["--revisions", "legacy"]), Target::http(&["--revisions", "legacy"])] {
        let client = connect(legacy.endpoint(), Config::builder());
        let refused = block_on(client.listen(tools())).err().expect("there is no such thing");
        assert_eq!((refused.kind(), refused.fate()), (ErrorKind::InvalidInput, Fate::NotSent));
        let words = refused.to_string();
        assert!(words.contains("subscribe()") && words.contains("notifications()"), "{words}");
        block_on(client.close());
        assert_eq!(client.stats().rpc_errors, 0, "nothing was asked");
        adds_up(&client.stats());
    }
}

#[test]
fn more_than_the_bound_are_refused_and_a_place_comes_back() {
    let server = Target::tcp(&[]);
    let client = connect(server.endpoint(), Config::builder().subscriptions_max(2));
    let refused =
        |client: &Client| -> Error { block_on(client.listen(tools())).err().expect("there are two") };
    for _ in 0..20 {
        let first = block_on(client.listen(tools())).unwrap();
        let second = block_on(client.listen(tools())).unwrap();
        let error = refused(&client);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("subscriptions_max"), "{error}");
        drop((first, second));
    }
    let tasks = SubscriptionFilter { task_ids: vec!["t".to_owned()], ..Default::default() };
    assert_eq!(block_on(client.listen(tasks)).err().unwrap().kind(), ErrorKind::InvalidInput);
    block_on(client.close());
    adds_up(&client.stats());
}

#[test]
fn draining_does_not_wait_for_subscriptions() {
    for (name, endpoint, _target) in targets() {
        let client = connect(endpoint, Config::builder());
        let mut changes = block_on(client.listen(tools())).unwrap();
        assert!(block_on(client.drain(PATIENCE)), "{name}: everything ended by itself");
        let ended = block_on(changes.next()).unwrap().unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::Closed, "{name}");
        assert!(block_on(client.listen(tools())).is_err(), "{name}");
        adds_up(&client.stats());
    }
}

/// What a script over HTTP sees and says.
struct Exchange {
    stream: BufReader<TcpStream>,
    /// Which request of its kind, from 0 on.
    number: usize,
    request: Value,
}

impl Exchange {
    /// Begins a response that is a stream of events.
    fn begin(&mut self) {
        self.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    fn event(&mut self, message: &Value) {
        let event = format!("event: message\ndata: {message}\n\n");
        self.say(&format!("{:x}\r\n{event}\r\n", event.len()));
    }

    fn end(&mut self) {
        self.say("0\r\n\r\n");
    }

    fn answer(&mut self, result: &Value) {
        let body = json!({"jsonrpc": "2.0", "id": self.request["id"], "result": result}).to_string();
        self.say(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    fn say(&mut self, text: &str) {
        // The client may have gone; what it heard is its own affair.
        let _ = self.stream.get_mut().write_all(text.as_bytes());
    }

    /// Waits until the client has hung up, and says whether it did so without another byte.
    fn sees_end(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

/// A server over HTTP that is modern, echoes calls, and plays `script` on each request for a subscription.
fn modern_over_http(script: impl Fn(&mut Exchange) + Send + Sync + Clone + 'static) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for stream in listener.incoming() {
            let (script, asked) = (script.clone(), std::sync::Arc::clone(&asked));
            let Ok(stream) = stream else { return };
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            thread::spawn(move || {
                let mut exchange =
                    Exchange { stream: BufReader::new(stream), number: 0, request: Value::Null };
                while let Some(request) = read_post(&mut exchange.stream) {
                    exchange.request = request;
                    match exchange.request["method"].as_str().unwrap_or_default() {
                        "server/discover" => exchange.answer(&discovered(&["2026-07-28"])),
                        "tools/list" => exchange.answer(&json!({"resultType": "complete", "tools": []})),
                        "tools/call" => {
                            let text = &exchange.request["params"]["arguments"]["message"];
                            let result = json!({"content": [{"type": "text", "text": text}]});
                            exchange.answer(&result);
                        }
                        "subscriptions/listen" => {
                            exchange.number = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            script(&mut exchange);
                        }
                        other => panic!("{other}"),
                    }
                }
            });
        }
    });
    endpoint.parse().expect("an endpoint")
}

/// The body of the next request; `None` when the client has hung up.
fn read_post(stream: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

#[test]
fn over_http_the_stream_is_the_subscription() {
    let (tell, told) = mpsc::channel();
    let endpoint = modern_over_http(move |exchange| {
        let id = exchange.request["id"].clone();
        exchange.begin();
        exchange.event(&tagged(TOOLS, &id, json!({"n": "too early"})));
        exchange.event(&acknowledgement(&id));
        exchange.event(&tagged(TOOLS, &id, json!({"n": exchange.number})));
        match exchange.number {
            // Broken off, and ended without a result: either way it was not the server's wish to end it.
            0 => exchange.stream.get_mut().shutdown(std::net::Shutdown::Both).expect("it was open"),
            1 => exchange.end(),
            2 => {
                let ended = json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete"}});
                exchange.event(&ended);
                exchange.end();
            }
            // The client hangs up: that is how it cancels.
            _ => tell.send(exchange.sees_end()).expect("somebody waits"),
        }
    });
    let client = connect(endpoint, brisk().in_flight(1));
    let mut changes = block_on(client.listen(tools())).unwrap();
    for n in 0..3 {
        if n > 0 {
            assert!(matches!(block_on(changes.next()), Some(Ok(Inbound::Interrupted))), "{n}");
        }
        assert_eq!(number(&next(&mut changes)), n);
    }
    assert!(block_on(changes.next()).is_none(), "the server has ended it");
    let mut changes = block_on(client.listen(tools())).unwrap();
    assert_eq!(number(&next(&mut changes)), 3);
    for n in 0..3 {
        assert_eq!(block_on(client.call(echo(n))).unwrap().text(), message(n), "calls go on beside it");
    }
    drop(changes);
    assert!(
        told.recv_timeout(PATIENCE).expect("the script goes on"),
        "the stream was closed, and nothing said"
    );
    block_on(client.close());
    assert_eq!(client.stats().notifications_early, 4);
    adds_up(&client.stats());
}

#[test]
fn over_http_a_cancellation_by_the_server_ends_it() {
    let endpoint = modern_over_http(|exchange| {
        let id = exchange.request["id"].clone();
        exchange.begin();
        exchange.event(&acknowledgement(&id));
        exchange.event(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}),
        );
        exchange.event(&json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete"}}));
        exchange.end();
    });
    let client = connect(endpoint, brisk().in_flight(1));
    for n in 0..10 {
        let mut changes = block_on(client.listen(tools())).unwrap();
        assert!(block_on(changes.next()).is_none());
        assert_eq!(block_on(client.call(echo(n))).unwrap().text(), message(n));
    }
    block_on(client.close());
    adds_up(&client.stats());
    assert_eq!(client.stats().cancelled, 10);
}
