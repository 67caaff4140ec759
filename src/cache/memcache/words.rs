//! Words of a line to values and back: numbers as memcached reads them, times, binary keys.

use crate::cache::Now;
use crate::storage::Time;

/// Up to here a time counts from now, beyond it since 1970: thirty days.
const RELATIVE_SECONDS_MAX: i64 = 60 * 60 * 24 * 30;

/// Digits of the largest number.
const DIGITS: usize = 20;

/// A number as C's strtoull reads it, but for a sign: spaces before it, a plus; it ends with the
/// word or at a space. So is the text of a stored number read, too.
pub(super) fn unsigned(word: &[u8]) -> Option<u64> {
    let word = word.trim_ascii_start();
    let word = word.strip_prefix(b"+").unwrap_or(word);
    let end = word.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(word.len());
    let (digits, rest) = word.split_at(end);
    if digits.is_empty() || rest.first().is_some_and(|byte| !is_space(*byte)) {
        return None;
    }
    digits
        .iter()
        .try_fold(0u64, |number, byte| number.checked_mul(10)?.checked_add(u64::from(byte - b'0')))
}

/// A number that may be negative.
pub(super) fn signed(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        Some(plain) if plain.first().is_some_and(u8::is_ascii_digit) => {
            0i64.checked_sub_unsigned(unsigned(plain)?)
        }
        Some(_) => None,
        None => unsigned(word)?.try_into().ok(),
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// A number's digits, without a trip through the formatting machinery.
pub(super) struct Decimal {
    digits: [u8; DIGITS],
    start: usize,
}

impl Decimal {
    pub(super) fn of(mut number: u64) -> Self {
        let mut digits = [b'0'; DIGITS];
        let mut start = DIGITS;
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Appends a number.
pub(super) fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(Decimal::of(number).text());
}

/// When an item with this time of a client's is dead: never, at once, so many seconds from now,
/// or at a second since 1970, which is turned into a moment of the storage clock here and now.
pub(super) fn expiry(exptime: i64, now: Now) -> Option<Time> {
    match exptime {
        0 => None,
        ..0 => Some(now.time),
        1..=RELATIVE_SECONDS_MAX => Some(now.time.after(exptime.unsigned_abs() * 1000)),
        _ => {
            let wall = exptime.unsigned_abs().saturating_mul(1000);
            Some(now.time.after(wall.saturating_sub(now.wall_millis)))
        }
    }
}

/// Seconds until then, a part of one counting as one: as long as memcached's clock of whole
/// seconds would say.
pub(super) fn seconds_until(moment: Time, now: Time) -> u64 {
    moment.millis().saturating_sub(now.millis()).div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::{Decimal, expiry, signed, unsigned};
    use crate::cache::Now;
    use crate::storage::Time;

    #[test]
    fn numbers_are_read_as_memcached_reads_them() {
        for (text, number) in [
            ("0", Some(0)),
            (" 007", Some(7)),
            ("+5", Some(5)),
            ("8   ", Some(8)),
            ("7 ab", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("-1", None),
            ("7a", None),
            ("+", None),
        ] {
            assert_eq!(unsigned(text.as_bytes()), number, "{text:?}");
        }
        assert_eq!(signed(b"-12"), Some(-12));
        assert_eq!(
            (signed(b"--1"), signed(b"-"), signed(b"- 1"), signed(b"-+1")),
            (None, None, None, None)
        );
        assert_eq!(signed(b"9223372036854775808"), None);
        for number in [0, 9, 10, 12_345, u64::MAX] {
            assert_eq!(Decimal::of(number).text(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn times_are_relative_up_to_thirty_days() {
        let now = Now { time: Time::from_millis(5_000), wall_millis: 1_700_000_000_000 };
        let at = |exptime| expiry(exptime, now).map(Time::millis);
        assert_eq!(at(0), None);
        assert_eq!(at(-1), Some(5_000));
        assert_eq!(at(1), Some(6_000));
        assert_eq!(at(2_592_000), Some(2_592_005_000));
        assert_eq!(at(2_592_001), Some(5_000));
        assert_eq!(at(1_700_000_010), Some(15_000));
        assert_eq!(at(i64::MAX), Some(u64::MAX - 1_700_000_000_000 + 5_000));
    }
}
