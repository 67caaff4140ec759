//! The keys that follow in a pipeline, looked at ahead of time.
//!
//! What is known of a key stands in one place of a table that is larger than the caches next to the
//! processor; a pipeline of keys would wait for memory once for each. So the places of the next few
//! are read one right behind the other, which takes hardly longer than for one.
//!
//! It is a guess: requests that follow are taken to look like the one before them. A wrong one costs
//! a read of some other place.

use std::ops::Range;

use crate::protocol::Request;
use crate::service::proxy::Proxy;

impl Proxy {
    /// Looks at the keys of requests like this one that follow in `rest`; how many.
    #[inline]
    pub fn look_ahead(&self, pool: u16, request: &Request<'_>, rest: &[u8]) -> u32 {
        match self.nearby.of(pool) {
            Some(near) if !rest.is_empty() && !self.nearby.dozes(pool) => {
                near.look_ahead(keys_ahead(request, rest))
            }
            _ => 0,
        }
    }
}

/// The first keys of requests in `rest` as far as each looks like `request`.
fn keys_ahead<'r>(request: &Request<'r>, mut rest: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
    let bytes = request.bytes;
    let key = request.args.get(1).map(|key| key.start as usize..key.end as usize);
    std::iter::from_fn(move || {
        let known = key.clone()?;
        let (key, len) = match rest.get(..bytes.len()) {
            // Keys of one length are the rule.
            Some(next)
                if next[..known.start] == bytes[..known.start]
                    && next[known.end..] == bytes[known.end..] =>
            {
                (&next[known], bytes.len())
            }
            _ => key_of_another_length((bytes, known), rest)?,
        };
        rest = rest.get(len..)?;
        Some(key)
    })
}

/// The key of the first request in `rest`, if that is like `bytes` with its key at `known`; and the
/// length of that request.
fn key_of_another_length<'r>(
    (bytes, known): (&[u8], Range<usize>),
    rest: &'r [u8],
) -> Option<(&'r [u8], usize)> {
    let (head, tail) = (&bytes[..known.start], bytes.len() - known.end);
    // Redis: up to the key's length.
    let counted = head.ends_with(b"\n");
    let dollar = head.iter().rposition(|byte| *byte == b'$').map_or(0, |at| at + 1);
    let mut key = rest.strip_prefix(if counted { &head[..dollar] } else { head })?;
    if counted {
        key = key.get(memchr::memchr(b'\n', key)? + 1..)?;
    }
    let end = if counted { memchr::memchr(b'\r', key) } else { memchr::memchr2(b' ', b'\r', key) };
    let end = end?;
    let len = rest.len() - key.len() + end + tail;
    (len <= rest.len()).then(|| (&key[..end], len))
}

#[cfg(test)]
mod tests {
    use super::keys_ahead;
    use crate::protocol::{Parsed, Request, Rules, memcache, redis};

    const RULES: Rules = Rules {
        compat: false,
        cache: false,
        lenient_lf: false,
        key_bytes: 250,
        value_bytes: 1 << 20,
        keys_per_request: 100,
        args_per_request: 100,
        line_bytes: 2048,
    };

    fn keys(redis: bool, bytes: &str) -> Vec<String> {
        let (bytes, mut args) = (bytes.as_bytes(), Vec::new());
        let parse = if redis { redis::parse } else { memcache::parse };
        let Parsed::Request(head) = parse(bytes, &RULES, &mut args) else { panic!("no request") };
        let (first, rest) = bytes.split_at(head.len as usize);
        let request = Request { head: &head, bytes: first, args: &args };
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
        keys_ahead(&request, rest).map(text).collect()
    }

    #[test]
    fn keys_that_follow_are_found() {
        assert_eq!(keys(false, "get a\r\nget bb\r\nget ccc\r\n"), ["bb", "ccc"]);
        assert_eq!(keys(false, "get aa\r\nget bb\r\nget c\r\nget dd\r\n"), ["bb", "c", "dd"]);
        assert_eq!(keys(false, "mg a v\r\nmg b v\r\nmn\r\n"), ["b"]);
        assert_eq!(keys(false, "get a\r\nset b 0 0 1\r\n1\r\n"), [""; 0]);
        let get = |key: &str| format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len());
        let pipeline = [get("a"), get("twelve bytes"), get("c"), "PING\r\n".to_owned()].concat();
        assert_eq!(keys(true, &pipeline), ["twelve bytes", "c"]);
        let even = [get("aa"), get("bb"), get("c"), get("dd")].concat();
        assert_eq!(keys(true, &even), ["bb", "c", "dd"]);
        // What is cut is not waited for.
        assert_eq!(keys(true, &pipeline[..pipeline.len() - 12]), ["twelve bytes"]);
    }
}
