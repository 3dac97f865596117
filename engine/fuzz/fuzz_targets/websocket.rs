//! WebSocket frames of a server that says anything, cut anywhere, against all of them at once.

#![no_main]

use libfuzzer_sys::fuzz_target;
use volley::internals::fuzz_bodies;

fuzz_target!(|data: &[u8]| fuzz_bodies::websocket(data));
