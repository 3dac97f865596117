//! Requests however their bytes are cut, and the bytes that are no request.

use proptest::prelude::*;

use super::*;

/// What a request comes to, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    path: String,
    session: Option<Vec<u8>>,
    body: Vec<u8>,
}

const BODY_BYTES_MAX: usize = 4096;

/// Shows a reader the bytes in pieces that end at these places; gives the requests and the refusal.
fn read_in_pieces(bytes: &[u8], cuts: &[usize]) -> (Vec<Seen>, Option<u16>) {
    let mut reader = Reader::new(BODY_BYTES_MAX);
    let mut seen = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        loop {
            match reader.read(&bytes[start..end.max(start)]) {
                Read::Whole { head, body, bytes: length } => {
                    seen.push(Seen {
                        method: head.method.to_owned(),
                        path: head.path.to_owned(),
                        session: head.session.map(<[u8]>::to_vec),
                        body: body.to_vec(),
                    });
                    start += length;
                    reader.forget_body();
                }
                Read::More { .. } => break,
                Read::Refused(status) => return (seen, Some(status)),
            }
        }
    }
    (seen, None)
}

/// One request on the wire; `chunks` says how its body is cut, if it is.
fn request(session: Option<&str>, body: &[u8], chunks: Option<usize>) -> Vec<u8> {
    let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
    let mut bytes = format!("POST /mcp?x HTTP/1.1\r\nhost: localhost\r\n{session}").into_bytes();
    match chunks {
        None => {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(body);
        }
        Some(size) => {
            bytes.extend_from_slice(b"transfer-ENCODING: Chunked\r\n\r\n");
            for piece in body.chunks(size.max(1)) {
                bytes.extend_from_slice(format!("{:X};ext=1\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\nTrailer: t\r\n\r\n");
        }
    }
    bytes
}

type Part = (Option<String>, Vec<u8>, Option<usize>);

fn part() -> impl Strategy<Value = Part> {
    let body = proptest::collection::vec(any::<u8>(), 0..60);
    (proptest::option::of("[!-~]{1,20}"), body, proptest::option::of(1..20_usize))
}

proptest! {
    /// However the bytes of pipelined requests are cut, the same requests come out.
    #[test]
    fn any_cut_gives_the_same_requests(
        parts in proptest::collection::vec(part(), 1..4),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> =
            parts.iter().flat_map(|(id, body, chunks)| request(id.as_deref(), body, *chunks)).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let (seen, refused) = read_in_pieces(&bytes, &cuts);
        prop_assert_eq!(refused, None);
        let expected: Vec<Seen> = parts
            .into_iter()
            .map(|(id, body, _)| Seen {
                method: "POST".into(),
                path: "/mcp".into(),
                session: id.map(String::into_bytes),
                body,
            })
            .collect();
        prop_assert_eq!(seen, expected);
    }

    /// No bytes make the reader panic, and whatever it makes of them it makes of any cut of them,
    /// as long as it makes requests of them.
    #[test]
    fn mutated_bytes_are_read_the_same_in_any_cut(
        body in proptest::collection::vec(any::<u8>(), 0..40),
        chunks in proptest::option::of(1..9_usize),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = request(Some("s"), &body, chunks);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let whole = read_in_pieces(&bytes, &[]);
        let cut = read_in_pieces(&bytes, &[cut.index(bytes.len())]);
        prop_assert_eq!(whole.0, cut.0);
    }
}

fn refusal(head: &str) -> Option<u16> {
    read_in_pieces(head.as_bytes(), &[]).1
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let post = |fields: &str| refusal(&format!("POST /mcp HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\nbody"));
    assert_eq!(post("content-length: 4"), None);
    assert_eq!(post("content-length: 4\r\ncontent-length: 4"), None);
    assert_eq!(post("content-length: 4\r\ncontent-length: 3"), Some(400));
    assert_eq!(post("content-length: 4\r\ntransfer-encoding: chunked"), Some(400));
    assert_eq!(post("transfer-encoding: gzip, chunked"), Some(501));
    assert_eq!(post("content-length: +4"), Some(400));
    assert_eq!(post("content-length: 4, 4"), Some(400));
    assert_eq!(post("host: y\r\ncontent-length: 4"), Some(400));
    assert_eq!(post("mcp-session-id: a\r\nmcp-session-id: b"), Some(400));
    assert_eq!(refusal("POST /mcp HTTP/1.1\r\n\r\n"), Some(400), "no host");
    assert_eq!(refusal("POST /mcp HTTP/2.0\r\nhost: x\r\n\r\n"), Some(505));
    assert_eq!(refusal("nonsense\r\n\r\n"), Some(400));
}

#[test]
fn heads_and_bodies_have_a_bound() {
    let long = format!("POST /mcp HTTP/1.1\r\nhost: x\r\na: {}", "y".repeat(HEAD_BYTES_MAX));
    assert_eq!(refusal(&long), Some(431), "without an end");
    assert_eq!(refusal(&format!("{long}\r\n\r\n")), Some(431), "with an end");
    let fields = "a: b\r\n".repeat(100);
    assert_eq!(refusal(&format!("GET / HTTP/1.1\r\nhost: x\r\n{fields}\r\n")), Some(431));
    assert_eq!(refusal("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4097\r\n\r\n"), Some(413));
    assert_eq!(
        refusal("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1001\r\n"),
        Some(413)
    );
    for size in ["", "x", "-1", "+1", "fffffffffffffffff"] {
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{size}\r\n");
        assert_eq!(refusal(&head), Some(400), "{size}");
    }
}

#[test]
fn the_client_is_told_to_go_on_once() {
    let head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut reader = Reader::new(BODY_BYTES_MAX);
    assert_eq!(reader.read(head), Read::More { expects_continue: true });
    let more = [&head[..], b"a"].concat();
    assert_eq!(reader.read(&more), Read::More { expects_continue: false });
    let whole = [&head[..], b"ab"].concat();
    assert!(matches!(reader.read(&whole), Read::Whole { body: b"ab", .. }));
    assert_eq!(reader.read(head), Read::More { expects_continue: true }, "the next request");
}

#[test]
fn connections_stay_open_unless_told_otherwise() {
    for (version, connection, closes) in [
        ("1.1", "", false),
        ("1.1", "Connection: keep-alive, Close\r\n", true),
        ("1.0", "", true),
        ("1.0", "connection: Keep-Alive\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nhost: x\r\n{connection}\r\n");
        let (head, _) = Head::parse(head.as_bytes()).unwrap().unwrap();
        assert_eq!(head.closes, closes, "{version} {connection}");
    }
}
