//! The envelope: any bytes against a JSON parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use volley::internals::fuzz_bodies;

fuzz_target!(|data: &[u8]| fuzz_bodies::envelope(data));
