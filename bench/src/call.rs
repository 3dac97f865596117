//! The call that everyone makes, and what the right answer to it looks like.
//!
//! All contestants call the tool `echo` with the same message and get it back. A modern call carries its
//! metadata, about 200 bytes; a legacy one goes without, after a handshake. The floor sends these bytes as they
//! stand here, every other contestant writes the call with its own code. What the answer must be is asked of the
//! target's own code, in memory. Proof: `the_reply_is_the_echo`, below.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::http::Replier;
use crate::link::Transport;
use crate::splice::Splicer;

/// Which of the protocol's two eras the calls belong to. Modern ones carry their metadata: 200 bytes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// `server/discover`, then calls with `_meta`.
    Modern,
    /// `initialize`, then calls without.
    Legacy,
}

/// What every contestant sends and gets back.
pub const MESSAGE: &str = "hello";

/// Whether a reply is whole, by its length and its end: what is looked at of each. A reply with an error is shorter.
pub(crate) fn is_whole(reply: &[u8]) -> bool {
    reply.len() >= WHOLE_BYTES_MIN && reply.last() == Some(&b'}')
}

/// Whether it is the echo: what is looked at of some, since looking for it takes as long as a call does.
pub(crate) fn is_echo(reply: &[u8]) -> bool {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ECHO));
    is_whole(reply) && FINDER.find(reply).is_some()
}

/// The content of the right reply, and what stands around it at the least.
const ECHO: &str = r#"[{"type":"text","text":"hello"}]"#;
const WHOLE_BYTES_MIN: usize = ECHO.len() + r#"{"jsonrpc":"2.0","id":1,"result":{"content":}}"#.len();

/// The metadata of a modern request, as a member of `params`.
pub(crate) const META: &str = concat!(
    r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"floor","version":"0.1.0"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":{}}"#
);

/// One call, as any client would write it, without an end of line.
pub(crate) fn call(era: Era, id: usize) -> String {
    call_of(era, id, "echo", &format!(r#"{{"message":"{MESSAGE}"}}"#))
}

/// A call whose answer has a text of so many bytes.
pub(crate) fn blob(era: Era, id: usize, bytes: usize) -> String {
    call_of(era, id, "blob", &format!(r#"{{"bytes":{bytes}}}"#))
}

fn call_of(era: Era, id: usize, tool: &str, arguments: &str) -> String {
    let meta = match era {
        Era::Modern => format!(",{META}"),
        Era::Legacy => String::new(),
    };
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}{meta}}}}}"#
    )
}

/// Calls with these ids as one message: an array if they are several.
pub(crate) fn message(era: Era, ids: std::ops::Range<usize>) -> String {
    let array = ids.len() > 1;
    let calls: Vec<String> = ids.map(|id| call(era, id)).collect();
    if array { format!("[{}]", calls.join(",")) } else { calls.concat() }
}

/// A message as its bytes go over the wire: a line, or a POST.
pub(crate) fn on_the_wire(transport: Transport, era: Era, message: &str) -> Vec<u8> {
    if transport != Transport::Http {
        return format!("{message}\n").into_bytes();
    }
    let headers = match era {
        Era::Modern => "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n",
        Era::Legacy => "MCP-Protocol-Version: 2025-11-25\r\n",
    };
    let length = message.len();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{headers}Content-Length: {length}\r\n\r\n{message}"
    )
    .into_bytes()
}

/// The right reply to a message on the wire, byte for byte.
pub(crate) fn reply(transport: Transport, era: Era, wire: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    if transport == Transport::Http {
        Replier::new().answer(wire, &mut reply);
        return reply;
    }
    let mut splicer = Splicer::new();
    if era == Era::Legacy {
        splicer.answer(INITIALIZE, 0, &mut reply);
        reply.clear();
    }
    splicer.answer(wire, 0, &mut reply);
    reply
}

/// What opens a legacy stream.
pub(crate) const INITIALIZE: &[u8] = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"#,
    r#""clientInfo":{"name":"floor","version":"0.1.0"}}}"#,
    "\n"
)
.as_bytes();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_is_the_echo() {
        for era in [Era::Modern, Era::Legacy] {
            for transport in [Transport::Unix, Transport::Http] {
                let wire = on_the_wire(transport, era, &message(era, 7..8));
                let text = String::from_utf8(reply(transport, era, &wire)).unwrap();
                let body = text.rsplit("\r\n\r\n").next().unwrap();
                let value: serde_json::Value = serde_json::from_str(body).unwrap();
                assert_eq!(value["id"], 7);
                assert_eq!(value["result"]["content"][0]["text"], MESSAGE);
                assert_eq!(text.contains("resultType"), era == Era::Modern, "{text}");
                assert!(
                    is_whole(body.trim_end().as_bytes()) && is_echo(body.trim_end().as_bytes()),
                    "{body}"
                );
            }
        }
    }

    #[test]
    fn another_reply_is_no_echo() {
        let result = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hullo"}]}}"#;
        assert!(is_whole(result.as_bytes()) && !is_echo(result.as_bytes()));
        assert!(!is_whole(&result.as_bytes()[..result.len() - 1]));
        assert!(!is_whole(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}"#));
    }

    #[test]
    fn an_array_is_answered_with_an_array() {
        for transport in [Transport::Tcp, Transport::Http] {
            let wire = on_the_wire(transport, Era::Modern, &message(Era::Modern, 10..110));
            let text = String::from_utf8(reply(transport, Era::Modern, &wire)).unwrap();
            let body = text.rsplit("\r\n\r\n").next().unwrap();
            let values: Vec<serde_json::Value> = serde_json::from_str(body).unwrap();
            let ids: Vec<_> = values.iter().filter_map(|value| value["id"].as_u64()).collect();
            assert_eq!(ids, (10..110).collect::<Vec<u64>>());
            assert!(values.iter().all(|value| value["result"]["content"][0]["text"] == MESSAGE));
        }
    }
}
