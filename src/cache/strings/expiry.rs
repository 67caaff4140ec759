//! When items die: EXPIRE, TTL and their like.
//!
//! Clients name moments on the wall clock; they are turned into moments of the storage clock when
//! they come in ([`moment`]), and back when they are asked for. If the wall clock is set in
//! between, times to live do not change, and what EXPIRETIME answers does.

use super::task::{Done, Fault, Task};
use crate::cache::Now;
use crate::protocol::Op;
use crate::storage::{Amend, Time};

/// How a client states an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Millis,
    AtSeconds,
    AtMillis,
}

impl Unit {
    /// The unit of an option of SET.
    pub(super) fn named(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"ex" => Self::Seconds,
            b"px" => Self::Millis,
            b"exat" => Self::AtSeconds,
            b"pxat" => Self::AtMillis,
            _ => return None,
        })
    }

    /// Milliseconds since 1970; `None` if that is out of range.
    pub(super) fn wall(self, number: i64, now: Now) -> Option<i64> {
        let wall = i64::try_from(now.wall_millis).unwrap_or(i64::MAX);
        match self {
            Self::Seconds => number.checked_mul(1000)?.checked_add(wall),
            Self::Millis => number.checked_add(wall),
            Self::AtSeconds => number.checked_mul(1000),
            Self::AtMillis => Some(number),
        }
    }
}

impl Fault {
    /// An expiry that cannot be.
    pub(super) fn expire_time(task: &Task<'_, '_>) -> Self {
        Self::of(format!("ERR invalid expire time in '{}' command", task.name()))
    }
}

/// The moment of the storage clock for one of the wall clock; one that is over is now.
pub(super) fn moment(wall: i64, now: Now) -> Time {
    let wall = u64::try_from(wall).unwrap_or(0);
    now.time.after(wall.saturating_sub(now.wall_millis))
}

/// The conditions of EXPIRE.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(task: &Task<'_, '_>) -> Result<Self, Fault> {
        let mut found = Self::default();
        for at in 3..task.count() {
            match task.word(at).as_slice() {
                b"nx" => found.nx = true,
                b"xx" => found.xx = true,
                b"gt" => found.gt = true,
                b"lt" => found.lt = true,
                _ => {
                    let word = String::from_utf8_lossy(task.arg(at));
                    return Err(Fault::of(format!("ERR Unsupported option {word}")));
                }
            }
        }
        if found.nx && (found.xx || found.gt || found.lt) {
            return Err(Fault::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if found.gt && found.lt {
            return Err(Fault::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(found)
    }

    /// Whether an item that dies at `old` may die at `new` instead; never counts as the latest.
    fn allow(&self, old: Option<Time>, new: Time) -> bool {
        let later = old.is_some_and(|old| new > old);
        let earlier = old.is_none_or(|old| new < old);
        !(self.nx && old.is_some()
            || self.xx && old.is_none()
            || self.gt && !later
            || self.lt && !earlier)
    }
}

/// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT key number [NX | XX | GT | LT]
pub(super) fn expire(task: &mut Task<'_, '_>) -> Done {
    let conditions = Conditions::parse(task)?;
    let unit = match task.request.head.command.op {
        Op::Expire => Unit::Seconds,
        Op::PExpire => Unit::Millis,
        Op::ExpireAt => Unit::AtSeconds,
        _ => Unit::AtMillis,
    };
    let number = task.integer(2)?;
    let now = task.context.now;
    let wall = unit.wall(number, now).ok_or_else(|| Fault::expire_time(task))?;
    let (key, new) = (task.key, moment(wall, now));
    let old = task.peek(key).map(|item| item.expiry);
    let done = old.is_some_and(|old| conditions.allow(old, new));
    if done && new <= now.time {
        task.remove(key);
    } else if done {
        let change = Amend { expiry: Some(Some(new)), renew: true, ..Amend::default() };
        task.items.amend(key, change, now.time);
    }
    task.reply_whether(done)
}

/// TTL, PTTL, EXPIRETIME, PEXPIRETIME key
pub(super) fn ttl(task: &mut Task<'_, '_>) -> Done {
    let now = task.context.now;
    let Some(expiry) = task.peek(task.key).map(|item| item.expiry) else {
        task.reply.integer(-2);
        return Ok(());
    };
    let Some(expiry) = expiry else {
        task.reply.integer(-1);
        return Ok(());
    };
    let left = expiry.millis().saturating_sub(now.time.millis());
    let wall = left.saturating_add(now.wall_millis);
    let number = match task.request.head.command.op {
        Op::Ttl => left.saturating_add(500) / 1000,
        Op::PTtl => left,
        Op::ExpireTime => wall.saturating_add(500) / 1000,
        _ => wall,
    };
    task.reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
    Ok(())
}

/// PERSIST key
pub(super) fn persist(task: &mut Task<'_, '_>) -> Done {
    let (key, now) = (task.key, task.now());
    let done = task.peek(key).is_some_and(|item| item.expiry.is_some());
    if done {
        let change = Amend { expiry: Some(None), renew: true, ..Amend::default() };
        task.items.amend(key, change, now);
    }
    task.reply_whether(done)
}
