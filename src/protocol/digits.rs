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
        for (text, number) in [("7", 7), ("007", 7), ("18446744073709551615", u64::MAX)] {
            for rest in ["", " 1", "\r\n", "x", "-"] {
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
