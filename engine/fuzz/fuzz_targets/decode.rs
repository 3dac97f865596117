//! The reader of answers: any bytes against serde_json.

#![no_main]

use libfuzzer_sys::fuzz_target;
use volley::internals::fuzz_bodies;

fuzz_target!(|data: &[u8]| fuzz_bodies::decode(data));
