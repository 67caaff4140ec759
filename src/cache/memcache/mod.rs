//! memcached's text, meta and binary commands, executed on stored items; answered as memcached 1.6
//! does.
//!
//! ```text
//!  request ─▶ execute ─┬▶ classic ─┐
//!                      ├▶ meta ────┼▶ store (set, add to a number) ─▶ one shard, locked
//!                      ├▶ binary ──┘
//!                      └▶ stats
//!  refused request ─▶ refused: a value too large to be stored displaces the old one
//! ```
//! * `words`: numbers, times and binary keys, as words of a line.
//! * `store`: what sets values and numbers.
//! * `classic`, `meta`, `stats`: the commands.
//! * `binary`: those of the binary protocol.
//! * `flags`: the flags of a meta command.

mod binary;
mod classic;
mod flags;
mod meta;
mod refused;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod words;

pub use refused::refused;

use crate::cache::memcache::store::Mode;
use crate::cache::{After, Context};
use crate::metrics::PoolMetric;
use crate::protocol::{Op, Output, Request};

/// What `version` says: the memcached whose commands these are, and our own name and version.
pub const VERSION: &str = concat!("1.6.18-twinring-", env!("CARGO_PKG_VERSION"));

/// Executes a request that was parsed by the rules of a cache, and appends its reply to `out`;
/// nothing if it wants none.
pub fn execute(context: &Context<'_>, request: Request<'_>, out: &mut Output) -> After {
    let start = out.len();
    let line: &[u8] = match request.head.command.op {
        Op::Get | Op::Gets | Op::Gat | Op::Gats => {
            classic::get(context, request, out);
            b""
        }
        Op::Set => classic::update(context, request, Mode::Set),
        Op::Add => classic::update(context, request, Mode::Add),
        Op::Replace => classic::update(context, request, Mode::Replace),
        Op::Append => classic::update(context, request, Mode::Append),
        Op::Prepend => classic::update(context, request, Mode::Prepend),
        Op::Cas => classic::update(context, request, Mode::Cas),
        Op::Incr | Op::Decr => {
            classic::count(context, request, request.head.command.op == Op::Incr, out);
            b""
        }
        Op::Touch => classic::touch(context, request),
        Op::Delete => classic::delete(context, request),
        Op::FlushAll => classic::flush(context, request),
        op => return execute_other(context, request, op, out),
    };
    out.extend_from_slice(line);
    if request.head.noreply {
        out.truncate(start);
    }
    After::Stay
}

/// As [`execute`], for what is not classic or concerns no item.
fn execute_other(context: &Context<'_>, request: Request<'_>, op: Op, out: &mut Output) -> After {
    match op {
        Op::MetaGet => answer(context, request, meta::get, out),
        Op::MetaSet => answer(context, request, meta::set, out),
        Op::MetaDelete => answer(context, request, meta::delete, out),
        Op::MetaArithmetic => answer(context, request, meta::arithmetic, out),
        Op::MetaDebug => answer(context, request, meta::debug, out),
        Op::Binary => return binary::execute(context, request, out),
        Op::MetaNoop => out.extend_from_slice(b"MN\r\n"),
        Op::Version => {
            out.extend_from_slice(format!("VERSION {VERSION}\r\n").as_bytes());
        }
        Op::Verbosity if request.head.noreply => {}
        Op::Verbosity => out.extend_from_slice(b"OK\r\n"),
        Op::Stats => {
            let words = [request.arg(1), request.arg(2), request.arg(3)];
            out.extend_from_slice(stats::stats(context, words).as_bytes());
        }
        Op::Quit => return After::Close,
        _ => out.extend_from_slice(b"ERROR\r\n"),
    }
    After::Stay
}

/// Why a meta command fails: the whole line, its end left out.
type Failure = &'static str;

/// A meta command's reply. A failure is always told, however quiet the client wants to be.
fn answer(
    context: &Context<'_>,
    request: Request<'_>,
    command: fn(&Context<'_>, Request<'_>, &mut Output) -> Result<(), Failure>,
    out: &mut Output,
) {
    context.counters.add(PoolMetric::CacheMetas, 1);
    let start = out.len();
    if let Err(failure) = command(context, request, out) {
        out.truncate(start);
        out.extend_from_slice(failure.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
