//! Requests to a cache of ours that store a large value: it goes to the store while it comes in.
//!
//! ```text
//!  Begun ─▶ Standalone::accept ─┬─▶ what stands before the value, as if that were empty ─┐
//!                               └─▶ fill, fill, fill … ─▶ the store's memory             ▼
//!                                               what stands behind it ─▶ a whole request, executed
//! ```
//! So a value is held once, where it will stay, and is part of the store's memory from its first
//! byte on.

use crate::cache::{Cache, Draft, Incoming, Now, PutError};
use crate::protocol::Outline;

/// A request whose value has not come in, or not what stands behind it.
#[derive(Debug)]
pub struct Deposit {
    text: Vec<u8>,
    value: Result<Draft, PutError>,
    len: u64,
    left: u64,
}

impl Deposit {
    /// Begins one.
    ///
    /// # Errors
    /// [`PutError::TooLarge`] if such a value is not stored, [`PutError::Full`] if others must
    /// come in first.
    pub(super) fn new(cache: &Cache, outline: Outline) -> Result<Self, PutError> {
        let len = usize::try_from(outline.len).map_err(|_| PutError::TooLarge)?;
        if len > cache.value_max {
            return Err(PutError::TooLarge);
        }
        let value = Ok(cache.store.draft(len)?);
        Ok(Self { text: outline.text, value, len: outline.len, left: outline.len })
    }

    /// Bytes of the value.
    pub fn value_len(&self) -> u64 {
        self.len
    }

    /// Whether all of the value has come in.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Takes bytes of the value from the front of `bytes`; says how many. If memory for them
    /// cannot be found they are dropped, and the request will be told.
    pub(super) fn fill(&mut self, bytes: &[u8], now: Now) -> usize {
        let count = self.left.min(bytes.len() as u64) as usize;
        self.left -= count as u64;
        if let Ok(draft) = &mut self.value
            && let Err(error) = draft.write(&bytes[..count], now.time)
        {
            self.value = Err(error);
        }
        count
    }

    /// The request with an empty value, as far as it is there, with these bytes behind the value.
    pub fn text_with(&self, behind: &[u8]) -> Vec<u8> {
        [&self.text, behind].concat()
    }

    /// How many bytes of the text do not stand behind the value.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The value.
    pub(super) fn into_value(self) -> Incoming {
        Incoming::of(self.len as usize, self.value)
    }
}
