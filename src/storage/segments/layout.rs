//! How an item lies in a segment, to the byte.
//!
//! ```text
//!  meta 1 │ klen 1, or 255 and 2 │ vlen 1 to 3 │ cas 4 or 8 │ accessed 3 │
//!  expiry 0, 3, 4 or 8 │ flags 0 or 4 │ key │ value
//! ```
//! The narrow form is the rule: the lower half of the version, which the shard's counter
//! completes, and the expiry in milliseconds from the segment's base: in three bytes up to four
//! hours and a half. The wide form has both whole. Seconds of access are kept to 23 bits (97 days)
//! and completed by the clock; the bit above them says that the expiry has three bytes.

use crate::storage::item::{Item, Marks, Value};
use crate::storage::time::Time;

/// Bits of `meta`: the lowest two are the bytes of `vlen`.
const VALUE_BYTES: u8 = 0b11;
const EXPIRY: u8 = 1 << 2;
const WIDE: u8 = 1 << 3;
const FLAGS: u8 = 1 << 4;
const FETCHED: u8 = 1 << 5;
const STALE: u8 = 1 << 6;
const WON: u8 = 1 << 7;

/// In place of `klen`: the length follows in two bytes.
const KEY_LONG: u8 = 255;

/// Bytes that a narrow expiry has, if it fits into the first of these or not.
const NARROW: [u8; 2] = [3, 4];

/// Bytes of an expiry, and of a version, in the wide form.
const WHOLE: u8 = 8;

/// In the last byte of the access: the expiry has the first of the narrow lengths.
const SHORT: u8 = 1 << 7;

/// Bytes of the longest header.
pub(crate) const HEADER_MAX: usize = 1 + 3 + 3 + 8 + 3 + 8 + 4;

/// Bits of the second of the last access.
const ACCESSED_BITS: u32 = 23;

/// Bytes of the access.
const ACCESSED: u8 = 3;

/// What an item has beside key and value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) flags: u32,
    pub(crate) cas: u64,
    pub(crate) expiry: Option<Time>,
    pub(crate) marks: Marks,
    pub(crate) accessed: Time,
}

impl Fields {
    /// The item that has them beside its value.
    #[inline(always)]
    pub(crate) fn beside(self, value: &[u8]) -> Item<'_> {
        let Self { flags, cas, expiry, marks, accessed } = self;
        Item { value: Value::Whole(value), flags, cas, expiry, marks, accessed }
    }
}

/// What the narrow form leaves out: the segment's base, the shard's counter, the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) base: Time,
    pub(crate) version: u64,
    pub(crate) now: Time,
}

/// Where the parts of one item are, counted from its beginning. Small, as it is handed on often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    meta: u8,
    cas_at: u8,
    expiry_len: u8,
    key_at: u8,
    key_len: u16,
    value_len: u32,
}

/// What an access changes in an item's bytes, as it was before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    meta: u8,
    accessed: u32,
}

/// What is between the lengths and the key.
#[derive(Clone, Copy, Debug)]
struct Form {
    len: u8,
    expiry_len: u8,
}

/// By the bits of `meta` from [`EXPIRY`] to [`FLAGS`], with a long narrow expiry and a short one:
/// looked up, as all of it is worked out with every access.
const FORMS: [[Form; FORMS_BY_META]; 2] = [forms(false), forms(true)];
const FORMS_BY_META: usize = 8;

const fn forms(short: bool) -> [Form; FORMS_BY_META] {
    let mut forms = [Form { len: 0, expiry_len: 0 }; FORMS_BY_META];
    let mut at = 0;
    while at < FORMS_BY_META {
        let meta = at as u8 * EXPIRY;
        let expiry_len = match (meta & EXPIRY, meta & WIDE) {
            (0, _) => 0,
            (_, 0) => NARROW[!short as usize],
            _ => WHOLE,
        };
        let flags = if meta & FLAGS == 0 { 0 } else { 4 };
        forms[at] = Form { len: cas_len(meta) + ACCESSED + expiry_len + flags, expiry_len };
        at += 1;
    }
    forms
}

impl Context {
    /// The largest version up to the counter with these lower bits.
    fn whole_cas(self, low: u32) -> u64 {
        complete(self.version, u64::from(low), u32::BITS)
    }

    fn is_narrow(self, fields: &Fields) -> bool {
        self.whole_cas(fields.cas as u32) == fields.cas && fits(fields.expiry, self.base, NARROW[1])
    }
}

impl Layout {
    /// The layout of an item that is to be written.
    pub(crate) fn new(key_len: usize, value_len: usize, fields: &Fields, at: Context) -> Self {
        let value_bytes: u8 = match value_len {
            0..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 3,
        };
        let mut meta = value_bytes;
        for (bit, set) in [
            (EXPIRY, fields.expiry.is_some()),
            (WIDE, !at.is_narrow(fields)),
            (FLAGS, fields.flags != 0),
            (FETCHED, fields.marks.fetched),
            (STALE, fields.marks.stale),
            (WON, fields.marks.won),
        ] {
            meta |= if set { bit } else { 0 };
        }
        let key_bytes = if key_len < usize::from(KEY_LONG) { 1 } else { 3 };
        let cas_at = 1 + key_bytes + value_bytes;
        let short = fits(fields.expiry, at.base, NARROW[0]);
        Self::placed(meta, cas_at, short, (key_len as u16, value_len as u32))
    }

    /// The layout of the item at the beginning of `bytes`.
    #[inline(always)]
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        // No item is shorter, and the lengths are in these bytes of any.
        let head = u64_at(bytes, 0);
        let (meta, key_len) = (head as u8, (head >> 8) as u8);
        if key_len == KEY_LONG {
            return Self::parse_long(bytes, head);
        }
        Self::parsed(bytes, meta, (u16::from(key_len), head >> 16), 2)
    }

    #[cold]
    fn parse_long(bytes: &[u8], head: u64) -> Self {
        Self::parsed(bytes, head as u8, ((head >> 16) as u16, head >> 32), 4)
    }

    /// The layout of an item whose length of the value begins at `at`, with whatever is behind it.
    #[inline(always)]
    fn parsed(bytes: &[u8], meta: u8, (key_len, value_len): (u16, u64), at: u8) -> Self {
        let value_len = value_len & mask(8 * u32::from(meta & VALUE_BYTES));
        let cas_at = at + (meta & VALUE_BYTES);
        let short = meta & (EXPIRY | WIDE) == EXPIRY && {
            let accessed_end = usize::from(cas_at + cas_len(meta) + ACCESSED);
            bytes.get(accessed_end - 1).is_some_and(|last| last & SHORT != 0)
        };
        Self::placed(meta, cas_at, short, (key_len, value_len as u32))
    }

    /// Key and value are no longer than their lengths can be written, and a header no longer than
    /// [`HEADER_MAX`].
    #[inline(always)]
    fn placed(meta: u8, cas_at: u8, short: bool, (key_len, value_len): (u16, u32)) -> Self {
        let form = FORMS[usize::from(short)][usize::from(meta / EXPIRY) % FORMS_BY_META];
        let key_at = cas_at + form.len;
        Self { meta, cas_at, expiry_len: form.expiry_len, key_at, key_len, value_len }
    }

    fn cas_at(self) -> usize {
        usize::from(self.cas_at)
    }

    fn flags_at(self) -> usize {
        self.key_at() - 4
    }

    fn key_at(self) -> usize {
        usize::from(self.key_at)
    }

    /// Where the value begins.
    pub(super) fn value_at(self) -> usize {
        self.key_at() + usize::from(self.key_len)
    }

    /// Bytes from the beginning to the end of the value.
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.value_at() + self.value_len as usize
    }

    /// Bytes of key and value.
    pub(crate) fn payload(self) -> usize {
        usize::from(self.key_len) + self.value_len as usize
    }

    /// The key in the item's bytes.
    #[inline(always)]
    pub(crate) fn key(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.key_at()..self.value_at()]
    }

    /// The value in the item's bytes.
    pub(crate) fn value(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.value_at()..self.len()]
    }

    /// Writes all but the value; returns where that goes.
    pub(crate) fn write<'b>(
        self,
        bytes: &'b mut [u8],
        key: &[u8],
        fields: &Fields,
        at: Context,
    ) -> &'b mut [u8] {
        bytes[0] = self.meta;
        let lengths_at = if self.key_len < u16::from(KEY_LONG) {
            bytes[1] = self.key_len as u8;
            2
        } else {
            bytes[1] = KEY_LONG;
            bytes[2..4].copy_from_slice(&self.key_len.to_le_bytes());
            4
        };
        let value_len = self.value_len.to_le_bytes();
        bytes[lengths_at..self.cas_at()].copy_from_slice(&value_len[..self.cas_at() - lengths_at]);
        self.write_cas(bytes, fields.cas);
        self.write_accessed(bytes, fields.accessed);
        self.write_expiry(bytes, fields.expiry, at.base);
        if self.meta & FLAGS != 0 {
            put(bytes, self.flags_at(), &fields.flags.to_le_bytes());
        }
        put(bytes, self.key_at(), key);
        &mut bytes[self.value_at()..self.len()]
    }

    /// What is written beside key and value.
    #[inline(always)]
    pub(crate) fn fields(self, bytes: &[u8], at: Context) -> Fields {
        self.fields_with(bytes, at, self.accessed(bytes))
    }

    /// What was written there before an access.
    #[inline(always)]
    pub(super) fn fields_before(self, bytes: &[u8], at: Context, before: Before) -> Fields {
        Self { meta: before.meta, ..self }.fields_with(bytes, at, u64::from(before.accessed))
    }

    #[inline(always)]
    fn fields_with(self, bytes: &[u8], at: Context, accessed: u64) -> Fields {
        let wide = self.meta & WIDE != 0;
        let cas = if wide {
            u64_at(bytes, self.cas_at())
        } else {
            at.whole_cas(u32_at(bytes, self.cas_at()))
        };
        let flags = if self.meta & FLAGS == 0 { 0 } else { u32_at(bytes, self.flags_at()) };
        let marks = Marks {
            fetched: self.meta & FETCHED != 0,
            stale: self.meta & STALE != 0,
            won: self.meta & WON != 0,
        };
        let accessed = complete(at.now.millis() / 1000, accessed, ACCESSED_BITS);
        let accessed = Time::from_millis(accessed * 1000);
        Fields { flags, cas, expiry: self.expiry(bytes, at.base), marks, accessed }
    }

    /// The item as it is seen.
    pub(crate) fn seen(self, bytes: &[u8], at: Context) -> Item<'_> {
        self.fields(bytes, at).beside(self.value(bytes))
    }

    /// False if it is for ever.
    pub(crate) fn may_expire(self) -> bool {
        self.meta & EXPIRY != 0
    }

    /// The first moment at which it is dead.
    #[inline(always)]
    pub(crate) fn expiry(self, bytes: &[u8], base: Time) -> Option<Time> {
        let written = match self.expiry_len {
            0 => return None,
            3 => u64::from(u32_at(bytes, self.expiry_at()) & mask(24) as u32),
            4 => u64::from(u32_at(bytes, self.expiry_at())),
            _ => u64_at(bytes, self.expiry_at()),
        };
        let base = if self.expiry_len == WHOLE { Time::default() } else { base };
        (written != never(self.expiry_len)).then(|| base.after(written))
    }

    /// Notes an access in the item's bytes; what they were before.
    #[inline(always)]
    pub(super) fn touch(self, bytes: &mut [u8], now: Time) -> Before {
        if self.meta & FETCHED == 0 {
            bytes[0] = self.meta | FETCHED;
        }
        let accessed = self.accessed(bytes);
        if accessed != (now.millis() / 1000) & mask(ACCESSED_BITS) {
            self.write_accessed(bytes, now);
        }
        Before { meta: self.meta, accessed: accessed as u32 }
    }

    /// Changes what is written to `fields`, if that has room where it is; flags stay.
    pub(crate) fn rewrite(self, bytes: &mut [u8], fields: &Fields, at: Context) -> bool {
        let wide = self.meta & WIDE != 0;
        let no_place = fields.expiry.is_some() && self.meta & EXPIRY == 0;
        if no_place || !(wide || at.is_narrow(fields) && self.has_room_for(fields.expiry, at.base))
        {
            return false;
        }
        let mut meta = self.meta & !(FETCHED | STALE | WON);
        for (bit, set) in
            [(FETCHED, fields.marks.fetched), (STALE, fields.marks.stale), (WON, fields.marks.won)]
        {
            meta |= if set { bit } else { 0 };
        }
        bytes[0] = meta;
        self.write_cas(bytes, fields.cas);
        self.write_expiry(bytes, fields.expiry, at.base);
        true
    }

    fn has_room_for(self, expiry: Option<Time>, base: Time) -> bool {
        self.expiry_len == 0 || fits(expiry, base, self.expiry_len)
    }

    /// Makes the expiry count from another base; false if it does not fit there.
    pub(crate) fn rebase(self, bytes: &mut [u8], expiry: Option<Time>, base: Time) -> bool {
        let fits = self.has_room_for(expiry, base);
        if fits {
            self.write_expiry(bytes, expiry, base);
        }
        fits
    }

    fn accessed_at(self) -> usize {
        self.cas_at() + usize::from(cas_len(self.meta))
    }

    fn expiry_at(self) -> usize {
        self.accessed_at() + usize::from(ACCESSED)
    }

    fn accessed(self, bytes: &[u8]) -> u64 {
        // A key is behind it at least, so that four bytes are there.
        u64::from(u32_at(bytes, self.accessed_at())) & mask(ACCESSED_BITS)
    }

    fn write_accessed(self, bytes: &mut [u8], now: Time) {
        let [low, middle, high, ..] = ((now.millis() / 1000) & mask(ACCESSED_BITS)).to_le_bytes();
        let short = if self.expiry_len == NARROW[0] { SHORT } else { 0 };
        put(bytes, self.accessed_at(), &[low, middle, high | short]);
    }

    fn write_cas(self, bytes: &mut [u8], cas: u64) {
        put(bytes, self.cas_at(), &cas.to_le_bytes()[..usize::from(cas_len(self.meta))]);
    }

    /// Writes an expiry that fits.
    fn write_expiry(self, bytes: &mut [u8], expiry: Option<Time>, base: Time) {
        let base = if self.expiry_len == WHOLE { Time::default() } else { base };
        let written = expiry.map(|at| at.millis().saturating_sub(base.millis()));
        let written = written.unwrap_or_else(|| never(self.expiry_len)).to_le_bytes();
        put(bytes, self.expiry_at(), &written[..usize::from(self.expiry_len)]);
    }
}

/// True if an expiry can be written in so many bytes.
fn fits(expiry: Option<Time>, base: Time, len: u8) -> bool {
    let offset = |at: Time| at.millis().checked_sub(base.millis());
    len == WHOLE || expiry.is_none_or(|at| offset(at).is_some_and(|offset| offset < never(len)))
}

/// Bytes of the version.
const fn cas_len(meta: u8) -> u8 {
    if meta & WIDE == 0 { 4 } else { WHOLE }
}

/// In place of an expiry of so many bytes: none after all.
fn never(len: u8) -> u64 {
    u64::MAX.checked_shr(64 - 8 * u32::from(len)).unwrap_or_default()
}

/// The largest number up to `limit` whose lowest `bits` are `low`; `low` itself if there is none.
fn complete(limit: u64, low: u64, bits: u32) -> u64 {
    let above = limit.wrapping_sub(low) & mask(bits);
    limit.checked_sub(above).unwrap_or(low)
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes[at..at + part.len()].copy_from_slice(part);
}

/// 0 where there is nothing, which is not so within an item.
#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// As [`u32_at`].
#[inline(always)]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_completed_to_the_largest_up_to_the_limit() {
        for limit in 0..600_u64 {
            for low in 0..16 {
                let fitting = (0..=limit).rev().find(|number| number & mask(4) == low);
                assert_eq!(complete(limit, low, 4), fitting.unwrap_or(low), "{low} up to {limit}");
            }
        }
        assert_eq!(complete(u64::MAX, 7, 32), u64::MAX - u64::from(u32::MAX) + 7);
    }
}
