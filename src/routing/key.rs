//! From a key to the number that the ring is asked for: first the hash tag, then the hash.

use crate::config::{Hash, HashChar, Routing};
use crate::routing::hash::hash_of;

/// How a pool hashes its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHash {
    hash: Hash,
    hash_char: HashChar,
    hash_tag: Option<[u8; 2]>,
}

impl KeyHash {
    /// The pool's hash function and tag.
    pub(crate) fn new(routing: &Routing) -> Self {
        Self { hash: routing.hash, hash_char: routing.hash_char, hash_tag: routing.hash_tag }
    }

    /// The number that the ring is asked for; 0 for the empty key, whatever the function says.
    pub(crate) fn of(&self, key: &[u8]) -> u32 {
        match self.counted(key) {
            [] => 0,
            counted => hash_of(self.hash, self.hash_char, counted),
        }
    }

    /// The part of the key that is hashed: what stands between the first opening byte of the tag
    /// and the next closing one, or the whole key if there is no such pair or nothing in it. There
    /// is no second try further on (twemproxy, nc_server.c:661-677).
    pub(crate) fn counted<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        self.hash_tag.and_then(|tag| between(key, tag)).unwrap_or(key)
    }
}

/// What stands between the first `open` and the next `close`, if anything does.
fn between(key: &[u8], [open, close]: [u8; 2]) -> Option<&[u8]> {
    let inner = &key[memchr::memchr(open, key)? + 1..];
    let end = memchr::memchr(close, inner)?;
    (end > 0).then(|| &inner[..end])
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn only_the_first_pair_of_tag_bytes_counts() {
        let braces = |key: &'static str| between(key.as_bytes(), *b"{}");
        assert_eq!(braces("user:{42}:name"), Some(&b"42"[..]));
        assert_eq!(braces("}{42}{43}"), Some(&b"42"[..]));
        assert_eq!(braces("{{42}}"), Some(&b"{42"[..]));
        assert_eq!(braces("{}{42}"), None);
        assert_eq!(braces("42}"), None);
        assert_eq!(braces("{42"), None);
        assert_eq!(braces("{"), None);
        assert_eq!(braces(""), None);
    }

    #[test]
    fn a_tag_of_two_equal_bytes_works() {
        assert_eq!(between(b"a|b|c|d", *b"||"), Some(&b"b"[..]));
        assert_eq!(between(b"a||b|", *b"||"), None);
        assert_eq!(between(b"a|b", *b"||"), None);
    }
}
