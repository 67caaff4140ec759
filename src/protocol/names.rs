//! Finds a row of a command table by its name: a hash table that is built at compile time.
//!
//! Open addressing. Case is folded in the hash, so that one index serves both protocols and the
//! caller says how names compare. A short name, as nearly all that are asked for, is one number;
//! of a long one four bytes and the length are hashed.

/// Marks a slot without a row.
const EMPTY: u16 = u16::MAX;

/// Names of a table, `SLOTS` (a power of two, at least twice the names) places to find them.
pub(super) struct Names<const NAMES: usize, const SLOTS: usize> {
    names: [&'static str; NAMES],
    /// The names as [`packed`] has them; 0 for one that must be looked at byte by byte.
    short: [u64; NAMES],
    slots: [u16; SLOTS],
}

impl<const NAMES: usize, const SLOTS: usize> Names<NAMES, SLOTS> {
    /// Indexes `names`; a table too small or a name twice fails the build.
    pub(super) const fn new(names: [&'static str; NAMES]) -> Self {
        assert!(SLOTS.is_power_of_two() && SLOTS >= 2 * NAMES);
        let (mut slots, mut short) = ([EMPTY; SLOTS], [0; NAMES]);
        let mut row = 0;
        while row < NAMES {
            let name = names[row].as_bytes();
            let mut slot = Self::slot(packed(name), name);
            while slots[slot] != EMPTY {
                assert!(!same(names[slots[slot] as usize], names[row]), "a name stands twice");
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = row as u16;
            if is_of_letters(name) {
                short[row] = packed(name);
            }
            row += 1;
        }
        Self { names, short, slots }
    }

    /// Index of the row whose name is `word`, letter by letter.
    #[inline]
    pub(super) fn exact(&self, word: &[u8]) -> Option<usize> {
        self.find(word, u64::MAX, |name| name == word)
    }

    /// Index of the row whose name is `word` but for the case of its letters.
    #[inline]
    pub(super) fn folded(&self, word: &[u8]) -> Option<usize> {
        self.find(word, !CASE, |name| name.eq_ignore_ascii_case(word))
    }

    /// `looked_at`: the bits of a short name that count; `same`: how all others compare.
    #[inline]
    fn find(&self, word: &[u8], looked_at: u64, same: impl Fn(&[u8]) -> bool) -> Option<usize> {
        if word.is_empty() {
            return None;
        }
        let short = packed(word);
        let mut slot = Self::slot(short, word);
        // Ends at an empty slot: half of them are empty.
        while self.slots[slot] != EMPTY {
            let row = usize::from(self.slots[slot]);
            let is_it = match self.short[row] {
                0 => same(self.names[row].as_bytes()),
                name => (name ^ short) & looked_at == 0,
            };
            if is_it {
                return Some(row);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    #[inline]
    const fn slot(short: u64, word: &[u8]) -> usize {
        let sum = if short == 0 { sample(word) } else { short & !CASE };
        // Fibonacci hashing: the upper bits of a product with 2^64 / golden ratio.
        (sum.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.trailing_zeros())) as usize
    }
}

/// A number of four bytes of a name and its length.
const fn sample(word: &[u8]) -> u64 {
    let len = word.len();
    let (first, last) = (fold(word[0]), fold(word[len - 1]));
    let (middle, third) = (fold(word[len / 2]), fold(word[len / 3]));
    first * 31 + middle * 131 + third * 1031 + last * 7 + len as u64 * 17
}

/// What upper and lower case tell apart, of every byte that [`packed`] has of a name.
const CASE: u64 = 0x0020_2020_2020_2020;

/// A name of up to seven bytes, its length in the highest byte; 0 for a longer one.
#[inline]
const fn packed(word: &[u8]) -> u64 {
    let len = word.len();
    let (first, last) = match len {
        4..=7 => {
            let last = [word[len - 4], word[len - 3], word[len - 2], word[len - 1]];
            (u32::from_le_bytes([word[0], word[1], word[2], word[3]]), u32::from_le_bytes(last))
        }
        1..=3 => (u32::from_le_bytes([word[0], word[len / 2], word[len - 1], 0]), 0),
        _ => return 0,
    };
    // The first of the last four is among the first four.
    first as u64 | (last as u64 >> 8) << 32 | (len as u64) << 56
}

/// Whether a name has letters alone: of other bytes `CASE` tells more than their case.
const fn is_of_letters(mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = name {
        if !first.is_ascii_alphabetic() {
            return false;
        }
        name = rest;
    }
    true
}

const fn fold(byte: u8) -> u64 {
    (byte | 0x20) as u64
}

const fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use super::Names;

    static FEW: Names<6, 16> = Names::new(["get", "gets", "set", "prepend", "eval_ro", "getrange"]);

    #[test]
    fn every_name_is_found_and_nothing_else() {
        for (row, name) in FEW.names.iter().enumerate() {
            assert_eq!(FEW.exact(name.as_bytes()), Some(row));
        }
        for word in [&b""[..], b"ge", b"getss", b"GET", b"\0", b"\xff\xff\xff", b"getrang"] {
            assert_eq!(FEW.exact(word), None);
        }
    }

    #[test]
    fn no_name_is_found_by_another_byte() {
        for name in FEW.names.map(str::as_bytes) {
            for (at, byte) in (0..name.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut word = name.to_vec();
                word[at] = byte;
                let known = |same: fn(&[u8], &[u8]) -> bool| {
                    FEW.names.iter().position(|name| same(name.as_bytes(), &word))
                };
                assert_eq!(FEW.exact(&word), known(|a, b| a == b));
                assert_eq!(FEW.folded(&word), known(<[u8]>::eq_ignore_ascii_case));
            }
        }
    }

    #[test]
    fn case_is_folded_on_request() {
        assert_eq!(FEW.folded(b"GeT"), Some(0));
        assert_eq!(FEW.folded(b"EvAl_rO"), Some(4));
        assert_eq!(FEW.folded(b"SETS"), None);
    }
}
