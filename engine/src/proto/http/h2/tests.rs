//! The machine of HTTP/2 against the `h2` crate's server, with nothing but memory between them.
//!
//! [`World`] carries bytes from one to the other in pieces of any size until neither has more to say. The server does one of
//! the things that [`Does`] lists.

use std::{collections::BTreeMap, iter::Cycle, vec::IntoIter};

use h2::server::{self, Handshake, SendResponse};
use http::{Request, Response};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{base::limits::H2_WRITE_BYTES_MAX, proto::http::head::Media};

const HEAD: RequestHead<'_> = RequestHead {
    method: "POST",
    scheme: "http",
    authority: "localhost:80",
    target: "/mcp",
    headers: "Content-Type: application/json\r\nMcp-Name: echo\r\n",
};

const GET: RequestHead<'_> = RequestHead { method: "GET", ..HEAD };

/// What the server does with requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Does {
    /// Answers with their bodies.
    Echo,
    /// Nothing at all, which includes widening windows.
    Hold,
    /// Refuses them unseen.
    Refuse,
    /// Answers with half a body.
    BreakOff,
    /// Answers in full and then wants no more of the request.
    StopReading,
    /// Answers in a coding that nobody asked for.
    Compress,
    /// Answers with more headers than anyone wants.
    Boast,
}

struct Exchange {
    body: RecvStream,
    got: Vec<u8>,
    respond: SendResponse<Bytes>,
    /// An answer that was begun, and for how many turns.
    begun: Option<(SendStream<Bytes>, u32)>,
    over: bool,
}

struct Server {
    pipe: Pipe,
    handshake: Option<Pin<Box<Handshake<Pipe, Bytes>>>>,
    connection: Option<server::Connection<Pipe, Bytes>>,
    does: Does,
    exchanges: Vec<Exchange>,
    requests: Vec<Request<()>>,
}

impl Server {
    fn new(builder: &server::Builder, does: Does) -> Self {
        let pipe = Pipe::default();
        let handshake = Some(Box::pin(builder.handshake(pipe.clone())));
        Self { pipe, handshake, connection: None, does, exchanges: Vec::new(), requests: Vec::new() }
    }

    fn turn(&mut self) {
        if let Some(handshake) = &mut self.handshake
            && let Poll::Ready(connection) = handshake.as_mut().poll(&mut nobody())
        {
            self.connection = connection.ok();
            self.handshake = None;
        }
        let Some(connection) = &mut self.connection else { return };
        while let Poll::Ready(Some(Ok((request, respond)))) = connection.poll_accept(&mut nobody()) {
            let (parts, body) = request.into_parts();
            self.requests.push(Request::from_parts(parts, ()));
            self.exchanges.push(Exchange { body, got: Vec::new(), respond, begun: None, over: false });
        }
        let does = self.does;
        // What is over is dropped, and with it what was not read, which else would count against the window.
        self.exchanges.retain_mut(|exchange| {
            exchange.turn(does);
            !exchange.over
        });
        let _ = connection.poll_accept(&mut nobody());
    }
}

impl Exchange {
    fn answer(&mut self, name: &str, value: &str, has_body: bool) -> Option<SendStream<Bytes>> {
        let response = Response::builder().header("content-type", "application/json").header(name, value);
        self.respond.send_response(response.body(()).unwrap(), !has_body).ok()
    }

    fn turn(&mut self, does: Does) {
        match does {
            Does::Hold => {}
            Does::Refuse => {
                self.respond.send_reset(Reason::REFUSED_STREAM);
                self.over = true;
            }
            Does::Compress => self.over = self.answer("content-encoding", "br", true).is_some(),
            Does::Boast => self.over = self.answer("x", &"y".repeat(HEAD_BYTES_MAX), false).is_some(),
            Does::Echo => loop {
                match self.body.poll_data(&mut nobody()) {
                    Poll::Ready(Some(Ok(data))) => {
                        self.got.extend_from_slice(&data);
                        let _ = self.body.flow_control().release_capacity(data.len());
                    }
                    Poll::Ready(None) => {
                        let got = Bytes::from(std::mem::take(&mut self.got));
                        if let Some(mut sending) = self.answer("mcp-session-id", "s", !got.is_empty())
                            && !got.is_empty()
                        {
                            let _ = sending.send_data(got, true);
                        }
                        self.over = true;
                        return;
                    }
                    Poll::Ready(Some(Err(_))) => {
                        self.over = true;
                        return;
                    }
                    Poll::Pending => return,
                }
            },
            Does::BreakOff | Does::StopReading => match &mut self.begun {
                None => {
                    let Some(mut sending) = self.answer("x", "y", true) else {
                        self.over = true;
                        return;
                    };
                    let _ = sending.send_data(Bytes::from_static(b"{\"a\":1}"), does == Does::StopReading);
                    self.begun = Some((sending, 0));
                }
                // By then the beginning has left; a reset takes back what has not.
                Some((sending, 3)) => {
                    let is_stop = does == Does::StopReading;
                    sending.send_reset(if is_stop { Reason::NO_ERROR } else { Reason::INTERNAL_ERROR });
                    self.over = true;
                }
                Some((_, turns)) => *turns += 1,
            },
        }
    }
}

/// What was said on a lane.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    head: Option<(u16, Media)>,
    body: Vec<u8>,
    end: Option<Result<(), (String, bool)>>,
}

impl Heard {
    fn is_echo_of(&self, body: &[u8]) -> bool {
        self.head == Some((200, Media::Json)) && self.body == body && self.end == Some(Ok(()))
    }

    /// It was lost, and was it unprocessed?
    fn lost(&self) -> Option<bool> {
        self.end.as_ref().and_then(|end| end.as_ref().err()).map(|(_, unprocessed)| *unprocessed)
    }
}

struct World {
    h2: H2,
    server: Server,
    heard: BTreeMap<u32, Heard>,
    /// Bytes from the server that are on their way.
    back: Vec<u8>,
    sizes: Cycle<IntoIter<usize>>,
    /// Bytes that went to the server.
    sent: usize,
}

impl World {
    fn new(does: Does) -> Self {
        Self::with(&server::Builder::new(), does, vec![usize::MAX])
    }

    fn with(builder: &server::Builder, does: Does, sizes: Vec<usize>) -> Self {
        Self {
            h2: H2::with_streams(H2_STREAMS_UNTOLD_MAX),
            server: Server::new(builder, does),
            heard: BTreeMap::new(),
            back: Vec::new(),
            sizes: sizes.into_iter().cycle(),
            sent: 0,
        }
    }

    fn listen(&mut self) {
        while let Some((lane, event)) = self.h2.poll() {
            let heard = self.heard.entry(lane).or_default();
            assert_eq!(heard.end, None, "lane {lane} has ended, and then {event:?}");
            match event {
                Event::Head(head) => {
                    assert_eq!(heard.head, None);
                    heard.head = Some((head.status, head.media));
                }
                Event::Data(data) => {
                    assert!(heard.head.is_some());
                    heard.body.extend_from_slice(&data);
                }
                Event::End => heard.end = Some(Ok(())),
                Event::Lost { reason, unprocessed } => {
                    assert!(!reason.is_empty() && reason.len() <= REASON_BYTES_MAX);
                    heard.end = Some(Err((reason, unprocessed)));
                }
            }
        }
    }

    /// Carries bytes until none are left; the server gets some turns more.
    fn run(&mut self) {
        let mut idle = 0;
        while idle < 8 {
            idle = if self.step() { 0 } else { idle + 1 };
        }
    }

    /// Carries some bytes each way, if there are any.
    fn step(&mut self) -> bool {
        let size = self.sizes.next().unwrap();
        let waiting = self.h2.waiting();
        assert!(waiting.len() <= H2_WRITE_BYTES_MAX);
        let out = waiting[..waiting.len().min(size)].to_vec();
        self.sent += out.len();
        self.h2.written(out.len());
        self.server.pipe.put(&out);
        self.listen();
        self.server.turn();
        let mut more = Vec::new();
        self.server.pipe.take(&mut more);
        self.back.extend_from_slice(&more);
        let back: Vec<u8> = self.back.drain(..self.back.len().min(self.sizes.next().unwrap())).collect();
        // Not for nothing: a machine that needs to be called for what it owes would look well.
        if !back.is_empty() {
            self.h2.receive(&back);
        }
        self.listen();
        !out.is_empty() || !back.is_empty()
    }

    fn heard(&self, lane: u32) -> &Heard {
        self.heard.get(&lane).expect("something was said")
    }
}

/// A frame as it is on the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What may happen in a history.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Send(u32, usize),
    Reset(u32),
    Server(Does),
    Steps(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let does = prop_oneof![
        Just(Does::Echo),
        Just(Does::Hold),
        Just(Does::Refuse),
        Just(Does::BreakOff),
        Just(Does::StopReading),
        Just(Does::Compress),
        Just(Does::Boast),
    ];
    prop_oneof![
        4 => (0..5_u32, prop_oneof![0..300_usize, 0..100_000_usize]).prop_map(|(lane, bytes)| Deed::Send(lane, bytes)),
        2 => (0..5_u32).prop_map(Deed::Reset),
        1 => does.prop_map(Deed::Server),
        3 => (0..6_usize).prop_map(Deed::Steps),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the bytes are cut on both ways, each lane gets the answer to its own request.
    #[test]
    fn any_cut_gives_the_same_answers(
        bodies in vec(vec(any::<u8>(), 0..400), 1..12),
        sizes in vec(1..200_usize, 1..20),
    ) {
        let mut world = World::with(&server::Builder::new(), Does::Echo, sizes);
        for (lane, body) in bodies.iter().enumerate() {
            prop_assert_eq!(world.h2.send(lane as u32, &HEAD, body), Ok(()));
        }
        world.run();
        for (lane, body) in bodies.iter().enumerate() {
            prop_assert!(world.heard(lane as u32).is_echo_of(body), "{:?}", world.heard(lane as u32));
        }
        prop_assert_eq!(world.h2.streams(), 0);
        prop_assert_eq!(world.h2.is_closing(), None);
    }

    /// Whatever happens in whichever order, an exchange ends once, and not at all after it was given up.
    #[test]
    fn any_history_ends_each_exchange_once(
        history in vec(deed(), 1..40),
        sizes in vec(prop_oneof![1..500_usize, 10_000..100_000_usize], 2..10),
    ) {
        let mut builder = server::Builder::new();
        let mut world = World::with(builder.max_concurrent_streams(3), Does::Echo, sizes);
        for deed in history {
            match deed {
                Deed::Send(lane, bytes) => {
                    world.heard.remove(&lane);
                    // It may find no room, which gives up what the lane had before nevertheless.
                    if world.h2.send(lane, &HEAD, &vec![b' '; bytes]).is_ok() {
                        world.heard.insert(lane, Heard::default());
                    }
                }
                Deed::Reset(lane) => {
                    world.h2.reset(lane);
                    world.heard.remove(&lane);
                }
                Deed::Server(does) => world.server.does = does,
                Deed::Steps(steps) => (0..steps).for_each(|_| {
                    world.step();
                }),
            }
            let live = world.heard.values().filter(|heard| heard.end.is_none()).count();
            prop_assert_eq!(world.h2.streams(), live);
        }
        world.server.does = Does::Echo;
        world.run();
        for (lane, heard) in &world.heard {
            prop_assert!(heard.end.is_some(), "lane {}: {:?}", lane, heard);
        }
        prop_assert_eq!(world.h2.is_closing(), None);
        prop_assert_eq!(world.h2.room(), 3);
    }

    /// A server may send anything, and a lane is told of its loss at the latest when the socket ends.
    #[test]
    fn any_bytes_are_survived(
        frames in vec((0..12_u8, any::<u8>(), 0..6_u32, vec(any::<u8>(), 0..40)), 0..20),
        rest in vec(any::<u8>(), 0..100),
    ) {
        let mut world = World::new(Does::Hold);
        for lane in 0..3 {
            prop_assert_eq!(world.h2.send(lane, &HEAD, b"{}"), Ok(()));
        }
        world.run();
        for (kind, flags, stream, payload) in frames {
            world.h2.receive(&frame(kind, flags, stream, &payload));
            world.listen();
            let waiting = world.h2.waiting().len();
            world.h2.written(waiting);
        }
        world.h2.receive(&rest);
        world.h2.receive_end();
        world.listen();
        for lane in 0..3 {
            prop_assert!(world.heard(lane).end.is_some());
        }
        prop_assert_eq!((world.h2.streams(), world.h2.room()), (0, 0));
        prop_assert!(world.h2.is_closing().is_some());
    }
}

#[test]
fn a_hundred_streams_share_one_connection() {
    let mut builder = server::Builder::new();
    let mut world = World::with(builder.max_concurrent_streams(100), Does::Echo, vec![usize::MAX]);
    for round in 0..5 {
        assert_eq!(world.h2.room(), 100, "before the server has said anything, and after");
        for lane in 0..100 {
            world.h2.send(lane, &HEAD, format!("{{\"round\":{round},\"lane\":{lane}}}").as_bytes()).unwrap();
        }
        assert_eq!(world.h2.room(), 0);
        assert_eq!(world.h2.send(100, &HEAD, b"{}"), Err(Unsent::NoRoom));
        world.run();
        for (lane, heard) in std::mem::take(&mut world.heard) {
            assert!(
                heard.is_echo_of(format!("{{\"round\":{round},\"lane\":{lane}}}").as_bytes()),
                "{heard:?}"
            );
        }
    }
    assert_eq!(world.server.requests.len(), 500);
    let request = &world.server.requests[499];
    assert_eq!(request.uri().to_string(), "http://localhost:80/mcp");
    assert_eq!(request.headers()["mcp-name"], "echo");
}

#[test]
fn room_follows_the_servers_settings() {
    let mut builder = server::Builder::new();
    let mut world = World::with(builder.max_concurrent_streams(7), Does::Hold, vec![usize::MAX]);
    for lane in 0..3 {
        world.h2.send(lane, &HEAD, b"{}").unwrap();
    }
    world.run();
    assert_eq!((world.h2.streams(), world.h2.room()), (3, 4));
    world.h2.reset(1);
    assert_eq!((world.h2.streams(), world.h2.room()), (2, 5));
}

#[test]
fn a_lane_that_gave_up_hears_no_more_and_may_send_again_at_once() {
    let mut builder = server::Builder::new();
    let mut world = World::with(builder.max_concurrent_streams(1), Does::Hold, vec![usize::MAX]);
    // Until the server has said that it takes one at a time, it may be given two and refuse one.
    world.run();
    for _ in 0..5 {
        // Each of them in the place of the one before, of which the server has not heard that it is given up.
        world.h2.send(0, &HEAD, b"{}").unwrap();
        world.h2.send(0, &HEAD, b"{}").unwrap();
        world.run();
    }
    assert!(world.heard.is_empty());
    world.h2.reset(0);
    world.server.does = Does::Echo;
    world.h2.send(0, &HEAD, b"{\"a\":1}").unwrap();
    world.run();
    assert!(world.heard(0).is_echo_of(b"{\"a\":1}"), "{:?}", world.heard(0));
    assert_eq!(world.server.requests.len(), 11);
}

#[test]
fn a_server_that_goes_away_says_which_requests_it_has_not_processed() {
    let mut world = World::new(Does::Hold);
    for lane in 0..3 {
        world.h2.send(lane, &HEAD, b"{}").unwrap();
    }
    world.run();
    // Streams 1, 3 and 5 carry the lanes in turn.
    world.h2.receive(&frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    world.listen();
    assert_eq!(world.heard(2).lost(), Some(true));
    assert_eq!(world.h2.is_closing(), Some("the server goes away"));
    assert_eq!(world.h2.send(7, &HEAD, b"{}"), Err(Unsent::NoRoom));
    world.server.does = Does::Echo;
    world.run();
    assert!(world.heard(0).is_echo_of(b"{}") && world.heard(1).is_echo_of(b"{}"));
    assert_eq!(world.h2.streams(), 0);
}

#[test]
fn a_refused_stream_was_not_processed_and_the_connection_goes_on() {
    let mut world = World::new(Does::Refuse);
    world.h2.send(0, &HEAD, b"{}").unwrap();
    world.run();
    assert_eq!(world.heard(0).lost(), Some(true));
    world.server.does = Does::Echo;
    world.h2.send(1, &HEAD, b"{}").unwrap();
    world.run();
    assert!(world.heard(1).is_echo_of(b"{}"));
}

#[test]
fn an_answer_that_breaks_off_is_lost_and_was_processed() {
    let mut world = World::new(Does::BreakOff);
    world.h2.send(0, &HEAD, b"{}").unwrap();
    world.run();
    assert_eq!(
        (world.heard(0).head, &world.heard(0).body[..]),
        (Some((200, Media::Json)), &b"{\"a\":1}"[..])
    );
    assert_eq!(world.heard(0).lost(), Some(false));
    assert_eq!(world.h2.is_closing(), None);
}

#[test]
fn an_answer_that_is_whole_before_the_request_is_read_is_no_loss() {
    let mut world = World::new(Does::StopReading);
    // More than the server has window for.
    world.h2.send(0, &HEAD, &vec![b' '; 1 << 20]).unwrap();
    world.run();
    assert!(world.heard(0).is_echo_of(b"{\"a\":1}"), "{:?}", world.heard(0));
    assert_eq!(world.h2.streams(), 0);
}

#[test]
fn a_reset_behind_a_whole_answer_takes_nothing_back() {
    for (ends, reason) in [(1, 0), (1, 8), (0, 0), (0, 8)] {
        let mut world = World::new(Does::Hold);
        // It is not out when the answer comes, or the stream would be over before the reset.
        world.h2.send(0, &HEAD, &vec![b' '; 1 << 20]).unwrap();
        world.run();
        // Status 200 (HPACK, appendix A), a body, and a reset in one piece.
        let answer = [frame(1, 4, 1, b"\x88"), frame(0, ends, 1, b"{}"), frame(3, 0, 1, &[0, 0, 0, reason])];
        world.h2.receive(&answer.concat());
        world.listen();
        let heard = world.heard(0);
        assert_eq!((heard.head, &heard.body[..]), (Some((200, Media::Other)), &b"{}"[..]));
        assert_eq!((heard.end == Some(Ok(())), heard.lost()), (ends == 1, (ends == 0).then_some(false)));
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_lost_alone() {
    for does in [Does::Compress, Does::Boast] {
        let mut world = World::new(does);
        world.h2.send(0, &HEAD, b"{}").unwrap();
        world.run();
        assert_eq!(world.heard(0).lost(), Some(false), "{does:?}");
        world.server.does = Does::Echo;
        world.h2.send(1, &HEAD, b"{}").unwrap();
        world.run();
        assert!(world.heard(1).is_echo_of(b"{}"), "{does:?}");
    }
}

#[test]
fn bodies_beyond_every_window_pass_in_both_directions() {
    let mut world = World::with(&server::Builder::new(), Does::Echo, vec![10_000, 70_000, 300]);
    let bodies: Vec<Vec<u8>> = (0..6).map(|lane| vec![b'a' + lane; 3 << 20]).collect();
    assert!(bodies.concat().len() > H2_CONNECTION_WINDOW_BYTES as usize);
    for (lane, body) in bodies.iter().enumerate() {
        world.h2.send(lane as u32, &HEAD, body).unwrap();
    }
    world.run();
    for (lane, body) in bodies.iter().enumerate() {
        assert!(world.heard(lane as u32).is_echo_of(body), "lane {lane}");
    }
}

#[test]
fn what_was_handed_out_is_granted_anew_without_being_asked() {
    let mut world = World::new(Does::Hold);
    world.h2.send(0, &HEAD, b"{}").unwrap();
    world.run();
    // All that the window of the stream has, in one piece.
    let data = frame(0, 0, 1, &[b' '; 16 * 1024]).repeat(H2_STREAM_WINDOW_BYTES as usize / (16 * 1024));
    world.h2.receive(&[frame(1, 4, 1, b"\x88"), data].concat());
    world.listen();
    assert_eq!(world.heard(0).body.len(), H2_STREAM_WINDOW_BYTES as usize);
    let grant = frame(8, 0, 1, &H2_STREAM_WINDOW_BYTES.to_be_bytes());
    assert_eq!(world.h2.waiting(), grant);
}

#[test]
fn a_server_that_grants_no_window_gets_no_more_than_its_window() {
    let mut world = World::new(Does::Hold);
    for lane in 0..3 {
        world.h2.send(lane, &HEAD, &vec![b' '; 1 << 20]).unwrap();
    }
    world.run();
    assert!((65_535..70_000).contains(&world.sent), "{} bytes", world.sent);
    assert!(world.heard.is_empty() && world.h2.waiting().is_empty());
    for lane in 0..3 {
        world.h2.reset(lane);
    }
    // What has no body needs no window.
    world.server.exchanges.clear();
    world.server.does = Does::Echo;
    world.h2.send(3, &GET, b"").unwrap();
    world.run();
    assert!(world.heard(3).is_echo_of(b""), "{:?}", world.heard(3));
}

#[test]
fn what_has_not_left_was_not_processed_when_the_socket_ends() {
    let mut world = World::new(Does::Hold);
    world.h2.send(0, &HEAD, b"{}").unwrap();
    assert!(!world.h2.has_left(0));
    world.run();
    world.h2.send(1, &HEAD, b"{}").unwrap();
    assert!(!world.h2.waiting().is_empty());
    assert!(world.h2.has_left(0) && !world.h2.has_left(1) && !world.h2.has_left(2));
    world.h2.receive_end();
    world.listen();
    assert_eq!((world.heard(0).lost(), world.heard(1).lost()), (Some(false), Some(true)));
    assert_eq!(world.h2.is_closing(), Some("the server has closed the connection"));
    assert_eq!(world.h2.send(0, &HEAD, b"{}"), Err(Unsent::NoRoom));
}

#[test]
fn a_request_that_was_given_up_at_once_leaves_whole_all_the_same() {
    let mut world = World::new(Does::Hold);
    world.run();
    world.h2.send(0, &HEAD, &[b' '; 5_000]).unwrap();
    assert!(world.h2.is_fresh());
    let before = world.sent;
    world.h2.reset(0);
    world.run();
    assert!(world.sent - before > 5_000, "{} bytes", world.sent - before);
    world.h2.send(0, &HEAD, b"{}").unwrap();
    let waiting = world.h2.waiting().len();
    assert!(!world.h2.has_left(0) && world.h2.is_fresh());
    world.h2.written(waiting);
    assert!(world.h2.has_left(0) && !world.h2.is_fresh());
}

#[test]
fn a_machine_that_knows_its_server_opens_no_more_streams_than_that_allowed() {
    for (told, room) in [(None, H2_STREAMS_UNTOLD_MAX), (Some(10), 10), (Some(0), 1), (Some(usize::MAX), 100)]
    {
        assert_eq!(machine(told).unwrap().room(), room);
    }
}

#[test]
fn a_retired_machine_finishes_what_it_has() {
    let mut world = World::new(Does::Echo);
    world.h2.send(0, &HEAD, b"{}").unwrap();
    world.h2.retire("it is old");
    assert_eq!(world.h2.send(1, &HEAD, b"{}"), Err(Unsent::NoRoom));
    world.run();
    assert!(world.heard(0).is_echo_of(b"{}"));
    assert_eq!(world.h2.is_closing(), Some("it is old"));
}

#[test]
fn a_byte_is_enough_to_have_left() {
    let mut world = World::new(Does::Hold);
    world.run();
    world.h2.send(0, &HEAD, b"{}").unwrap();
    assert!(!world.h2.waiting().is_empty() && !world.h2.has_left(0));
    world.h2.written(1);
    assert!(world.h2.has_left(0));
}

#[test]
fn a_request_that_cannot_be_said_costs_nothing() {
    let mut world = World::new(Does::Echo);
    let sent = world.h2.send(0, &RequestHead { headers: "no colon\r\n", ..HEAD }, b"{}");
    assert!(matches!(sent, Err(Unsent::Unspeakable(_))));
    assert_eq!((world.h2.streams(), world.h2.room()), (0, 100));
    // The crate's own opinion comes later than ours.
    let sent = world.h2.send(0, &RequestHead { method: "CONNECT", ..HEAD }, b"{}");
    world.run();
    assert!(world.h2.streams() == 0 && (sent.is_err() || world.heard(0).end.is_some()));
}

#[test]
fn a_server_that_only_talks_is_left_in_the_end() {
    let mut world = World::new(Does::Hold);
    world.h2.send(0, &HEAD, b"{}").unwrap();
    world.run();
    let pings = frame(6, 0, 0, b"12345678").repeat(16 * 1024);
    let mut said = 0;
    while world.h2.is_closing().is_none() {
        world.h2.receive(&pings);
        world.listen();
        said += pings.len();
        assert!(said < 2 * H2_UNREAD_BYTES_MAX, "it has to end");
        assert!(world.h2.waiting().len() <= H2_WRITE_BYTES_MAX);
    }
    assert_eq!(world.heard(0).lost(), Some(false));
}

#[test]
fn the_machine_may_move_to_its_thread() {
    fn may_move<T: Send + 'static>(it: T) -> T {
        it
    }
    assert_eq!(may_move(H2::with_streams(H2_STREAMS_UNTOLD_MAX)).room(), H2_STREAMS_UNTOLD_MAX);
}

#[test]
fn something_else_than_http_2_closes_the_connection() {
    let mut h2 = H2::with_streams(H2_STREAMS_UNTOLD_MAX);
    h2.send(0, &HEAD, b"{}").unwrap();
    h2.receive(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    assert!(matches!(h2.poll(), Some((0, Event::Lost { unprocessed: true, .. }))));
    assert!(h2.poll().is_none() && h2.is_closing().is_some());
}
