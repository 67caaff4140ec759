//! Some fields of a hash as one thing to ask for: what HGET and HMGET want, kept as the server's one
//! answer, so that nobody sees fields of two moments side by side.
//!
//! Its name is the key and the fields, each behind its length in one byte.

use crate::protocol::redis;

/// Writes the name of a key's fields, the key being the first of the words, into `out`; false if
/// they have none: one is too long.
pub(super) fn write_name<'w>(mut words: impl Iterator<Item = &'w [u8]>, out: &mut Vec<u8>) -> bool {
    out.clear();
    words.all(|word| {
        let Ok(len) = u8::try_from(word.len()) else { return false };
        out.push(len);
        out.extend_from_slice(word);
        true
    })
}

/// Writes the request for what a name says: HGET (`one`) or HMGET.
pub(super) fn write_request(one: bool, name: &[u8], out: &mut Vec<u8>) {
    let command: &[u8] = if one { b"HGET" } else { b"HMGET" };
    redis::write_header(b'*', 1 + words(name).count(), out);
    [command].into_iter().chain(words(name)).for_each(|word| redis::write_bulk(word, out));
}

/// The key of a name, and then its fields.
pub(super) fn words(mut name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&len, rest) = name.split_first()?;
        let (word, rest) = rest.split_at_checked(len.into())?;
        name = rest;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::{words, write_name};

    fn name(words: &[&[u8]]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        write_name(words.iter().copied(), &mut out).then_some(out)
    }

    #[test]
    fn other_fields_have_another_name() {
        let first = name(&[b"ab", b"c"]).unwrap();
        assert_eq!(words(&first).collect::<Vec<_>>(), [b"ab".as_slice(), b"c"]);
        let others: [&[&[u8]]; 5] =
            [&[b"a", b"bc"], &[b"ab", b"c", b"c"], &[b"ab", b"c\x01"], &[b"ab", b""], &[b"abc"]];
        for other in others {
            assert_ne!(name(other).unwrap(), first);
        }
        assert_eq!(name(&[b"a", &[b'b'; 256]]), None);
    }
}
