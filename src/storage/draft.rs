//! A value that comes in by and by, and is stored when all of it is there.
//!
//! ```text
//!  Store::draft(len) ─▶ write, write, write … ─▶ Locked::put_draft ─▶ an item
//!                       memory as it comes in       └ dropped instead: memory given back
//! ```
//! No lock is held meanwhile, and nothing is copied under one but values that are small.

use std::sync::Arc;

use bytes::Bytes;

use super::engine::PutError;
use super::segcache::Pieces;
use super::store::Shards;
use super::time::Time;

/// A value on its way in.
#[derive(Debug)]
pub struct Draft {
    shards: Arc<Shards>,
    pieces: Pieces,
}

impl Draft {
    pub(super) fn new(shards: Arc<Shards>, len: usize) -> Self {
        Self { shards, pieces: Pieces::new(len) }
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
        let (mut rest, mut tries) = (bytes, 0);
        while let Err(wanted) = self.pieces.write(self.shards.budget(), &mut rest) {
            let keeps = if tries == 0 { self.shards.keeps() } else { 0 };
            let found = self.shards.relieve((wanted, keeps), |_| false, now);
            // Others may have been quicker; shards may have been locked: some tries for that.
            tries += 1;
            if !found && tries > TRIES_MAX {
                return Err(PutError::Full);
            }
        }
        Ok(())
    }

    /// All pieces.
    pub(super) fn finish(self) -> Vec<Bytes> {
        self.pieces.finish()
    }
}

/// Times that memory is asked for.
const TRIES_MAX: usize = 8;
