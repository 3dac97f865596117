//! The core, opened for the fuzz targets, the benches and the simulator of this repository. Not part of the public API:
//! anything here may change in any release.

pub mod exchange;
pub mod hand_over;
pub mod stages;

/// For servers to test the WebSocket client against, in the version that it is built with.
#[cfg(feature = "websocket")]
pub use tungstenite;

pub mod fuzz_bodies {
    //! What the fuzz targets run.
    #[cfg(feature = "http2")]
    pub use crate::fuzz_bodies::multiplexed;
    #[cfg(feature = "websocket")]
    pub use crate::fuzz_bodies::websocket;
    pub use crate::fuzz_bodies::{chunked, decode, envelope, event_stream, exchange, framing, http_head};
}
