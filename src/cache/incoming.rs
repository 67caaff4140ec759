//! A value that has come in before its request was whole.

use std::cell::RefCell;

use crate::cache::Context;
use crate::storage::{Draft, Key, Locked, NewItem, PutError};

/// The value, until it is stored; or why it could not be held.
#[derive(Debug)]
pub struct Incoming {
    len: usize,
    value: RefCell<Option<Result<Draft, PutError>>>,
}

impl Incoming {
    /// A value that is whole, or was dropped.
    pub fn of(len: usize, value: Result<Draft, PutError>) -> Self {
        Self { len, value: RefCell::new(Some(value)) }
    }
}

impl Context<'_> {
    /// Length of the value of a request that has it in its bytes, or as an incoming one.
    pub(super) fn value_len(&self, bytes: &[u8]) -> usize {
        self.incoming.map_or(bytes.len(), |incoming| incoming.len)
    }

    /// Stores an item: with the incoming value, if there is one.
    pub(super) fn put(
        &self,
        locked: &mut Locked<'_>,
        key: Key<'_>,
        item: &NewItem<'_>,
    ) -> Result<u64, PutError> {
        let now = self.now.time;
        match self.incoming.and_then(|incoming| incoming.value.borrow_mut().take()) {
            None => locked.put(key, item, now),
            Some(Ok(draft)) => locked.put_draft(key, draft, item, now),
            Some(Err(error)) => {
                locked.remove(key, now);
                Err(error)
            }
        }
    }
}
