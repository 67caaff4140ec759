//! Values that are numbers, INCR and its like; values as bits, SETBIT and its like. The first bit is
//! the highest of the first byte.

use super::ranges::window;
use super::task::{Done, Fault, Kept, Task, bytes_of};
use crate::cache::text::{Unfit, sum};
use crate::protocol::redis::{DIGITS, decimal};
use crate::protocol::{Op, integer};
use crate::storage::Value;

const OVERFLOW: Fault = Fault::text("ERR increment or decrement would overflow");

/// Executes one of them.
pub(super) fn run(task: &mut Task<'_, '_>) -> Done {
    let by = match task.request.head.command.op {
        Op::Incr => 1,
        Op::Decr => -1,
        Op::IncrBy => task.integer(2)?,
        Op::DecrBy => {
            let by = task.integer(2)?;
            by.checked_neg().ok_or(Fault::text("ERR decrement would overflow"))?
        }
        _ => return incrbyfloat(task),
    };
    let (old, kept) = match task.peek(task.key) {
        Some(item) => (number(item.value).ok_or(Fault::NOT_INTEGER)?, Kept::of(&item)),
        None => (0, Kept::default()),
    };
    let new = old.checked_add(by).ok_or(OVERFLOW)?;
    task.put(task.key, &[decimal(new, &mut [0; DIGITS])], kept)?;
    task.reply.integer(new);
    Ok(())
}

/// A value as an integer, if it is written as Redis writes one.
pub(super) fn number(value: Value<'_>) -> Option<i64> {
    if let Value::Whole(bytes) = value {
        return integer(bytes);
    }
    let len = value.len();
    let mut bytes = [0; DIGITS];
    let buffer = bytes.get_mut(..len)?;
    let mut at = 0;
    for piece in value.pieces() {
        buffer[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    integer(buffer)
}

/// INCRBYFLOAT key number
fn incrbyfloat(task: &mut Task<'_, '_>) -> Done {
    let (old, kept) = task.taken(task.key).unwrap_or_else(|| (b"0".to_vec(), Kept::default()));
    let new = sum(&old, task.arg(2)).map_err(|unfit| {
        Fault::text(match unfit {
            Unfit::NotANumber => "ERR value is not a valid float",
            Unfit::Infinite => "ERR increment would produce NaN or Infinity",
        })
    })?;
    task.put(task.key, &[new.as_bytes()], kept)?;
    task.reply.bulk(new.as_bytes());
    Ok(())
}

/// The byte and the bit in it that the argument at 2 says.
fn place(task: &Task<'_, '_>) -> Result<(usize, u8), Fault> {
    let offset = integer(task.arg(2)).and_then(|offset| u64::try_from(offset).ok());
    let byte = offset.map(|offset| (offset >> 3, 7 - (offset & 7) as u8));
    let within = byte.filter(|(byte, _)| *byte < task.context.cache.value_max as u64);
    within
        .map(|(byte, bit)| (byte as usize, bit))
        .ok_or(Fault::text("ERR bit offset is not an integer or out of range"))
}

/// SETBIT key offset bit
pub(super) fn setbit(task: &mut Task<'_, '_>) -> Done {
    let (byte, bit) = place(task)?;
    let on = match integer(task.arg(3)) {
        Some(on @ 0..=1) => on as u8,
        _ => return Err(Fault::text("ERR bit is not an integer or out of range")),
    };
    let (mut bytes, kept) = task.taken(task.key).unwrap_or_default();
    let len = bytes.len();
    bytes.resize(len.max(byte + 1), 0);
    let old = bytes[byte] >> bit & 1;
    // A bit that is there and stays as it is counts for no change, as in Redis.
    if old != on || bytes.len() != len {
        bytes[byte] = bytes[byte] & !(1 << bit) | on << bit;
        task.put(task.key, &[&bytes], kept)?;
    }
    task.reply.integer(old.into());
    Ok(())
}

/// GETBIT key offset
pub(super) fn getbit(task: &mut Task<'_, '_>) -> Done {
    let (byte, bit) = place(task)?;
    let found = task.read(task.key).and_then(|item| {
        let mut at = byte;
        item.value.pieces().find_map(|piece| {
            let found = piece.get(at).copied();
            at = at.saturating_sub(piece.len());
            found
        })
    });
    task.reply.integer(found.map_or(0, |byte| byte >> bit & 1).into());
    Ok(())
}

/// BITCOUNT key [start end [BYTE | BIT]]
pub(super) fn bitcount(task: &mut Task<'_, '_>) -> Done {
    let value = task.read(task.key).map(|item| bytes_of(item.value));
    let Some(value) = value else {
        task.reply.integer(0);
        return Ok(());
    };
    let count = match task.count() {
        2 => ones(&value),
        4 | 5 => {
            let (start, end) = (task.integer(2)?, task.integer(3)?);
            match task.word(4).as_slice() {
                _ if start < 0 && end < 0 && start > end => 0,
                b"bit" => ones_of_bits(&value, start, end),
                b"byte" => ones_of_bytes(&value, start, end),
                b"" if task.count() == 4 => ones_of_bytes(&value, start, end),
                _ => return Err(Fault::SYNTAX),
            }
        }
        _ => return Err(Fault::SYNTAX),
    };
    task.reply.integer(count);
    Ok(())
}

fn ones(bytes: &[u8]) -> i64 {
    bytes.iter().map(|byte| i64::from(byte.count_ones())).sum()
}

fn ones_of_bytes(bytes: &[u8], start: i64, end: i64) -> i64 {
    let range = window(bytes.len(), start, end);
    range.and_then(|(first, last)| bytes.get(first..=last)).map_or(0, ones)
}

fn ones_of_bits(bytes: &[u8], start: i64, end: i64) -> i64 {
    let Some((first, last)) = window(bytes.len() * 8, start, end) else { return 0 };
    let whole = bytes.get(first / 8..=last / 8).unwrap_or_default();
    let (Some(head), Some(tail)) = (whole.first(), whole.last()) else { return 0 };
    // What stands before the first bit and after the last one does not count.
    let before = u16::from(*head) >> (8 - first % 8);
    let after = u16::from(*tail) << (1 + last % 8) & 0xff;
    ones(whole) - i64::from(before.count_ones()) - i64::from(after.count_ones())
}
