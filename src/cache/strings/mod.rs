//! Redis's commands on items: what a task does with the shards that it has been given.
//!
//! ```text
//!  Task { request, locked shards, reply } ─▶ run: match op ─▶ values, ranges, numbers
//!                                                             keys, expiry, scan
//! ```
//! A command either writes its reply or says what is wrong; nothing here locks, so that EXEC can
//! run many commands in one critical section.

mod expiry;
mod keys;
mod numbers;
mod ranges;
mod scan;
mod task;
mod values;

use crate::protocol::Op;

/// The answer in place of replies that together are longer than one client may hold.
pub(super) const TOO_LONG: &str = "ERR the reply is larger than the limit";

pub(super) use keys::database;
pub(super) use task::{Done, Fault, Task};

/// Executes a command on items.
pub(super) fn run(task: &mut Task<'_, '_>) -> Done {
    match task.request.head.command.op {
        Op::Get => values::get(task),
        Op::Set => values::set(task),
        Op::SetNx => values::setnx(task),
        Op::SetEx | Op::PSetEx => values::setex(task),
        Op::GetSet => values::getset(task),
        Op::GetDel => values::getdel(task),
        Op::GetEx => values::getex(task),
        Op::MGet => values::mget(task),
        Op::MSet => values::mset(task),
        Op::MSetNx => values::msetnx(task),
        Op::Append | Op::StrLen | Op::GetRange | Op::SetRange | Op::Lcs => ranges::run(task),
        Op::Incr | Op::Decr | Op::IncrBy | Op::DecrBy | Op::IncrByFloat => numbers::run(task),
        Op::SetBit => numbers::setbit(task),
        Op::GetBit => numbers::getbit(task),
        Op::BitCount => numbers::bitcount(task),
        Op::Del | Op::Exists | Op::Touch | Op::Type => keys::run(task),
        Op::Rename | Op::RenameNx => keys::rename(task),
        Op::Copy => keys::copy(task),
        Op::Object => keys::object(task),
        Op::RandomKey => scan::randomkey(task),
        Op::Keys => scan::keys(task),
        Op::Scan => scan::scan(task),
        Op::Expire | Op::PExpire | Op::ExpireAt | Op::PExpireAt => expiry::expire(task),
        Op::Ttl | Op::PTtl | Op::ExpireTime | Op::PExpireTime => expiry::ttl(task),
        Op::Persist => expiry::persist(task),
        _ => Err(Fault::text("ERR unknown command")),
    }
}
