//! What the fuzz targets do with their bytes: show them to a machine and to its naive twin, and panic
//! where the two disagree.
//!
//! The bodies live here and not in the fuzz crate so that they also run under plain `cargo test`, on bytes
//! bent at random out of the same seeds: a short run on every machine, a long one where there is a fuzzer.
//!
//! Unit: one input, of any bytes. Cost: that of the twins, which are slow. Owner: nobody, these are
//! functions. Always: any input is a valid one; a panic is a bug of the engine, or of the twin. Proof:
//! `bent_seeds_find_no_difference`, below, which prints the number that repeats a run. Follows:
//! differential testing as in W. M. McKeeman, Digital Technical Journal 10(1), 1998.

mod exchange;
#[cfg(feature = "http2")]
mod multiplexed;

use crate::decode::naive;
use crate::proto::framing::newline;
use crate::proto::http::{chunked, event_stream, head};
use crate::proto::message::envelope;

/// Newline framing against a reader that has all bytes at once.
///
/// The first byte chooses the bound (times four, so that a line may pass the edges that are kept of it), the
/// second the pieces (0: all at once; n: sizes from 1 to n). The stream follows.
pub fn framing(data: &[u8]) {
    let [bound, pieces, stream @ ..] = data else { return };
    let frame_bytes_max = usize::from(*bound) * 4;
    let in_pieces =
        newline::naive::account_in_pieces(stream, frame_bytes_max, sizes(*pieces, *bound, stream));
    assert_eq!(in_pieces, newline::naive::account(stream, frame_bytes_max));
}

/// The head of an HTTP answer against one that is taken apart as text.
///
/// The first byte chooses the pieces, as above. The stream follows.
pub fn http_head(data: &[u8]) {
    let [pieces, stream @ ..] = data else { return };
    head::naive::assert_agrees(stream, sizes(*pieces, 0, stream));
}

/// Chunked coding against a reader that has all bytes at once.
///
/// The first byte chooses the pieces, as above. The stream follows.
pub fn chunked(data: &[u8]) {
    let [pieces, stream @ ..] = data else { return };
    let in_pieces = chunked::naive::account_in_pieces(stream, sizes(*pieces, 0, stream));
    assert_eq!(in_pieces, chunked::naive::account(stream));
}

/// Event streams against a reader that has all bytes at once.
///
/// The first byte chooses the bound (times four), the second the pieces, as above. The stream follows.
pub fn event_stream(data: &[u8]) {
    let [bound, pieces, stream @ ..] = data else { return };
    let event_bytes_max = usize::from(*bound) * 4;
    let in_pieces =
        event_stream::naive::account_in_pieces(stream, event_bytes_max, sizes(*pieces, *bound, stream));
    assert_eq!(in_pieces, event_stream::naive::account(stream, event_bytes_max));
}

/// The whole core of one shard against a model that foretells the end of every call. The input is a program.
pub fn exchange(data: &[u8]) {
    exchange::run(data);
}

/// HTTP/2 from a server that says anything: each lane is told what the machine promises, and all of them the end.
///
/// The first byte chooses how many lanes have a request, the second the pieces. The stream follows.
#[cfg(feature = "http2")]
pub fn multiplexed(data: &[u8]) {
    let [lanes, pieces, stream @ ..] = data else { return };
    multiplexed::run(*lanes, stream, sizes(*pieces, *lanes, stream));
}

/// WebSocket frames of a server that says anything: cut anywhere, the same lines, pings and faults.
///
/// The first byte chooses the pieces. The stream follows.
#[cfg(feature = "websocket")]
pub fn websocket(data: &[u8]) {
    use crate::transport::websocket::frames::pieces::account;
    let [pieces, stream @ ..] = data else { return };
    let in_pieces = account(stream, sizes(*pieces, 0, stream));
    assert_eq!(in_pieces, account(stream, std::iter::once(stream.len())));
}

/// The envelope against a JSON parser.
pub fn envelope(data: &[u8]) {
    envelope::naive::assert_agrees(data);
}

/// The reader of answers against serde_json.
pub fn decode(data: &[u8]) {
    naive::assert_agrees(data);
}

/// The sizes of pieces: all at once for 0, else at random up to `pieces`.
fn sizes(pieces: u8, seed: u8, stream: &[u8]) -> impl Iterator<Item = usize> {
    let piece_bytes_max = match pieces {
        0 => stream.len().max(1),
        bytes => usize::from(bytes),
    };
    let mut random = SplitMix(u64::from(seed));
    std::iter::repeat_with(move || 1 + random.below(piece_bytes_max))
}

/// Numbers that look random and are the same each time, here and on the fuzzer's machine.
/// (Steele, Lea and Flood, OOPSLA 2014.)
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Runs for each target; some two seconds in all without optimisation.
    const RUNS: usize = 20_000;

    /// Programs for the core.
    const PROGRAMS: usize = 5000;

    #[test]
    fn bent_seeds_find_no_difference() {
        // A run that failed is repeated with `VOLLEY_SEED=… cargo test bent_seeds`.
        let seed = std::env::var("VOLLEY_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("VOLLEY_SEED={seed}");
        let mut random = SplitMix(seed);
        let targets = [
            ("framing", framing as fn(&[u8])),
            ("envelope", envelope),
            ("http_head", http_head),
            ("chunked", chunked),
            ("event_stream", event_stream),
            ("decode", decode),
            ("exchange", exchange),
            #[cfg(feature = "http2")]
            ("multiplexed", multiplexed),
            #[cfg(feature = "websocket")]
            ("websocket", websocket),
        ];
        for (target, body) in targets {
            let seeds = seeds(target);
            for data in &seeds {
                body(data);
            }
            for _ in 0..RUNS {
                body(&bent(&seeds, &mut random));
            }
        }
    }

    /// Programs of nothing but chance come to other places than those that are bent out of the seeds.
    #[test]
    fn fuzz_bodies_the_core_does_what_the_model_foretells() {
        let seed = std::env::var("VOLLEY_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("VOLLEY_SEED={seed}");
        let mut random = SplitMix(seed);
        for _ in 0..PROGRAMS {
            let program: Vec<u8> = (0..random.below(1200)).map(|_| random.next() as u8).collect();
            exchange(&program);
        }
    }

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
        paths.sort(); // The order of a folder differs between machines, and a seed should not.
        assert!(!paths.is_empty(), "no seeds in {}", folder.display());
        paths.iter().map(|path| std::fs::read(path).expect("a readable seed")).collect()
    }

    /// A seed with a few changes, as a fuzzer makes them: bytes, pieces of other seeds, cuts.
    fn bent(seeds: &[Vec<u8>], random: &mut SplitMix) -> Vec<u8> {
        const TELLING: &[u8] = b"{}[]\",:\\ \t\r\n0123456789.-enu\xEF\xBB\xBF\x00";
        let mut data = seeds[random.below(seeds.len())].clone();
        for _ in 0..random.below(6) {
            let at = random.below(data.len() + 1);
            let end = (at + random.below(4)).min(data.len());
            match random.below(4) {
                0 => drop(data.splice(at..end, [])),
                1 => drop(data.splice(at..end, [random.next() as u8])),
                2 => drop(data.splice(at..end, [TELLING[random.below(TELLING.len())]])),
                _ => {
                    let other = &seeds[random.below(seeds.len())];
                    let from = random.below(other.len() + 1);
                    let to = (from + random.below(40)).min(other.len());
                    drop(data.splice(at..end, other[from..to].iter().copied()));
                }
            }
        }
        data
    }
}
