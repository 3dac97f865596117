//! Latencies as an HDR histogram: recorded in nanoseconds, told in microseconds.
//!
//! Three significant digits from 1 ns to 1 h, in about 270 KiB however many calls there are;
//! what is longer counts as an hour. Neighbouring equal values are gathered and recorded as one
//! run: the calls of one refill that are answered in one turn have the same latency, so most
//! calls cost a compare and an add. Owner: one worker, until [`Latencies::merge`]. Proof:
//! `runs_change_nothing`. Format on paper: HdrHistogram V2, deflated, Base64.

use std::fmt;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use super::base64;

/// The latencies of one worker, or of all of them together.
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    /// The run not yet recorded: `run_len` calls of `run_ns` each.
    run_ns: u64,
    run_len: u64,
}

impl Latencies {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants and in order");
        Self { histogram, run_ns: 0, run_len: 0 }
    }

    /// Records one call.
    pub(crate) fn record(&mut self, latency_ns: u64) {
        if latency_ns != self.run_ns {
            self.settle();
            self.run_ns = latency_ns;
        }
        self.run_len += 1;
    }

    /// Records what is still gathered. Queries see only what is settled.
    pub(crate) fn settle(&mut self) {
        if self.run_len > 0 {
            self.histogram.saturating_record_n(self.run_ns, self.run_len);
            self.run_len = 0;
        }
    }

    /// Adds another worker's latencies to these.
    pub(crate) fn merge(&mut self, mut other: Self) {
        other.settle();
        self.settle();
        self.histogram.add(&other.histogram).expect("all histograms have the same bounds");
    }

    /// How many calls are recorded.
    pub(crate) fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency that `percentile` percent of the calls did not exceed; 100 is the maximum.
    pub(crate) fn percentile_us(&self, percentile: f64) -> Option<f64> {
        (self.len() > 0).then(|| micros(self.histogram.value_at_percentile(percentile) as f64))
    }

    /// The longest.
    pub(crate) fn max_us(&self) -> Option<f64> {
        self.percentile_us(100.0)
    }

    /// The mean.
    pub(crate) fn mean_us(&self) -> Option<f64> {
        (self.len() > 0).then(|| micros(self.histogram.mean()))
    }

    /// The whole histogram (values in nanoseconds), as the HdrHistogram tools read and merge it.
    pub(crate) fn to_base64(&self) -> String {
        let mut bytes = Vec::new();
        // A Vec refuses no byte and the bounds fit the format, so this cannot fail.
        match V2DeflateSerializer::new().serialize(&self.histogram, &mut bytes) {
            Ok(_) => base64::encode(&bytes),
            Err(_) => String::new(),
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latencies").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Nanoseconds to microseconds, three decimals: what was recorded has no more.
fn micros(nanos: f64) -> f64 {
    nanos.round() / 1e3
}

const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Latencies {
        let mut latencies = Latencies::new();
        values.iter().for_each(|value| latencies.record(*value));
        latencies.settle();
        latencies
    }

    #[test]
    fn three_digits_survive_from_nanoseconds_to_an_hour() {
        for exact in [999_u64, 123_456, 5_000_000, 61_000_000_000, LATENCY_NS_MAX] {
            let told = of(&[exact]).max_us().unwrap() * 1e3;
            assert!((told / exact as f64 - 1.0).abs() < 1e-3, "{exact} became {told}");
        }
        let beyond = of(&[u64::MAX]).max_us().unwrap();
        assert!((beyond / 3.6e9 - 1.0).abs() < 1e-3, "{beyond}");
    }

    #[test]
    fn nothing_recorded_means_nothing_told() {
        let empty = Latencies::new();
        assert_eq!((empty.percentile_us(99.0), empty.mean_us(), empty.max_us()), (None, None, None));
    }

    #[test]
    fn the_text_form_reads_back_as_the_same_histogram() {
        let latencies = of(&[1_000, 2_000, 2_000, 1_000_000_000]);
        let bytes = base64::tests::decode(&latencies.to_base64()).unwrap();
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(back, latencies.histogram);
        assert!(latencies.to_base64().starts_with("HISTFAAAA"), "the mark of a deflated V2 histogram");
    }

    proptest! {
        /// Gathering runs, and merging workers, is invisible in the result.
        #[test]
        fn runs_change_nothing(
            values in proptest::collection::vec(prop_oneof![Just(7_u64), Just(9_000), 1..5_000_000_u64], 0..200),
            cut in 0_usize..200,
        ) {
            let mut plain = Histogram::<u64>::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS).unwrap();
            values.iter().for_each(|value| plain.record(*value).unwrap());
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = of(left);
            merged.merge(of(right));
            prop_assert_eq!(merged.histogram, plain);
        }
    }
}
