//! A value that comes in by and by, and is stored when all of it is there.
//!
//! ```text
//!  Store::draft(len) ─▶ write, write, write … ─▶ Locked::put_draft ─▶ an item
//!                       memory as it comes in       └ dropped instead: memory given back
//! ```
//! No lock is held meanwhile, and nothing is copied under one but values that are small. A
//! [`Loan`] is memory of the store that holds something else.

use std::sync::Arc;

use bytes::Bytes;

use super::budget::Charge;
use super::engine::PutError;
use super::segcache::Pieces;
use super::store::Shards;
use super::time::Time;

/// A value on its way in.
#[derive(Debug)]
pub struct Draft {
    announced: Announced,
    pieces: Pieces,
}

/// Bytes that are to come, and are not expected any more when this is dropped.
#[derive(Debug)]
struct Announced {
    shards: Arc<Shards>,
    len: u64,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.shards.forget_draft(self.len);
    }
}

impl Draft {
    /// One for which there is a place among those under way; `None` if it has to wait.
    pub(super) fn new(shards: &Arc<Shards>, len: usize) -> Option<Self> {
        shards.admit_draft(len as u64).then(|| {
            let announced = Announced { shards: Arc::clone(shards), len: len as u64 };
            Self { announced, pieces: Pieces::new(len) }
        })
    }

    /// Appends bytes. Items are evicted for them if need be.
    ///
    /// # Errors
    /// [`PutError::TooLarge`] if the value has more bytes than were announced,
    /// [`PutError::Full`] if there is no memory for them.
    pub fn write(&mut self, bytes: &[u8], now: Time) -> Result<(), PutError> {
        if !self.pieces.has_room(bytes.len()) {
            return Err(PutError::TooLarge);
        }
        let mut rest = bytes;
        let shards = &self.announced.shards;
        let budget = Arc::clone(shards.budget());
        shards.with_room(now, || self.pieces.write(&budget, &mut rest))
    }

    /// All pieces.
    pub(super) fn finish(self) -> Vec<Bytes> {
        self.pieces.finish()
    }
}

/// Memory of a store that somebody else uses; given back when this is dropped.
#[derive(Debug)]
pub struct Loan {
    _charge: Charge,
}

impl Loan {
    /// Takes `bytes`, and evicts items for them if need be.
    pub(super) fn take(shards: &Shards, bytes: u64, now: Time) -> Result<Self, PutError> {
        shards
            .with_room(now, || shards.budget().take(bytes).ok_or(bytes))
            .map(|_charge| Self { _charge })
    }
}
