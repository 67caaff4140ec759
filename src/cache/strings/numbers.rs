//! Values that are numbers: INCR and its like.

use super::task::{Done, Fault, Kept, Task};
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
