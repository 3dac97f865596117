//! The head of an HTTP answer: any bytes, cut anywhere, against a twin that reads text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use volley::internals::fuzz_bodies;

fuzz_target!(|data: &[u8]| fuzz_bodies::http_head(data));
