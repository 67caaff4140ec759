//! All keys: KEYS, SCAN, RANDOMKEY. All shards are locked meanwhile.

use std::hash::{BuildHasher, RandomState};

use super::task::{Done, Fault, Task};
use crate::cache::text::matches;
use crate::protocol::redis::Reply;
use crate::protocol::{Output, integer};

/// Steps of a SCAN for each key that it is asked for: where hardly any are left.
const STEPS_PER_KEY: i64 = 10;

/// Keys that were found: their replies, and how many they are.
#[derive(Default)]
struct Found {
    count: usize,
    replies: Output,
}

impl Found {
    fn add(&mut self, key: &[u8]) {
        self.count += 1;
        Reply::new(&mut self.replies, false).bulk(key);
    }

    fn write(&self, reply: &mut Reply<'_>) {
        reply.array(self.count);
        reply.raw(&self.replies);
    }
}

/// KEYS pattern
pub(super) fn keys(task: &mut Task<'_, '_>) -> Done {
    let (pattern, now) = (task.arg(1), task.now());
    let mut found = Found::default();
    let mut cursor = 0;
    loop {
        cursor = task.items.scan(cursor, now, &mut |key, _| {
            if pattern == b"*" || matches(pattern, key) {
                found.add(key);
            }
        });
        if cursor == 0 {
            break;
        }
    }
    found.write(&mut task.reply);
    Ok(())
}

/// What SCAN may be told.
struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: i64,
    strings: bool,
}

impl<'a> Options<'a> {
    fn parse(task: &Task<'a, '_>) -> Result<Self, Fault> {
        let mut options = Self { pattern: None, count: 10, strings: true };
        for at in (2..task.count()).step_by(2) {
            let argument = task.arg(at + 1);
            match task.word(at).as_slice() {
                _ if at + 1 == task.count() => return Err(Fault::SYNTAX),
                b"match" => options.pattern = Some(argument).filter(|pattern| *pattern != b"*"),
                b"count" => options.count = integer(argument).ok_or(Fault::NOT_INTEGER)?,
                b"type" => options.strings = argument.eq_ignore_ascii_case(b"string"),
                _ => return Err(Fault::SYNTAX),
            }
            if options.count < 1 {
                return Err(Fault::SYNTAX);
            }
        }
        Ok(options)
    }

    fn take(&self, key: &[u8]) -> bool {
        self.strings && self.pattern.is_none_or(|pattern| matches(pattern, key))
    }
}

/// A cursor as strtoul reads it: a sign is taken, space is not.
fn cursor(word: &[u8]) -> Option<u64> {
    let plain = word.strip_prefix(b"-").or_else(|| word.strip_prefix(b"+")).unwrap_or(word);
    let digits = plain.iter().all(u8::is_ascii_digit).then_some(plain)?;
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if word.starts_with(b"-") { number.wrapping_neg() } else { number })
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
pub(super) fn scan(task: &mut Task<'_, '_>) -> Done {
    let mut cursor = cursor(task.arg(1)).ok_or(Fault::text("ERR invalid cursor"))?;
    let options = Options::parse(task)?;
    let now = task.now();
    let mut found = Found::default();
    let mut seen = 0;
    let mut steps = options.count.saturating_mul(STEPS_PER_KEY);
    loop {
        cursor = task.items.scan(cursor, now, &mut |key, _| {
            seen += 1;
            if options.take(key) {
                found.add(key);
            }
        });
        steps -= 1;
        if cursor == 0 || seen >= options.count || steps == 0 {
            break;
        }
    }
    task.reply.array(2);
    task.reply.bulk(cursor.to_string().as_bytes());
    found.write(&mut task.reply);
    Ok(())
}

/// RANDOMKEY
pub(super) fn randomkey(task: &mut Task<'_, '_>) -> Done {
    let (random, now) = (RandomState::new().hash_one(()), task.now());
    let mut chosen = None;
    let mut seen = 0;
    task.items.sample(random, now, &mut |key, _| {
        seen += 1;
        if random % seen == 0 {
            chosen = Some(key.to_vec());
        }
    });
    match chosen {
        Some(key) => task.reply.bulk(&key),
        None => task.reply.null(),
    }
    Ok(())
}
