//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! A watched key is remembered with its item's version. Every change gives an item another one,
//! and no version comes twice, so that EXEC need only compare. What Redis notices and this does
//! not: that a key without an item had one for a while.

use super::session::Session;
use super::{keys, needs_all, run as execute};
use crate::cache::Context;
use crate::cache::strings::{Done, Fault, TOO_LONG, Task};
use crate::protocol::{Head, Op, Output, Request, Span};
use crate::storage::Locked;

/// Bytes of the requests that one client may have queued.
const QUEUE_BYTES: usize = 64 << 20;

/// Keys that one client may watch.
const WATCHED: usize = 16 << 10;

/// What a client has begun.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    watches: Vec<Watch>,
    /// What EXEC is to do; `None` before MULTI.
    queue: Option<Queue>,
}

/// A key and the version of its item, if it has one.
#[derive(Debug)]
struct Watch {
    key: Box<[u8]>,
    version: Option<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    requests: Vec<Queued>,
    bytes: usize,
    /// A request was refused: nothing will be done.
    spoiled: bool,
}

/// A request, kept beyond the buffer that it came in.
#[derive(Debug)]
struct Queued {
    head: Head,
    bytes: Box<[u8]>,
    args: Box<[Span]>,
}

impl Queued {
    fn request(&self) -> Request<'_> {
        Request { head: &self.head, bytes: &self.bytes, args: &self.args }
    }
}

impl Session {
    /// Whether requests are queued now.
    pub(super) fn is_queueing(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.queue.is_some())
    }

    /// Requests in the queue, if there is one.
    pub(super) fn queued(&self) -> Option<usize> {
        let queue = self.transaction.as_ref()?.queue.as_ref()?;
        Some(queue.requests.len())
    }

    fn queue(&mut self) -> Option<&mut Queue> {
        self.transaction.as_mut()?.queue.as_mut()
    }

    /// A request was refused: what is being queued will not be done.
    pub(super) fn spoil(&mut self) {
        if let Some(queue) = self.queue() {
            queue.spoiled = true;
        }
    }
}

/// Whether a command is queued between MULTI and EXEC.
pub(super) fn may_wait(op: Op) -> bool {
    !matches!(op, Op::Exec | Op::Discard | Op::Multi | Op::Watch | Op::Quit | Op::Reset)
}

/// Queues a request.
pub(super) fn queue(session: &mut Session, request: Request<'_>, out: &mut Output) {
    let mut reply = session.reply(out);
    let Some(queue) = session.queue() else { return };
    queue.bytes += request.bytes.len();
    if queue.bytes > QUEUE_BYTES {
        queue.spoiled = true;
        queue.requests = Vec::new();
        return reply.error("ERR the transaction is larger than the limit");
    }
    queue.requests.push(Queued {
        head: *request.head,
        bytes: request.bytes.into(),
        args: request.args.into(),
    });
    reply.status("QUEUED");
}

/// EXEC: all that is queued, in one critical section.
pub(super) fn exec(context: &Context<'_>, session: &mut Session, out: &mut Output) {
    let begun = session.transaction.take_if(|transaction| transaction.queue.is_some());
    let mut reply = session.reply(out);
    let Some(Transaction { watches, queue: Some(queue) }) = begun.map(|begun| *begun) else {
        return reply.error("ERR EXEC without MULTI");
    };
    if queue.spoiled {
        return reply.error("EXECABORT Transaction discarded because of previous errors.");
    }
    let mut items = lock(context, &watches, &queue.requests);
    items.act_for(session.id());
    if !watches.iter().all(|watch| watch.is_fresh(context, &mut items)) {
        return reply.null_array();
    }
    reply.array(queue.requests.len());
    let begun = out.len();
    for queued in &queue.requests {
        let before = out.len();
        execute(context, session, queued.request(), (&mut items, out));
        // It has been done; what cannot be held is the answer.
        if before > begun && out.len() - begun > context.cache.reply_max {
            out.truncate(before);
            session.reply(out).error(TOO_LONG);
        }
    }
}

/// Takes the shards of all keys.
fn lock<'s>(context: &Context<'s>, watches: &[Watch], requests: &[Queued]) -> Locked<'s> {
    let (store, now) = (&context.cache.store, context.now.time);
    if requests.iter().any(|queued| needs_all(queued.head.command.op)) {
        return store.lock_all(now);
    }
    let watched = watches.iter().map(|watch| store.key(&watch.key));
    let named = requests.iter().flat_map(|queued| keys(context, queued.request()));
    store.lock_keys(watched.chain(named), now)
}

impl Watch {
    fn is_fresh(&self, context: &Context<'_>, items: &mut Locked<'_>) -> bool {
        let key = context.cache.store.key(&self.key);
        items.peek(key, context.now.time).map(|item| item.cas) == self.version
    }
}

/// Executes MULTI, DISCARD, WATCH or UNWATCH.
pub(super) fn run(session: &mut Session, task: &mut Task<'_, '_>) -> Done {
    let queueing = session.is_queueing();
    match task.request.head.command.op {
        Op::Multi if queueing => return Err(Fault::text("ERR MULTI calls can not be nested")),
        Op::Multi => {
            session.transaction.get_or_insert_default().queue = Some(Queue::default());
        }
        Op::Discard if !queueing => return Err(Fault::text("ERR DISCARD without MULTI")),
        Op::Watch if queueing => return Err(Fault::text("ERR WATCH inside MULTI is not allowed")),
        Op::Watch => watch(session, task)?,
        // EXEC has taken the transaction before it comes to an UNWATCH.
        _ => session.transaction = None,
    }
    task.reply.ok();
    Ok(())
}

/// WATCH key…
fn watch(session: &mut Session, task: &mut Task<'_, '_>) -> Done {
    let watches = &mut session.transaction.get_or_insert_default().watches;
    if watches.len() + task.count() > WATCHED {
        return Err(Fault::text("ERR too many watched keys"));
    }
    for at in 1..task.count() {
        let key = task.key_at(at);
        let version = task.peek(key).map(|item| item.cas);
        watches.push(Watch { key: key.bytes.into(), version });
    }
    Ok(())
}
