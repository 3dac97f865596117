//! What a server starts, as the caller's handlers and readers see it.

use std::sync::Arc;

use crate::{
    base::buffer::Frame,
    error::{Error, RpcError},
};

pub(crate) type NotificationHandler = Arc<dyn Fn(Notification) + Send + Sync>;
pub(crate) type RequestHandler =
    Arc<dyn Fn(ServerRequest) -> Result<serde_json::Value, RpcError> + Send + Sync>;
pub(crate) type StderrHandler = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// A notification from the server.
#[derive(Clone, Debug)]
pub struct Notification {
    pub(crate) method: Box<str>,
    pub(crate) message: Frame,
}

/// A request from a legacy server, other than `ping`.
#[derive(Clone, Debug)]
pub struct ServerRequest {
    pub(crate) method: Box<str>,
    pub(crate) message: Frame,
}

macro_rules! message {
    ($name:ident) => {
        impl $name {
            /// The method, such as `notifications/tools/list_changed`.
            pub fn method(&self) -> &str {
                &self.method
            }

            /// The whole message as it came, one JSON object.
            pub fn raw(&self) -> &[u8] {
                &self.message
            }

            /// The `params`, decoded; null if there are none.
            ///
            /// # Errors
            /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if they are not what was asked for.
            pub fn params<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
                #[derive(serde::Deserialize)]
                struct Message {
                    #[serde(default)]
                    params: serde_json::Value,
                }
                crate::base::json::from_slice::<Message>(&self.message)
                    .and_then(|message| serde_json::from_value(message.params))
                    .map_err(|error| {
                        Error::decode(format!("params of {}: {error}", self.method)).because(error)
                    })
            }
        }
    };
}

message!(Notification);
message!(ServerRequest);
