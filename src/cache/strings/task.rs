//! One command on items: its arguments, the shards of its keys, and where its reply goes.

use std::borrow::Cow;

use crate::cache::Context;
use crate::metrics::PoolMetric;
use crate::protocol::redis::Reply;
use crate::protocol::{Request, integer};
use crate::storage::{Item, Key, Locked, NewItem, PutError, Time, Value};

/// Why a command is not done: the error line, its code first.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) Cow<'static, str>);

/// How a command ends that has written its reply.
pub(crate) type Done = Result<(), Fault>;

impl Fault {
    /// Bad arguments.
    pub(crate) const SYNTAX: Self = Self::text("ERR syntax error");
    /// An argument or a value that should be an integer.
    pub(crate) const NOT_INTEGER: Self = Self::text("ERR value is not an integer or out of range");
    /// A value beyond the limit.
    pub(crate) const TOO_LONG: Self =
        Self::text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    /// No room for another item.
    pub(crate) const NO_MEMORY: Self =
        Self::text("OOM command not allowed when used memory > 'maxmemory'.");
    /// A key beyond the limit, where the parser has not looked.
    pub(crate) const KEY_TOO_LONG: Self = Self::text("ERR key is longer than the limit");

    /// A text of ours.
    pub(crate) const fn text(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A text with parts of the request.
    pub(crate) const fn of(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

/// Bytes of the longest key that can be stored.
const KEY_BYTES: usize = u16::MAX as usize;

/// What an item keeps when its value is changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// When it dies.
    pub(crate) expiry: Option<Time>,
    /// What a client of the other protocol has put there.
    pub(crate) flags: u32,
}

impl Kept {
    /// Nothing but an expiry.
    pub(crate) const fn until(expiry: Time) -> Self {
        Self { expiry: Some(expiry), flags: 0 }
    }

    /// What this item keeps.
    pub(crate) const fn of(item: &Item<'_>) -> Self {
        Self { expiry: item.expiry, flags: item.flags }
    }
}

/// A command that is being executed.
pub(crate) struct Task<'t, 's> {
    pub(crate) context: &'t Context<'t>,
    pub(crate) request: Request<'t>,
    /// The first of its keys.
    pub(crate) key: Key<'t>,
    /// The shards of all its keys.
    pub(crate) items: &'t mut Locked<'s>,
    pub(crate) reply: Reply<'t>,
    /// Whether reading counts as use.
    pub(crate) touches: bool,
}

impl<'t> Task<'t, '_> {
    /// The argument at `index`, the command's name being at 0.
    pub(crate) fn arg(&self, index: usize) -> &'t [u8] {
        self.request.arg(index)
    }

    /// Arguments, the name included.
    pub(crate) fn count(&self) -> usize {
        self.request.args.len()
    }

    /// The argument at `index` in lower case, as far as a word is long.
    pub(crate) fn word(&self, index: usize) -> Vec<u8> {
        self.arg(index).to_ascii_lowercase()
    }

    /// The argument at `index` as an integer.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, Fault> {
        integer(self.arg(index)).ok_or(Fault::NOT_INTEGER)
    }

    /// The argument at `index` as a key.
    pub(crate) fn key_at(&self, index: usize) -> Key<'t> {
        self.context.cache.store.key(self.arg(index))
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Time {
        self.context.now.time
    }

    /// The name of the command as errors write it.
    pub(crate) fn name(&self) -> String {
        self.request.head.command.name.to_ascii_lowercase()
    }

    /// The item of a key, as an onlooker.
    pub(crate) fn peek(&mut self, key: Key<'_>) -> Option<Item<'_>> {
        self.items.peek(key, self.context.now.time)
    }

    /// The item of a key, for a reader.
    pub(crate) fn read(&mut self, key: Key<'_>) -> Option<Item<'_>> {
        let now = self.now();
        let found =
            if self.touches { self.items.read(key, now) } else { self.items.peek(key, now) };
        self.context.counters.add(lookup(found.is_some()), 1);
        found
    }

    /// Replies with the value of a key or nothing; whether there is one.
    pub(crate) fn reply_value(&mut self, key: Key<'_>) -> bool {
        let now = self.now();
        let found =
            if self.touches { self.items.read(key, now) } else { self.items.peek(key, now) };
        self.context.counters.add(lookup(found.is_some()), 1);
        match found {
            Some(Item { value: Value::Pieces(pieces), .. }) => self.reply.bulk_shared(pieces),
            Some(item) => self.reply.bulk_pieces(item.value.len(), item.value.pieces()),
            None => self.reply.null(),
        }
        found.is_some()
    }

    /// A value and what is kept with it, to be changed.
    pub(crate) fn taken(&mut self, key: Key<'_>) -> Option<(Vec<u8>, Kept)> {
        self.peek(key).map(|item| (bytes_of(item.value), Kept::of(&item)))
    }

    /// Whether an item may be so large.
    pub(crate) fn fits(&self, key: Key<'_>, len: usize) -> Done {
        let settings = self.context.cache.store.settings();
        if key.bytes.len() > KEY_BYTES {
            return Err(Fault::KEY_TOO_LONG);
        }
        if len > self.context.cache.value_max || key.bytes.len() + len > settings.item_max {
            return Err(Fault::TOO_LONG);
        }
        Ok(())
    }

    /// Stores a value, in pieces; if its time has come already, there is no item then.
    pub(crate) fn put(&mut self, key: Key<'_>, value: &[&[u8]], kept: Kept) -> Done {
        let now = self.now();
        let item = NewItem { value, flags: kept.flags, expiry: kept.expiry, ..NewItem::default() };
        let len = self.context.incoming.map_or_else(|| item.len(), |_| self.context.value_len(&[]));
        self.fits(key, len)?;
        if kept.expiry.is_some_and(|at| at <= now) {
            self.items.remove(key, now);
            return Ok(());
        }
        match self.context.put(self.items, key, &item) {
            Ok(_) => Ok(()),
            Err(PutError::TooLarge) => Err(Fault::TOO_LONG),
            Err(PutError::Full) => Err(Fault::NO_MEMORY),
        }
    }

    /// Removes an item; whether there was one.
    pub(crate) fn remove(&mut self, key: Key<'_>) -> bool {
        self.items.remove(key, self.context.now.time)
    }

    /// Replies 1 or 0.
    pub(crate) fn reply_whether(&mut self, truth: bool) -> Done {
        self.reply.integer(truth.into());
        Ok(())
    }
}

/// How a lookup is counted.
pub(crate) const fn lookup(found: bool) -> PoolMetric {
    if found { PoolMetric::Hits } else { PoolMetric::Misses }
}

/// All bytes of a value.
pub(crate) fn bytes_of(value: Value<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    value.write_to(&mut bytes);
    bytes
}
