//! Absolute targets in k6's words: `rate>=500k`, `p(99)<5ms`, `errors<0.1%`.
//!
//! A threshold is a metric, a comparison and a bound. Latencies take a duration, or a bare
//! number of milliseconds as k6 has it; `rate` takes calls per second; `errors` a percentage
//! or a share of one. `errors` counts tool errors, JSON-RPC errors, timeouts, failures, wrong
//! and lost calls against those sent. A metric without a value (no call was answered) breaks
//! every threshold on it: silence is no success. Pure. Proof: below.

use std::fmt;

use crate::record::Summary;
use crate::units;

/// What must hold at the end of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// In the metric's own unit: calls/s, microseconds, or a share from 0 to 1.
    bound: f64,
}

/// One threshold, judged.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Verdict {
    /// The threshold as it was written.
    pub(crate) threshold: String,
    /// What was measured, in calls/s, microseconds, or a share from 0 to 1; `None` if nothing was.
    pub(crate) value: Option<f64>,
    /// The bound, in the same unit.
    pub(crate) bound: f64,
    /// Whether it held.
    pub(crate) ok: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Rate,
    Errors,
    Mean,
    /// 0 is the minimum, 100 the maximum.
    Percentile(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
}

/// Why a text is no threshold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ThresholdError {
    /// No `<`, `<=`, `>`, `>=` or `==` in it.
    NoComparison,
    /// The word before the comparison is no metric.
    UnknownMetric(String),
    /// `p(N)` with an N outside 0..=100.
    BadPercentile(String),
    /// The bound does not fit the metric.
    BadBound {
        /// What stood there.
        bound: String,
        /// What may stand there.
        wants: &'static str,
    },
}

impl Threshold {
    /// Reads one threshold; white space is free.
    pub(crate) fn parse(text: &str) -> Result<Self, ThresholdError> {
        // The longer spellings first, else `<=` would be read as `<`.
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            text.split_once(sign).map(|(metric, bound)| (metric.trim(), *comparison, bound.trim()))
        });
        let (metric, comparison, bound) = found.ok_or(ThresholdError::NoComparison)?;
        let metric = Metric::parse(metric)?;
        let bound = metric.bound(bound)?;
        Ok(Self { text: text.trim().to_owned(), metric, comparison, bound })
    }

    /// Judges a run.
    pub(crate) fn judge(&self, summary: &Summary) -> Verdict {
        let value = self.metric.of(summary);
        let ok = value.is_some_and(|value| self.comparison.holds(value, self.bound));
        Verdict { threshold: self.text.clone(), value, bound: self.bound, ok }
    }
}

impl Metric {
    fn parse(word: &str) -> Result<Self, ThresholdError> {
        let percentile = word.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'));
        match (word, percentile) {
            ("rate", _) => Ok(Self::Rate),
            ("errors", _) => Ok(Self::Errors),
            ("avg", _) => Ok(Self::Mean),
            ("min", _) => Ok(Self::Percentile(0.0)),
            ("med", _) => Ok(Self::Percentile(50.0)),
            ("max", _) => Ok(Self::Percentile(100.0)),
            (_, Some(number)) => match number.trim().parse::<f64>() {
                Ok(value) if (0.0..=100.0).contains(&value) => Ok(Self::Percentile(value)),
                _ => Err(ThresholdError::BadPercentile(number.trim().to_owned())),
            },
            _ => Err(ThresholdError::UnknownMetric(word.to_owned())),
        }
    }

    /// Reads a bound in the unit of the metric.
    fn bound(self, text: &str) -> Result<f64, ThresholdError> {
        let (value, wants) = match self {
            Self::Rate => (units::count(text).ok().map(|count| count as f64), "calls per second, like 500k"),
            Self::Errors => (share(text), "a percentage from 0% to 100%, or a share from 0 to 1"),
            Self::Mean | Self::Percentile(_) => (micros(text), "a time, like 5ms or 250us"),
        };
        value.ok_or_else(|| ThresholdError::BadBound { bound: text.to_owned(), wants })
    }

    fn of(self, summary: &Summary) -> Option<f64> {
        match self {
            Self::Rate => Some(summary.calls_per_s()),
            Self::Errors => summary.tally.error_share(),
            Self::Mean => summary.latencies.mean_us(),
            Self::Percentile(percentile) => summary.latencies.percentile_us(percentile),
        }
    }
}

impl Comparison {
    /// Equality is the machine's: useful for `errors==0`, for little else.
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::Greater => value > bound,
            Self::AtLeast => value >= bound,
            Self::Equal => value == bound,
        }
    }
}

fn share(text: &str) -> Option<f64> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number.trim_end(), 100.0));
    let share = number.parse::<f64>().ok()? / scale;
    (0.0..=1.0).contains(&share).then_some(share)
}

fn micros(text: &str) -> Option<f64> {
    if let Ok(millis) = text.parse::<f64>() {
        return (millis.is_finite() && millis >= 0.0).then_some(millis * 1e3);
    }
    units::duration(text).ok().map(|time| time.as_nanos() as f64 / 1e3)
}

const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoComparison => write!(f, "there is none of <, <=, >, >=, == in it"),
            Self::UnknownMetric(word) => {
                write!(f, "`{word}` is none of rate, errors, avg, min, med, max, p(N)")
            }
            Self::BadPercentile(number) => write!(f, "p({number}) is not from p(0) to p(100)"),
            Self::BadBound { bound, wants } => write!(f, "the bound `{bound}` is not {wants}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.ok { "held" } else { "BROKEN" };
        let metric = self.threshold.split(['<', '>', '=']).next().unwrap_or_default().trim();
        write!(f, "{word}  {}  ({metric} was ", self.threshold)?;
        match (metric, self.value) {
            (_, None) => write!(f, "not measured: no call was answered)"),
            ("rate", Some(value)) => write!(f, "{value:.0} calls/s, bound {:.0})", self.bound),
            ("errors", Some(value)) => write!(f, "{:.4} %, bound {} %)", value * 1e2, self.bound * 1e2),
            (_, Some(value)) => write!(f, "{value:.3} us, bound {} us)", self.bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::tests::summary;

    fn bound(text: &str) -> f64 {
        Threshold::parse(text).unwrap().bound
    }

    #[test]
    fn k6_words_are_read() {
        assert_eq!(bound("rate>=500k"), 500_000.0);
        assert_eq!(bound("p(99)<5ms"), 5_000.0);
        assert_eq!(bound("p(99.9) <= 250us"), 250.0);
        assert_eq!(bound("p(95)<200"), 200_000.0);
        assert_eq!(bound("errors<0.1%"), 0.001);
        assert_eq!(bound("errors==0"), 0.0);
        assert_eq!(bound("avg<1ms"), 1_000.0);
        assert_eq!(bound("max<1s"), 1_000_000.0);
    }

    #[test]
    fn what_is_no_threshold_is_refused_with_its_reason() {
        for (text, said) in [
            ("rate", "there is none of"),
            ("speed>3", "`speed` is none of rate"),
            ("p(101)<1ms", "p(101) is not from"),
            ("p(x)<1ms", "p(x) is not from"),
            ("rate>5ms", "`5ms` is not calls per second"),
            ("p(99)<fast", "`fast` is not a time"),
            ("errors<200%", "`200%` is not a percentage"),
            ("p(99)<-1", "`-1` is not a time"),
        ] {
            let error = Threshold::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(said) || error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_broken_one_is_named_with_value_and_bound() {
        // A thousand calls in a second, latencies 1..=1000 us.
        let summary = summary();
        let judged = |text: &str| Threshold::parse(text).unwrap().judge(&summary);
        assert!(judged("rate>=1k").ok);
        assert!(judged("errors==0").ok);
        let broken = judged("rate>=2k");
        assert!(!broken.ok);
        assert_eq!(broken.to_string(), "BROKEN  rate>=2k  (rate was 1000 calls/s, bound 2000)");
        assert!(judged("p(99)<0.5ms").to_string().starts_with("BROKEN  p(99)<0.5ms  (p(99) was 99"));
    }

    #[test]
    fn silence_is_no_success() {
        let nothing = Summary::default();
        for text in ["p(99)<5ms", "avg<1s", "errors<100%"] {
            let verdict = Threshold::parse(text).unwrap().judge(&nothing);
            assert!(!verdict.ok, "{text}");
            assert!(verdict.to_string().contains("not measured"));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,16}|(rate|p\\(\\PC{0,4}\\)|errors)[<>=]{1,2}\\PC{0,6}") {
            let _ = Threshold::parse(&text);
        }

        #[test]
        fn a_bound_in_microseconds_is_kept(us in 0_u64..1_000_000_000, percentile in 0_u32..=100) {
            let threshold = Threshold::parse(&format!("p({percentile})<{us}us")).unwrap();
            prop_assert_eq!(threshold.bound, us as f64);
            prop_assert_eq!(threshold.metric, Metric::Percentile(f64::from(percentile)));
        }

        #[test]
        fn opposite_comparisons_never_agree(value in any::<f64>(), bound in any::<f64>()) {
            prop_assume!(!value.is_nan() && !bound.is_nan());
            prop_assert_ne!(Comparison::Less.holds(value, bound), Comparison::AtLeast.holds(value, bound));
            prop_assert_ne!(Comparison::Greater.holds(value, bound), Comparison::AtMost.holds(value, bound));
        }
    }
}
