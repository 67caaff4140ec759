//! Redis's commands, executed: what a client of a cache of ours is answered.
//!
//! ```text
//!  request ─▶ execute ─┬▶ in a transaction: queued ─▶ EXEC: all shards of all keys ─┐
//!                      └▶ the shards of its keys ───────────────────────────────────┴▶ run: match op
//!                                             connection, server, transaction, strings ◀──────┘
//! ```
//! Commands and answers are those of Redis 7.0, as far as strings go. The shards of all keys are
//! locked before anything is done, so that every command, and all of EXEC, is one critical
//! section.
//!
//! * `session`: what is remembered of a client.
//! * `connection`, `server`: commands without items; `docs`: what all commands are for.
//! * `transaction`: MULTI, EXEC, WATCH.
//! * `tracking`: CLIENT TRACKING, and what is pushed because of it.

mod connection;
mod docs;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod tracking;
mod transaction;

use crate::cache::strings::{self, Fault, Task};
use crate::cache::{After, Context};
use crate::protocol::redis::{Reply, write_refusal};
use crate::protocol::{Keys, Op, Output, Refusal, Request};
use crate::storage::{Key, Locked};

pub use session::Session;

/// Executes a request and appends its reply to `out`.
pub fn execute(
    context: &Context<'_>,
    session: &mut Session,
    request: Request<'_>,
    out: &mut Output,
) -> After {
    let start = out.len();
    let after = step(context, session, request, out);
    session.settle(start, out);
    if !server::is_client(request) {
        session.forget_caching();
    }
    after
}

/// Tells a client of a bad request; a transaction is spoiled by one.
pub fn refuse(session: &mut Session, refusal: &Refusal, out: &mut Output) {
    let start = out.len();
    session.spoil();
    session.forget_caching();
    write_refusal(refusal, out);
    session.settle(start, out);
}

fn step(
    context: &Context<'_>,
    session: &mut Session,
    request: Request<'_>,
    out: &mut Output,
) -> After {
    let op = request.head.command.op;
    let allowed = server::check_subcommand(request).and_then(|()| session.admit(op));
    if let Err(Fault(text)) = allowed {
        session.spoil();
        session.reply(out).error(&text);
        return After::Stay;
    }
    if session.is_queueing() && transaction::may_wait(op) {
        transaction::queue(session, request, out);
        return After::Stay;
    }
    if op == Op::Exec {
        transaction::exec(context, session, out);
        return After::Stay;
    }
    let mut items = lock(context, request);
    items.act_for(session.id());
    run(context, session, request, (&mut items, out))
}

/// Takes the shards of a request's keys.
fn lock<'s>(context: &Context<'s>, request: Request<'_>) -> Locked<'s> {
    let (store, now) = (&context.cache.store, context.now.time);
    let command = request.head.command;
    match command.keys {
        _ if needs_all(command.op) => store.lock_all(now),
        Keys::At(at) => store.lock(store.key(request.arg(at.into())), now),
        _ => store.lock_keys(keys(context, request), now),
    }
}

/// Whether a command is about all items.
fn needs_all(op: Op) -> bool {
    matches!(op, Op::RandomKey | Op::Keys | Op::Scan | Op::DbSize | Op::FlushAll | Op::Info)
}

/// The keys of a request.
fn keys<'a>(context: &Context<'a>, request: Request<'a>) -> impl Iterator<Item = Key<'a>> {
    let store = &context.cache.store;
    // Of a request that is short of arguments, which is refused when it is executed.
    let there = request.keys().take_while(move |at| *at < request.args.len());
    there.map(move |at| store.key(request.arg(at)))
}

/// Executes a request whose shards are locked.
fn run(
    context: &Context<'_>,
    session: &mut Session,
    request: Request<'_>,
    (items, out): (&mut Locked<'_>, &mut Output),
) -> After {
    let first = keys(context, request).next();
    let mut task = Task {
        context,
        request,
        key: first.unwrap_or_else(|| context.cache.store.key(b"")),
        items: &mut *items,
        reply: Reply::new(out, session.is_resp3()),
        touches: session.touches(),
    };
    let mark = task.reply.mark();
    let after = dispatch(session, &mut task).unwrap_or_else(|Fault(text)| {
        task.reply.cut(mark);
        task.reply.error(&text);
        After::Stay
    });
    session.remember((request, items), keys(context, request), context);
    after
}

fn dispatch(session: &mut Session, task: &mut Task<'_, '_>) -> Result<After, Fault> {
    match task.request.head.command.op {
        Op::Quit => {
            task.reply.ok();
            return Ok(After::Close);
        }
        Op::Multi | Op::Discard | Op::Watch | Op::Unwatch => transaction::run(session, task)?,
        Op::Hello | Op::Auth | Op::Client | Op::Reset => connection::run(session, task)?,
        Op::Ping | Op::Echo | Op::Select => connection::answer(task)?,
        Op::Config | Op::Command | Op::Info | Op::Time | Op::DbSize | Op::FlushAll => {
            server::run(task)?;
        }
        _ => strings::run(task)?,
    }
    Ok(After::Stay)
}
