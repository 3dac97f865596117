//! The whole core of one shard: programs of calls, time, transports and bytes, against a model that foretells every end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use volley::internals::fuzz_bodies;

fuzz_target!(|data: &[u8]| fuzz_bodies::exchange(data));
