//! Durations and counts as people type them: `500ms`, `10s`, `2m`, `50us`; `64`, `10k`, `1m`.
//!
//! Exact: the arithmetic is on integers, and a value that is no whole number of nanoseconds or
//! calls is refused rather than rounded. A duration always has a unit; a count may have one of
//! `k`, `m`, `g` (thousands, not 1024). Pure functions, no clock. Proof: the properties below.

use std::fmt;
use std::time::Duration;

/// Why a text is no quantity. The plan adds the flag and the bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnitError {
    /// There is no number at the front.
    NoNumber,
    /// A duration without its unit.
    NoUnit,
    /// A unit that is not in the list.
    UnknownUnit {
        /// What stood there.
        unit: String,
        /// What may stand there.
        known: &'static str,
    },
    /// Not a whole number of the smallest unit.
    TooFine {
        /// The smallest unit.
        smallest: &'static str,
    },
    /// More than can be held.
    TooLarge,
}

const DURATIONS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
const COUNTS: &[(&str, u128)] = &[("", 1), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000)];

/// Reads a duration: a number, perhaps with a fraction, and `ns`, `us`, `ms`, `s`, `m` or `h`.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let scale = scale_of(unit, DURATIONS, "ns, us, ms, s, m, h")?;
    let nanos = number.times(scale, "nanoseconds")?;
    Ok(Duration::from_nanos(nanos))
}

/// Reads a count: a number, perhaps with `k`, `m` or `g`; `1.5k` is 1,500.
pub(crate) fn count(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text)?;
    let scale = scale_of(&unit.to_ascii_lowercase(), COUNTS, "k, m, g")?;
    number.times(scale, "calls")
}

/// Writes a duration in the largest unit that keeps it whole, so that [`duration`] reads it back.
pub(crate) fn spell(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fitting = |&&(unit, scale): &&(&str, u128)| unit != "µs" && nanos.is_multiple_of(scale);
    match DURATIONS.iter().rev().find(fitting) {
        Some((unit, scale)) if nanos > 0 => format!("{}{unit}", nanos / scale),
        _ => "0s".to_owned(),
    }
}

/// `digits` divided by ten to the power of `places`.
struct Decimal {
    digits: u128,
    places: u32,
}

impl Decimal {
    fn times(&self, scale: u128, smallest: &'static str) -> Result<u64, UnitError> {
        let product = self.digits.checked_mul(scale).ok_or(UnitError::TooLarge)?;
        let divisor = 10_u128.checked_pow(self.places).ok_or(UnitError::TooFine { smallest })?;
        if !product.is_multiple_of(divisor) {
            return Err(UnitError::TooFine { smallest });
        }
        u64::try_from(product / divisor).map_err(|_| UnitError::TooLarge)
    }
}

fn scale_of(unit: &str, table: &[(&str, u128)], known: &'static str) -> Result<u128, UnitError> {
    let found = table.iter().find(|(name, _)| *name == unit);
    found.map(|(_, scale)| *scale).ok_or_else(|| UnitError::UnknownUnit { unit: unit.to_owned(), known })
}

/// Splits `1.5k` into its number and its unit; `_` may group digits.
fn split(text: &str) -> Result<(Decimal, &str), UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !whole.starts_with(|c: char| c.is_ascii_digit()) || (number.contains('.') && fraction.is_empty()) {
        return Err(UnitError::NoNumber);
    }
    let fraction = fraction.trim_end_matches('0');
    let mut digits = 0_u128;
    for digit in whole.chars().chain(fraction.chars()).filter(|c| *c != '_') {
        let digit = digit.to_digit(10).ok_or(UnitError::NoNumber)?;
        digits = digits.checked_mul(10).ok_or(UnitError::TooLarge)? + u128::from(digit);
    }
    let places = fraction.chars().filter(|c| *c != '_').count();
    let places = u32::try_from(places).map_err(|_| UnitError::TooLarge)?;
    Ok((Decimal { digits, places }, unit.trim_start()))
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNumber => write!(f, "it does not begin with a number"),
            Self::NoUnit => write!(f, "a duration needs a unit (ns, us, ms, s, m, h)"),
            Self::UnknownUnit { unit, known } => write!(f, "`{unit}` is none of the units {known}"),
            Self::TooFine { smallest } => write!(f, "it is no whole number of {smallest}"),
            Self::TooLarge => write!(f, "it is too large to be held"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_spellings_of_the_manual_are_read() {
        for (text, nanos) in [
            ("500ms", 500_000_000_u64),
            ("10s", 10_000_000_000),
            ("2m", 120_000_000_000),
            ("50us", 50_000),
            ("1.5s", 1_500_000_000),
            ("0s", 0),
            ("1h", 3_600_000_000_000),
            ("250 ms", 250_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for (text, calls) in
            [("64", 64_u64), ("10k", 10_000), ("1m", 1_000_000), ("1.5K", 1_500), ("1_000", 1_000)]
        {
            assert_eq!(count(text), Ok(calls), "{text}");
        }
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        assert_eq!(duration("10"), Err(UnitError::NoUnit));
        assert_eq!(duration("0.5ns"), Err(UnitError::TooFine { smallest: "nanoseconds" }));
        assert_eq!(count("1.5"), Err(UnitError::TooFine { smallest: "calls" }));
        for text in ["", "s", "-1s", ".5s", "1.s", "1..2s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert!(matches!(count("10x"), Err(UnitError::UnknownUnit { .. })));
        assert_eq!(count("99999999999g"), Err(UnitError::TooLarge));
        assert!(count(&"9".repeat(60)).is_err());
    }

    proptest! {
        #[test]
        fn a_duration_survives_being_spelled(nanos in any::<u64>()) {
            let value = Duration::from_nanos(nanos);
            prop_assert_eq!(duration(&spell(value)), Ok(value));
        }

        #[test]
        fn a_count_survives_being_spelled(value in any::<u64>()) {
            prop_assert_eq!(count(&value.to_string()), Ok(value));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,12}|[0-9._]{0,50}(us|k|m)?") {
            let _ = (duration(&text), count(&text));
        }
    }
}
