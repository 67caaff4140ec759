//! How large the keys are that move: memory, and elements of those that have any.

use super::redis::{Redis, figure};
use crate::config::{Data, Moving};

/// What moves, as far as it has been looked at.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Keys of the servers that were looked at.
    pub(super) seen: u64,
    /// Those of them that move, and their memory in bytes.
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// Those of them that are no strings.
    pub(super) others: u64,
    /// Those that are larger than they may be; of a cache strings alone.
    pub(super) big: Vec<Big>,
}

/// A key that is larger than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Big {
    /// Its server's index.
    pub(super) server: usize,
    pub(super) key: Vec<u8>,
    /// string, list, …
    pub(super) kind: String,
    pub(super) elements: u64,
    pub(super) bytes: u64,
}

impl Moved {
    /// Asks for the sizes of a page of keys that move.
    ///
    /// # Errors
    /// The connection failed, in words.
    pub(super) fn weigh(
        &mut self,
        connection: &mut Redis,
        server: usize,
        keys: Vec<Vec<u8>>,
        moving: &Moving,
    ) -> Result<(), String> {
        let about = |key: &[u8]| -> [Vec<Vec<u8>>; 2] {
            let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect();
            [words(&[b"MEMORY", b"USAGE", key]), words(&[b"TYPE", key])]
        };
        let replies = ask_all(connection, keys.iter().flat_map(|key| about(key)).collect())?;
        let kinds: Vec<String> = replies.iter().skip(1).step_by(2).map(|it| kind(it)).collect();
        let counts = keys.iter().zip(&kinds);
        let counts = counts.map(|(key, kind)| vec![counter(kind).to_vec(), key.clone()]);
        let counts = ask_all(connection, counts.collect())?;
        for (at, (key, kind)) in keys.into_iter().zip(kinds).enumerate() {
            let bytes = figure(&replies[2 * at]);
            // A string's length says nothing that its memory does not.
            let elements = if kind == "string" { 0 } else { figure(&counts[at]) };
            self.keys += 1;
            self.bytes += bytes;
            let other = kind != "string";
            self.others += u64::from(other);
            if other && moving.data == Data::Cache {
                continue;
            }
            if bytes > moving.big_key_bytes || elements > moving.big_key_elements.into() {
                self.big.push(Big { server, key, kind, elements, bytes });
            }
        }
        Ok(())
    }
}

fn ask_all(connection: &mut Redis, questions: Vec<Vec<Vec<u8>>>) -> Result<Vec<Vec<u8>>, String> {
    let questions: Vec<Vec<&[u8]>> =
        questions.iter().map(|words| words.iter().map(Vec::as_slice).collect()).collect();
    connection.all(&questions)
}

fn kind(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).trim_start_matches('+').trim_end().to_owned()
}

/// The command that counts the elements of a value of this type.
fn counter(kind: &str) -> &'static [u8] {
    match kind {
        "list" => b"LLEN",
        "set" => b"SCARD",
        "hash" => b"HLEN",
        "zset" => b"ZCARD",
        "stream" => b"XLEN",
        // It counts one key.
        _ => b"EXISTS",
    }
}
