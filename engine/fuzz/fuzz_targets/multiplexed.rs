//! HTTP/2 from a server that says anything, cut anywhere: what each lane is told has a grammar.

#![no_main]

use libfuzzer_sys::fuzz_target;
use volley::internals::fuzz_bodies;

fuzz_target!(|data: &[u8]| fuzz_bodies::multiplexed(data));
