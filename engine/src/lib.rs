//! placeholder
mod api; mod base; mod slab; mod queue; mod proto; mod policy; mod telemetry; mod shard; mod transport; mod config; mod error;
pub use api::{inbound::{Inbound, Notification, Notifications, ServerRequest}, inline::{Inline, InlineOutcome, WindowFull}, tool::*};
pub use config::{Config, ConfigBuilder, endpoint::{Endpoint, Command}};
pub use error::{Error, ErrorKind, Phase, RpcError};
pub use proto::{event::Fate, revision::{Revision, Era, UnknownRevision}, message::handshake::ServerInfo};
pub use telemetry::counters::Stats;
pub use base::buffer::Frame;
pub struct Client;
