//! Decimal numbers as both protocols write them.

/// A number of digits alone; `None` if there is none, anything else, or more than a u64 holds.
pub(super) fn digits(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    word.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then_some(())?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The number that `bytes` begin with, as [`digits`] reads it, and its length.
#[inline]
pub(super) fn leading_digits(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.first_chunk().map(|eight| few_digits(u64::from_le_bytes(*eight))) {
        Some((_, 0)) => None,
        Some((number, len @ ..8)) => Some((number, len)),
        _ => many_digits(bytes),
    }
}

/// The number that eight bytes (the first one lowest) begin with, and its length; if that is 8, the
/// number may have more digits.
///
/// All of them are read at once: the first byte that is no digit by "has a byte more than n" of
/// Anderson's Bit Twiddling Hacks, the digits before it by adding up pairs, pairs of pairs and both
/// halves, as in Lemire's "Quickly parsing eight digits".
#[inline]
const fn few_digits(eight: u64) -> (u64, usize) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let values = eight ^ (ONES * b'0' as u64);
    let beyond = (values | values.wrapping_add(ONES * (0x7f - 9))) & (ONES * 0x80);
    let len = beyond.trailing_zeros() as usize / 8;
    if len == 0 {
        return (0, 0);
    }
    // In front of the digits stand noughts.
    let values = values << (64 - 8 * len);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let halves = 0x0000_00ff_0000_00ff;
    let first = (pairs & halves).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & halves).wrapping_mul(1 + (10_000 << 32));
    (first.wrapping_add(second) >> 32, len)
}

/// The same of a number that may have many digits, or stands at the end of what is there.
fn many_digits(bytes: &[u8]) -> Option<(u64, usize)> {
    /// No number of so many digits is beyond a u64.
    const SAFE: usize = 19;
    let (mut number, mut len) = (0u64, 0);
    for byte in bytes.get(..=SAFE).unwrap_or(bytes) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        len += 1;
    }
    if len <= SAFE { (len > 0).then_some((number, len)) } else { all_digits(bytes) }
}

/// The same of a number that may be too large.
#[cold]
fn all_digits(bytes: &[u8]) -> Option<(u64, usize)> {
    let len = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some((digits(bytes.get(..len)?)?, len))
}

/// A number as Redis writes it: no plus sign, no leading zero, no `-0`, within an i64.
pub fn integer(word: &[u8]) -> Option<i64> {
    let plain = word.strip_prefix(b"-").unwrap_or(word);
    if plain.first() == Some(&b'0') && word.len() > 1 {
        return None;
    }
    let number = digits(plain)?;
    if plain.len() < word.len() {
        0i64.checked_sub_unsigned(number)
    } else {
        number.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{digits, integer, leading_digits};

    #[test]
    fn digits_end_where_a_u64_does() {
        assert_eq!(digits(b"0"), Some(0));
        assert_eq!(digits(b"007"), Some(7));
        assert_eq!(digits(b"18446744073709551615"), Some(u64::MAX));
        for bad in
            [&b""[..], b"18446744073709551616", b"-1", b"+1", b"1 ", b"000000000000000000001"]
        {
            assert_eq!(digits(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn leading_digits_are_those_before_anything_else() {
        let texts = (1..=20).map(|len| &"12345678901234567890"[..len]);
        let known = [("7", 7), ("007", 7), ("18446744073709551615", u64::MAX)];
        for (text, number) in texts.map(|text| (text, text.parse().unwrap())).chain(known) {
            for rest in ["", " 1", "\r\n", "x", "-", "/12345678", ":12345678", "\u{80}1234567"] {
                let bytes = [text, rest].concat();
                assert_eq!(leading_digits(bytes.as_bytes()), Some((number, text.len())));
            }
        }
        for bad in ["", " 1", "-1", "18446744073709551616", "000000000000000000001"] {
            assert_eq!(leading_digits(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn integers_are_canonical() {
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        for bad in [&b"-0"[..], b"01", b"+1", b"-", b"", b"9223372036854775808", b"--1"] {
            assert_eq!(integer(bad), None, "{bad:?}");
        }
        assert_eq!(integer(b"-1"), Some(-1));
        assert_eq!(integer(b"0"), Some(0));
    }
}
