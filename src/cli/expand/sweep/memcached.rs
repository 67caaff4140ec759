//! A memcached as the operator's commands ask it: which keys it has, and away with some.
//!
//! ```text
//!  lru_crawler metadump hash ─▶ key=… exp=… … , a line each ─▶ END
//!  md key, … ─▶ HD │ NF, a line each
//! ```
//! The dump walks the hash table, bucket by bucket: what is there all the time is told of, which a
//! walk of the LRU lists does not promise, since items go from list to list. While it waits for its
//! reader it may hold a bucket up, and with it the clients of the server; so a dump is read to its
//! end without a pause.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::cli::expand::redis::dial;
use crate::config::Node;
use crate::protocol::memcache::write_base64;

/// Of a line of a dump at most: a key of 250 bytes, three for each, and some figures.
const LINE_BYTES_MAX: u64 = 4096;
/// A dump waits for the hash table to have grown, and rests between items.
const PATIENCE: Duration = Duration::from_secs(60);
/// Another dump may be under way for as long as this.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// A connection.
pub(super) struct Memcached {
    stream: BufReader<TcpStream>,
}

/// What a dump has told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// How many keys there are.
    pub(super) seen: u64,
    /// Those that were asked for.
    pub(super) keys: Vec<Vec<u8>>,
}

impl Memcached {
    /// Connects to a server.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn connect(node: &Node) -> Result<Self, String> {
        let stream = dial(&node.address).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        Ok(Self { stream: BufReader::with_capacity(256 * 1024, stream) })
    }

    /// The keys that `wanted` says yes to, `most` of them at most.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn keys(
        &mut self,
        most: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Told, String> {
        for _ in 0..BUSY_TRIES {
            self.say(b"lru_crawler metadump hash\r\n")?;
            let first = self.line()?;
            if !first.starts_with(b"BUSY") {
                return self.read_dump(first, (most, wanted));
            }
            std::thread::park_timeout(BUSY_PAUSE);
        }
        Err("another dump of it does not end".to_owned())
    }

    fn read_dump(
        &mut self,
        mut line: Vec<u8>,
        (most, wanted): (usize, impl Fn(&[u8]) -> bool),
    ) -> Result<Told, String> {
        let mut told = Told::default();
        while line != b"END" {
            let key = key_of(&line).ok_or_else(|| {
                let said = line.escape_ascii();
                format!(
                    "it does not list its keys, as memcached 1.6 with an LRU crawler does: {said}"
                )
            })?;
            told.seen += 1;
            if told.keys.len() < most && wanted(&key) {
                told.keys.push(key);
            }
            line = self.line()?;
        }
        Ok(told)
    }

    /// Deletes keys; how many of them were there.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn delete(&mut self, keys: &[Vec<u8>]) -> Result<u64, String> {
        let mut wire = Vec::new();
        keys.iter().for_each(|key| write_delete(key, &mut wire));
        self.say(&wire)?;
        let mut deleted = 0;
        for key in keys {
            match &self.line()?[..] {
                b"HD" => deleted += 1,
                b"NF" => {}
                other => {
                    let (key, other) = (key.escape_ascii(), other.escape_ascii());
                    return Err(format!("it does not delete {key}: {other}"));
                }
            }
        }
        Ok(deleted)
    }

    /// Empties it.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        self.say(b"flush_all\r\n")?;
        match &self.line()?[..] {
            b"OK" => Ok(()),
            other => Err(format!("it does not flush: {}", other.escape_ascii())),
        }
    }

    fn say(&mut self, wire: &[u8]) -> Result<(), String> {
        self.stream.get_mut().write_all(wire).map_err(|error| error.to_string())
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        let mut limited = self.stream.by_ref().take(LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        match line.strip_suffix(b"\n") {
            Some(text) => Ok(text.strip_suffix(b"\r").unwrap_or(text).to_vec()),
            None if line.is_empty() => Err("it has closed the connection".to_owned()),
            None => Err("it does not answer as memcached does".to_owned()),
        }
    }
}

/// The key of a line of a dump, where all but letters, digits and `-._~` is written as `%` and two
/// hexadecimal digits (memcached's util.c: uriencode).
fn key_of(line: &[u8]) -> Option<Vec<u8>> {
    let written = line.strip_prefix(b"key=")?.split(|byte| *byte == b' ').next()?;
    let mut key = Vec::with_capacity(written.len());
    let mut rest = written;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            key.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        key.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = behind;
    }
    Some(key)
}

/// Appends the request that deletes a key; one with bytes that would end it is written as base64.
fn write_delete(key: &[u8], wire: &mut Vec<u8>) {
    wire.extend_from_slice(b"md ");
    if key.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        write_base64(key, wire);
        wire.extend_from_slice(b" b\r\n");
    } else {
        wire.extend_from_slice(key);
        wire.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::{key_of, write_delete};

    #[test]
    fn keys_of_a_dump_are_read_as_memcached_writes_them() {
        let line = b"key=%00%01%20b-._~%C3%BC exp=-1 la=1795702820 cas=2 fetch=no cls=1 size=65";
        assert_eq!(key_of(line).unwrap(), b"\0\x01 b-._~\xc3\xbc");
        assert_eq!(key_of(b"key=a%25b exp=-1").unwrap(), b"a%b");
        for broken in [&b"key=%0"[..], b"key=%0g x", b"key=%", b"ERROR", b"key=%+1 x"] {
            let key = key_of(broken);
            assert!(key.is_none() || key == Some(vec![1]), "{}", broken.escape_ascii());
        }
    }

    #[test]
    fn a_key_of_any_bytes_is_deleted_by_one_line() {
        let wire = |key: &[u8]| {
            let mut wire = Vec::new();
            write_delete(key, &mut wire);
            wire
        };
        assert_eq!(wire(b"plain-\xc3\xbc"), b"md plain-\xc3\xbc\r\n");
        assert_eq!(wire(b"\0\x01 b"), b"md AAEgYg== b\r\n");
        assert_eq!(wire(b"a\r\nflush_all"), b"md YQ0KZmx1c2hfYWxs b\r\n");
    }
}
