//! Whole values: GET, SET and their like.

use super::TOO_LONG;
use super::expiry::{Unit, moment};
use super::task::{Done, Fault, Kept, Task};
use crate::protocol::Op;
use crate::storage::{Amend, Key, Time};

/// GET key
pub(super) fn get(task: &mut Task<'_, '_>) -> Done {
    task.reply_value(task.key);
    Ok(())
}

/// What SET and GETEX may be told.
#[derive(Default)]
struct Options {
    nx: bool,
    xx: bool,
    get: bool,
    keep: bool,
    persist: bool,
    /// The expiry's unit, and the index of the argument.
    expiry: Option<(Unit, usize)>,
}

impl Options {
    /// Reads the arguments from `at` on.
    fn parse(task: &Task<'_, '_>, mut at: usize) -> Result<Self, Fault> {
        let mut options = Self::default();
        let set = task.request.head.command.op == Op::Set;
        while at < task.count() {
            let more = at + 1 < task.count();
            options.take(&task.word(at), set).or_else(|Unknown| {
                let unit = Unit::named(&task.word(at)).filter(|unit| options.may_have(*unit));
                options.expiry = Some((unit.filter(|_| more).ok_or(Fault::SYNTAX)?, at + 1));
                at += 1;
                Ok(())
            })?;
            at += 1;
        }
        Ok(options)
    }

    /// Takes a word without an argument of its own.
    fn take(&mut self, word: &[u8], set: bool) -> Result<(), Unknown> {
        let timed = self.expiry.is_some();
        match word {
            b"nx" if set && !self.xx => self.nx = true,
            b"xx" if set && !self.nx => self.xx = true,
            b"get" if set => self.get = true,
            b"keepttl" if set && !timed && !self.persist => self.keep = true,
            b"persist" if !set && !timed && !self.keep => self.persist = true,
            _ => return Err(Unknown),
        }
        Ok(())
    }

    /// An expiry may be given twice, but not in two units.
    fn may_have(&self, unit: Unit) -> bool {
        !self.keep && !self.persist && self.expiry.is_none_or(|(other, _)| other == unit)
    }

    /// When the item is to die, if that is said.
    fn expiry(&self, task: &Task<'_, '_>) -> Result<Option<Time>, Fault> {
        self.expiry.map(|(unit, at)| deadline(task, unit, at)).transpose()
    }
}

/// Not a word of [`Options::take`].
struct Unknown;

/// The moment that the argument at `at` says.
fn deadline(task: &Task<'_, '_>, unit: Unit, at: usize) -> Result<Time, Fault> {
    let number = task.integer(at)?;
    let now = task.context.now;
    let wall = (number > 0).then(|| unit.wall(number, now)).flatten();
    wall.map(|wall| moment(wall, now)).ok_or_else(|| Fault::expire_time(task))
}

/// SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
pub(super) fn set(task: &mut Task<'_, '_>) -> Done {
    let (key, value) = (task.key, task.arg(2));
    if task.count() == 3 {
        task.put(key, &[value], Kept::default())?;
        task.reply.ok();
        return Ok(());
    }
    let options = Options::parse(task, 3)?;
    let mut expiry = options.expiry(task)?;
    if options.get {
        task.reply_value(key);
    }
    let old = task.peek(key).map(|item| item.expiry);
    if (options.nx && old.is_some()) || (options.xx && old.is_none()) {
        if !options.get {
            task.reply.null();
        }
        return Ok(());
    }
    if options.keep {
        expiry = old.flatten();
    }
    task.put(key, &[value], Kept { expiry, ..Kept::default() })?;
    if !options.get {
        task.reply.ok();
    }
    Ok(())
}

/// SETNX key value
pub(super) fn setnx(task: &mut Task<'_, '_>) -> Done {
    let free = task.peek(task.key).is_none();
    if free {
        task.put(task.key, &[task.arg(2)], Kept::default())?;
    }
    task.reply_whether(free)
}

/// SETEX key s value, PSETEX key ms value
pub(super) fn setex(task: &mut Task<'_, '_>) -> Done {
    let seconds = task.request.head.command.op == Op::SetEx;
    let unit = if seconds { Unit::Seconds } else { Unit::Millis };
    let expiry = deadline(task, unit, 2)?;
    task.put(task.key, &[task.arg(3)], Kept::until(expiry))?;
    task.reply.ok();
    Ok(())
}

/// GETSET key value
pub(super) fn getset(task: &mut Task<'_, '_>) -> Done {
    task.reply_value(task.key);
    task.put(task.key, &[task.arg(2)], Kept::default())
}

/// GETDEL key
pub(super) fn getdel(task: &mut Task<'_, '_>) -> Done {
    if task.reply_value(task.key) {
        task.remove(task.key);
    }
    Ok(())
}

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
pub(super) fn getex(task: &mut Task<'_, '_>) -> Done {
    let options = Options::parse(task, 2)?;
    if !task.reply_value(task.key) {
        return Ok(());
    }
    let (key, now) = (task.key, task.now());
    let expiry = options.expiry(task)?;
    if expiry.is_some_and(|at| at <= now) {
        task.remove(key);
        return Ok(());
    }
    let before = task.peek(key).and_then(|item| item.expiry);
    if expiry.is_some() || (options.persist && before.is_some()) {
        let change = Amend { expiry: Some(expiry), renew: true, ..Amend::default() };
        task.items.amend(key, change, now);
    }
    Ok(())
}

/// MGET key…
pub(super) fn mget(task: &mut Task<'_, '_>) -> Done {
    let (count, begun, before) = (task.count(), task.reply.mark(), task.reply.size());
    task.reply.array(count - 1);
    let keys: Vec<Key<'_>> = (1..count).map(|at| task.key_at(at)).collect();
    task.items.approach(&keys);
    for at in 1..count {
        task.reply_value(keys[at - 1]);
        if at > 1 && task.reply.size() - before > task.context.cache.reply_max {
            task.reply.cut(begun);
            return Err(Fault::text(TOO_LONG));
        }
    }
    Ok(())
}

/// MSET key value…
pub(super) fn mset(task: &mut Task<'_, '_>) -> Done {
    whole_pairs(task)?;
    put_pairs(task)?;
    task.reply.ok();
    Ok(())
}

/// MSETNX key value…
pub(super) fn msetnx(task: &mut Task<'_, '_>) -> Done {
    whole_pairs(task)?;
    let free = (1..task.count()).step_by(2).all(|at| task.peek(task.key_at(at)).is_none());
    if free {
        put_pairs(task)?;
    }
    task.reply_whether(free)
}

/// Whether each key has a value.
fn whole_pairs(task: &Task<'_, '_>) -> Done {
    if task.count().is_multiple_of(2) {
        let name = task.name();
        return Err(Fault::of(format!("ERR wrong number of arguments for '{name}' command")));
    }
    Ok(())
}

/// Stores all pairs, or none if one is too large. Memory may still run out in between.
fn put_pairs(task: &mut Task<'_, '_>) -> Done {
    let pairs = || (1..task.count()).step_by(2);
    pairs().try_for_each(|at| task.fits(task.key_at(at), task.arg(at + 1).len()))?;
    for at in (1..task.count()).step_by(2) {
        task.put(task.key_at(at), &[task.arg(at + 1)], Kept::default())?;
    }
    Ok(())
}
