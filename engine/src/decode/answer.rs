//! From the bytes of a response to a value or an error. The only file that names simd-json.
//!
//! simd-json unescapes strings where they stand, so it needs bytes of its own to spoil: a slot's copy of a short answer
//! serves as such, a frame in a shared chunk is copied first. Its work buffers are kept for each thread. Nesting is
//! bounded, since the reader of values recurses: a depth bomb is an error, not a crash.

use std::cell::RefCell;

use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

pub(crate) use crate::model::answer::RawAnswer;
use crate::{
    error::{Error, RpcError},
    model::tool::ToolResult,
};

/// As serde_json has it.
const DEPTH_MAX: usize = 128;

thread_local! {
    static BUFFERS: RefCell<simd_json::Buffers> = RefCell::new(simd_json::Buffers::with_max_depth(4096, DEPTH_MAX));
}

/// A response. The derived reader refuses a member that comes twice; a response that repeats its id or its result, or has a
/// result and an error, means two things at once, and which of them the envelope scan went by is not to be relied on.
#[derive(Deserialize)]
struct Response<T> {
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    result: Option<T>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Failure {
    error: RpcError,
}

/// Reads the result of a response, spoiling its bytes.
pub(crate) fn result<T: DeserializeOwned>(bytes: &mut [u8]) -> Result<T, Error> {
    let length = bytes.len();
    let response = BUFFERS
        .with_borrow_mut(|buffers| simd_json::serde::from_slice_with_buffers::<Response<T>>(bytes, buffers))
        .map_err(|error| {
            Error::decode(format!("an answer of {length} bytes cannot be read: {error}")).because(error)
        })?;
    match response {
        Response { result: Some(result), error: None, .. } => Ok(result),
        Response { error: Some(_), .. } => Err(Error::decode("the answer has both a result and an error")),
        Response { result: None, .. } => Err(Error::decode("the answer has no result")),
    }
}

/// Reads the error of a response.
pub(crate) fn error(bytes: &[u8]) -> Error {
    match serde_json::from_slice::<Failure>(bytes) {
        Ok(failure) => Error::rpc(failure.error),
        Err(error) => Error::decode(format!("an error answer cannot be read: {error}")).because(error),
    }
}

/// Reads the result of a tool call.
pub(crate) fn tool_result(bytes: &mut [u8]) -> Result<ToolResult, Error> {
    let read: ToolResult = result(bytes)?;
    match read.result_type.as_deref() {
        None | Some("complete") => Ok(read),
        Some(other) => Err(Error::decode(format!(
            "the server answered with result type {other:?}, which was not asked for"
        ))),
    }
}

impl RawAnswer {
    /// The `result`, decoded into any type.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not of that type.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T, Error> {
        result(&mut self.frame.to_vec())
    }

    /// The result of a tool call.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not one.
    pub fn tool_result(&self) -> Result<ToolResult, Error> {
        tool_result(&mut self.frame.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn results_and_errors_are_told_apart() {
        let mut bytes =
            br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a\nb"}]}}"#.to_vec();
        assert_eq!(tool_result(&mut bytes).unwrap().text(), "a\nb");
        let failed = error(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no","data":[1]}}"#);
        assert_eq!(failed.kind(), ErrorKind::Rpc);
        assert_eq!(failed.rpc_error().unwrap().code, -32602);
    }

    #[test]
    fn hostile_answers_are_errors() {
        let bomb = format!(
            r#"{{"id":1,"result":{{"structuredContent":{}{}}}}}"#,
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        let cases: Vec<Vec<u8>> = vec![
            bomb.into_bytes(),
            b"".to_vec(),
            b"{".to_vec(),
            b"{\"result\":\"\xff\xfe\"}".to_vec(),
            br#"{"result":{"content":7}}"#.to_vec(),
            br#"{"result":{"content":[],"resultType":"hologram"}}"#.to_vec(),
            br#"{"error":{"code":"x"}}"#.to_vec(),
            br#"{"id":1,"result":{"content":[]},"id":2}"#.to_vec(),
            br#"{"id":1,"result":{"content":[]},"result":{"content":[]}}"#.to_vec(),
            br#"{"id":1,"result":{"content":[]},"error":{"code":1,"message":""}}"#.to_vec(),
        ];
        for mut case in cases {
            let kind = tool_result(&mut case).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::Decode);
        }
        assert_eq!(error(b"[").kind(), ErrorKind::Decode);
    }
}
