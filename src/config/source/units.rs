//! Durations and sizes: `400ms`, `2s`, `64KiB`, `1GiB`; bare numbers are twemproxy's units,
//! milliseconds and bytes.

use std::time::Duration;

use crate::config::source::report::Reason;

/// The longest duration: time arithmetic stays far from its limits, and no setting needs more.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const DURATION_UNITS: [(&str, u64); 6] =
    [("", 1), ("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads a duration of at most a year.
pub(in crate::config) fn duration(text: &str) -> Result<Duration, Reason> {
    let fix = "write milliseconds or a unit: 400, 400ms, 2s, 5m, 1h";
    let ms = scaled(text, &DURATION_UNITS).map_err(|reason| reason.or(fix))?;
    let duration = Duration::from_millis(ms);
    if duration > DURATION_MAX {
        return Err(Reason::from("is too long").or("write at most 8760h"));
    }
    Ok(duration)
}

/// Reads a number of bytes.
pub(in crate::config) fn size(text: &str) -> Result<u64, Reason> {
    let fix = "write bytes or a unit: 4096, 64KiB, 1MiB, 1GiB";
    scaled(text, &SIZE_UNITS).map_err(|reason| reason.or(fix))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, Reason> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("is not a number".into());
    }
    let unit = unit.trim_start();
    let Some(&(_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(Reason::from(format!("is not a number: unknown unit {unit:?}")));
    };
    let product = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    product.ok_or_else(|| "is too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units_and_bare_numbers_are_milliseconds() {
        for (text, ms) in [("0", 0), ("400", 400), ("400ms", 400), ("2s", 2_000), ("2 s", 2_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("5m"), duration("300s"));
        assert_eq!(duration("1h"), duration("60min"));
    }

    #[test]
    fn sizes_carry_units_and_bare_numbers_are_bytes() {
        let rows =
            [("0", 0), ("250", 250), ("64KiB", 65_536), ("1MB", 1_000_000), ("1GiB", 1 << 30)];
        for (text, bytes) in rows {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_does_not_fit_is_refused() {
        for text in ["", "-1", "+1", "ms", "1.5s", "1e3", "4x", "1 2", "18446744073709551616"] {
            duration(text).unwrap_err();
            size(text).unwrap_err();
        }
        duration("8761h").unwrap_err();
        duration("18446744073709551615h").unwrap_err();
        size("99999999999TiB").unwrap_err();
        size("1kib").unwrap_err();
    }
}
