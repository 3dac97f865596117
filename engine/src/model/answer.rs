//! One answer that nobody has read yet. How it is read, `decode` knows.

use serde::Serialize;

use crate::{base::buffer::Frame, error::Error};

/// An answer that nobody has read yet: one JSON-RPC response, as it came.
///
/// Cheap to keep and to pass on; decoding happens where and when it is asked for.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    pub(crate) frame: Frame,
}

impl RawAnswer {
    /// An answer that no server gave: this result in a response without an id. For an
    /// [`Interceptor`](crate::Interceptor) that answers a call itself or puts another answer in the place of the server's.
    ///
    /// ```
    /// use volley::RawAnswer;
    /// use serde_json::json;
    ///
    /// let answer = RawAnswer::from_result(&json!({"content": [{"type": "text", "text": "from the cache"}]}))?;
    /// assert_eq!(answer.tool_result()?.text(), "from the cache");
    /// # Ok::<(), volley::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it cannot be serialised.
    pub fn from_result(result: &impl Serialize) -> Result<Self, Error> {
        let mut message = br#"{"jsonrpc":"2.0","id":null,"result":"#.to_vec();
        serde_json::to_writer(&mut message, result)
            .map_err(|error| Error::input(format!("the result of an answer: {error}")).because(error))?;
        message.push(b'}');
        Ok(Self { frame: Frame::from_vec(message) })
    }

    /// The whole response message, without its line feed.
    pub fn message(&self) -> &[u8] {
        &self.frame
    }

    /// The bytes, with the chunk that they were received in.
    pub fn into_frame(self) -> Frame {
        self.frame
    }
}
