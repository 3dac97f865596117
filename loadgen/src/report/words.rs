//! Numbers as people read them: `1,000,000`, `553K`, `4.21 ms`, `12.5 MiB`.
//!
//! Pure. Rounded for reading; the JSON has the exact values.

/// A count with its thousands grouped.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count for a glance: `999`, `4.30K`, `43K`, `1.24M`.
pub(super) fn brief(value: f64) -> String {
    let text = |value: f64, unit: &str| {
        let places = if value >= 9.995 && unit == "K" { 0 } else { 2 };
        format!("{value:.places$}{unit}")
    };
    match value {
        value if value < 999.5 => format!("{value:.0}"),
        value if value < 999_500.0 => text(value / 1e3, "K"),
        value if value < 999_500_000.0 => text(value / 1e6, "M"),
        value => text(value / 1e9, "G"),
    }
}

/// Microseconds in the unit that reads best.
pub(super) fn micros(us: f64) -> String {
    match us {
        us if us < 9.995 => format!("{us:.2} us"),
        us if us < 999.5 => format!("{us:.0} us"),
        us if us < 999_995.0 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// Bytes in the unit that reads best.
pub(super) fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        count if count < 1024.0 * 1024.0 => format!("{:.0} KiB", count / 1024.0),
        count if count < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", count / 1024.0 / 1024.0),
        count => format!("{:.2} GiB", count / 1024.0 / 1024.0 / 1024.0),
    }
}

/// `1 shard`, `2 shards`.
pub(super) fn several(count: u32, noun: &str) -> String {
    format!("{} {noun}{}", grouped(u64::from(count)), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), text);
        }
    }

    #[test]
    fn a_glance_is_enough() {
        for (value, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (999.7, "1.00K"),
            (4_300.0, "4.30K"),
            (43_210.0, "43K"),
            (553_499.0, "553K"),
            (999_600.0, "1.00M"),
            (1_236_000.0, "1.24M"),
            (14_200_000.0, "14.20M"),
        ] {
            assert_eq!(brief(value), text);
        }
        assert_eq!([9.5, 640.2, 5_200.0, 2.5e6].map(micros), ["9.50 us", "640 us", "5.20 ms", "2.50 s"]);
        assert_eq!([2_048, 13_107_200, 3 << 30].map(bytes), ["2 KiB", "12.5 MiB", "3.00 GiB"]);
        assert_eq!((several(1, "shard"), several(2_000, "call")), ("1 shard".into(), "2,000 calls".into()));
    }
}
