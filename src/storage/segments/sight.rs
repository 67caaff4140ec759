//! An item that is read, as it was before that.
//!
//! ```text
//!  touch ─▶ Sight: a few words ─▶ item ─▶ what the reader asks for
//! ```
//! All that there is to be seen of an item is some fifty instructions, of which most readers need
//! few. So it is worked out where it is asked for: [`Sight::item`] is compiled into its callers, and
//! what they don't look at is left out there (hence nothing in it may panic).

use crate::storage::item::Item;
use crate::storage::time::Time;

use super::layout::{Before, Context, Layout};

/// An item that has been found and whose access is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    /// All of it.
    bytes: &'a [u8],
    value_at: u32,
    before: Before,
    base: Time,
    version: u64,
}

impl<'a> Sight<'a> {
    /// Notes an access to the item at the beginning of `bytes`, of this layout.
    #[inline(always)]
    pub(super) fn touch(layout: Layout, bytes: &'a mut [u8], at: Context) -> Self {
        let bytes = &mut bytes[..layout.len()];
        let before = layout.touch(bytes, at.now);
        let value_at = layout.value_at() as u32;
        Self { bytes, value_at, before, base: at.base, version: at.version }
    }

    /// The item; `now` is when it was touched.
    #[inline(always)]
    pub(crate) fn item(self, now: Time) -> Item<'a> {
        let Self { bytes, value_at, before, base, version } = self;
        let at = Context { base, version, now };
        let fields = Layout::parse(bytes).fields_before(bytes, at, before);
        fields.beside(bytes.get(value_at as usize..).unwrap_or_default())
    }
}
