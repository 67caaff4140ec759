//! A trace from a file: little-endian records of 24 bytes, as libCacheSim packs them.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | time in seconds |
//! | 8 | the object |
//! | 4 | its size |
//! | 8 | which request is the next one for it, -1 for none; found out anew here |

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use super::workload::{NEVER, Request, Workload};

const RECORD: usize = 24;
/// Such traces know objects by number; so much is taken for the key.
const KEY_BYTES: usize = 8;

/// Reads the trace at `path`, which gives the workload its name.
///
/// # Errors
/// Those of the file, and if it is no whole number of records.
pub(super) fn load(path: &Path) -> io::Result<Workload> {
    let bytes = fs::read(path)?;
    let (records, []) = bytes.as_chunks::<RECORD>() else {
        return Err(io::Error::other(format!("{}: not records of 24 bytes", path.display())));
    };
    let mut numbers = HashMap::new();
    let start = records.first().map_or(0, time);
    let request = |record: &[u8; RECORD]| {
        let fresh = numbers.len() as u32;
        let object = *numbers.entry(number(&record[4..12])).or_insert(fresh);
        Request {
            object,
            bytes: number(&record[12..16]) as u32 + KEY_BYTES as u32,
            ttl_ms: 0,
            next: NEVER,
            next_ms: u64::MAX,
            at_ms: time(record).saturating_sub(start) * 1000,
            write: false,
        }
    };
    let requests = records.iter().map(request).collect();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().replace(',', " ");
    Ok(Workload::new(name, KEY_BYTES, requests))
}

fn time(record: &[u8; RECORD]) -> u64 {
    number(&record[..4])
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
