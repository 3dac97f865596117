//! Amounts as people type them: `500ms`, `10k`, `16MiB`, `0.25`, `1ms..20ms`.
//!
//! Pure functions from words to values, in the form clap wants them: the error names what is
//! wrong with the value and its bound, clap adds the flag. Proof: the tests below.

use std::time::Duration;

use super::behaviour::{Delay, Rate};

/// Reads a duration with its unit: `us`, `ms`, `s`, `m` or `h`; at most a day.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let scale_s = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" => return Err("a duration needs a unit: us, ms, s, m or h".into()),
        other => return Err(format!("`{other}` is none of the units us, ms, s, m, h")),
    };
    let seconds = number * scale_s;
    if seconds > DURATION_S_MAX {
        return Err("longer than 24h".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads a count or a size: plain, thousands (`k`, `m`, `g`, `kB`...) or binary (`KiB`...).
pub(super) fn count(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1_u64,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        other => return Err(format!("`{other}` is none of k, m, g, KiB, MiB, GiB")),
    };
    let total = number * scale as f64;
    if total > COUNT_MAX as f64 {
        return Err(format!("more than {COUNT_MAX}"));
    }
    if total.fract() != 0.0 {
        return Err("not a whole number".into());
    }
    Ok(total as u64)
}

/// Reads a share of the calls, from 0.0 to 1.0.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Rate::new(share).ok_or_else(|| "not between 0.0 and 1.0".to_owned())
}

/// Reads `5ms`, or `1ms..20ms` for a value drawn anew for each call.
pub(super) fn delay(text: &str) -> Result<Delay, String> {
    let (least, most) = match text.split_once("..") {
        Some((least, most)) => (duration(least)?, duration(most.trim_start_matches('='))?),
        None => (duration(text)?, duration(text)?),
    };
    Delay::new(least, most).ok_or_else(|| "the range runs backwards".to_owned())
}

/// Parts a text into its number, not negative, and its unit.
fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let digits = text[..end].replace('_', "");
    let number: f64 = digits.parse().map_err(|_| "does not start with a number".to_owned())?;
    Ok((number, text[end..].trim()))
}

const DURATION_S_MAX: f64 = 86_400.0;
/// The largest whole number that a double, and so any JSON reader, holds exactly.
const COUNT_MAX: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_typed() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "5", "ms", "-5ms", "5 years", "25h", "1.2.3s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_read_as_typed() {
        assert_eq!(count("10k"), Ok(10_000));
        assert_eq!(count("1m"), Ok(1_000_000));
        assert_eq!(count("16MiB"), Ok(16 << 20));
        assert_eq!(count("1.5k"), Ok(1_500));
        assert_eq!(count("1_000"), Ok(1_000));
        for wrong in ["", "k", "1.5", "-1", "5x", "9999999g"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_and_ranges_keep_their_bounds() {
        assert!(rate("0.5").is_ok() && rate("1").is_ok() && rate("0.0").is_ok());
        assert!(rate("1.01").is_err() && rate("-0.1").is_err() && rate("NaN").is_err());
        assert!(delay("1ms..20ms").is_ok() && delay("5ms").is_ok());
        assert!(delay("20ms..1ms").is_err() && delay("1ms..").is_err());
    }
}
