//! What happened: counters, a histogram, and the two put together.
//!
//! Ground floor. Each worker owns one [`Tally`] and one [`Latencies`] and shares neither; they
//! are merged when the workers are done. Nothing here knows a shard, a clock or an output.

mod arrays;
mod base64;
mod histogram;
mod http;
mod summary;
mod tally;

pub(crate) use arrays::ArrayCounts;
pub(crate) use histogram::Latencies;
pub(crate) use http::HttpCounts;
pub(crate) use summary::Summary;
pub(crate) use tally::Tally;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A thousand calls in a second, answered right, in 1 to 1000 us; for tests elsewhere.
    pub(crate) fn summary() -> Summary {
        let mut latencies = Latencies::new();
        (1..=1000_u64).for_each(|us| latencies.record(us * 1000));
        latencies.settle();
        let tally = Tally { sent: 1000, answered: 1000, ..Tally::default() };
        Summary { tally, latencies, span_ns: 1_000_000_000, answered_in_span: 1000 }
    }
}
