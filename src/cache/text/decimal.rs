//! Sums of numbers with a fraction, as INCRBYFLOAT makes them.
//!
//! Redis computes in x86's long double and prints 17 decimals. Here numbers of at most 17
//! decimals are added exactly, which gives the same digits wherever a long double holds them; all
//! others are added as an f64 (whose 53 bits may show in the last digits, and that of numbers
//! beyond its range as an error).

/// Decimals that are kept.
const DECIMALS: i32 = 17;

/// Bytes of a number; longer ones are none.
const LONGEST: usize = 255;

/// Why there is no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// One of them is not a number.
    NotANumber,
    /// The sum is out of range.
    Infinite,
}

/// The sum of two numbers, without exponent and without zeros at the end.
pub(crate) fn sum(a: &[u8], b: &[u8]) -> Result<String, Unfit> {
    let numbers = (float(a).ok_or(Unfit::NotANumber)?, float(b).ok_or(Unfit::NotANumber)?);
    if let (Some(a), Some(b)) = (fixed(a), fixed(b))
        && let Some(sum) = a.checked_add(b)
    {
        return Ok(written(sum));
    }
    let sum = numbers.0 + numbers.1;
    if !sum.is_finite() {
        return Err(Unfit::Infinite);
    }
    Ok(trimmed(&format!("{sum:.17}")))
}

/// A number as strtold takes it, in decimal.
fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= LONGEST)?;
    let infinite = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    // Digits that are beyond all numbers are none, as for strtold.
    let fits = |number: &f64| !number.is_nan() && (number.is_finite() || infinite);
    text.parse().ok().filter(fits)
}

/// A number in units of the last decimal that is kept, if it is a whole number of them.
fn fixed(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, plain) = match mantissa.strip_prefix('-') {
        Some(plain) => (-1, plain),
        None => (1, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let digits = whole.bytes().chain(fraction.bytes());
    let number = digits.into_iter().try_fold(0i128, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    let shift = exponent.checked_add(DECIMALS)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scale = 10i128.checked_pow(shift.unsigned_abs())?;
    let scaled = match shift {
        0.. => number.checked_mul(scale)?,
        _ => (number % scale == 0).then_some(number / scale)?,
    };
    Some(sign * scaled)
}

fn written(fixed: i128) -> String {
    let scale = 10u128.pow(DECIMALS.unsigned_abs());
    let (whole, fraction) = (fixed.unsigned_abs() / scale, fixed.unsigned_abs() % scale);
    let sign = if fixed < 0 { "-" } else { "" };
    trimmed(&format!("{sign}{whole}.{fraction:017}"))
}

/// Without zeros after the point, and without a point at the end.
fn trimmed(text: &str) -> String {
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Unfit, sum};

    #[test]
    fn sums_are_written_as_redis_writes_them() {
        for (a, b, wanted) in [
            ("10.50", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3", "0"),
            ("-1.5", "1", "-0.5"),
            ("17179869184", "1.5", "17179869185.5"),
            ("1e20", "1", "100000000000000000001"),
            ("+.5", "5.", "5.5"),
            ("0.00000000000000001", "0", "0.00000000000000001"),
            ("-0", "0", "0"),
            ("100", "0", "100"),
            ("1e300", "0", &format!("{:.0}", 1e300)),
        ] {
            assert_eq!(sum(a.as_bytes(), b.as_bytes()).as_deref(), Ok(wanted), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_number_is_told_from_what_is_too_large() {
        for bad in ["", " 1", "1 ", "x", "nan", "1.2.3", "1e", "--1", "."] {
            assert_eq!(sum(bad.as_bytes(), b"1"), Err(Unfit::NotANumber), "{bad:?}");
            assert_eq!(sum(b"1", bad.as_bytes()), Err(Unfit::NotANumber), "{bad:?}");
        }
        assert_eq!(sum(b"1", b"inf"), Err(Unfit::Infinite));
        assert_eq!(sum(b"1e308", b"1e308"), Err(Unfit::Infinite));
    }
}
