//! Finds a row of a command table by its name: a hash table that is built at compile time.
//!
//! Open addressing over four bytes of the name and its length; case is folded in the hash, so
//! that one index serves both protocols and the caller says how names compare.

/// Marks a slot without a row.
const EMPTY: u16 = u16::MAX;

/// Names of a table, `SLOTS` (a power of two, at least twice the names) places to find them.
pub(super) struct Names<const NAMES: usize, const SLOTS: usize> {
    names: [&'static str; NAMES],
    slots: [u16; SLOTS],
}

impl<const NAMES: usize, const SLOTS: usize> Names<NAMES, SLOTS> {
    /// Indexes `names`; a table too small or a name twice fails the build.
    pub(super) const fn new(names: [&'static str; NAMES]) -> Self {
        assert!(SLOTS.is_power_of_two() && SLOTS >= 2 * NAMES);
        let mut slots = [EMPTY; SLOTS];
        let mut row = 0;
        while row < NAMES {
            let mut slot = Self::slot(names[row].as_bytes());
            while slots[slot] != EMPTY {
                assert!(!same(names[slots[slot] as usize], names[row]), "a name stands twice");
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = row as u16;
            row += 1;
        }
        Self { names, slots }
    }

    /// Index of the row whose name is `word`, letter by letter.
    pub(super) fn exact(&self, word: &[u8]) -> Option<usize> {
        self.find(word, |name| name == word)
    }

    /// Index of the row whose name is `word` but for the case of its letters.
    pub(super) fn folded(&self, word: &[u8]) -> Option<usize> {
        self.find(word, |name| name.eq_ignore_ascii_case(word))
    }

    #[inline]
    fn find(&self, word: &[u8], same: impl Fn(&[u8]) -> bool) -> Option<usize> {
        if word.is_empty() {
            return None;
        }
        let mut slot = Self::slot(word);
        // Ends at an empty slot: half of them are empty.
        while self.slots[slot] != EMPTY {
            let row = usize::from(self.slots[slot]);
            if same(self.names[row].as_bytes()) {
                return Some(row);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    const fn slot(word: &[u8]) -> usize {
        let len = word.len();
        let (first, last) = (fold(word[0]), fold(word[len - 1]));
        let (middle, third) = (fold(word[len / 2]), fold(word[len / 3]));
        let sum = first * 31 + middle * 131 + third * 1031 + last * 7 + len as u32 * 17;
        // Fibonacci hashing: the upper bits of a product with 2^32 / golden ratio.
        (sum.wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.trailing_zeros())) as usize
    }
}

const fn fold(byte: u8) -> u32 {
    (byte | 0x20) as u32
}

const fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use super::Names;

    static FEW: Names<3, 8> = Names::new(["get", "gets", "set"]);

    #[test]
    fn every_name_is_found_and_nothing_else() {
        assert_eq!(FEW.exact(b"get"), Some(0));
        assert_eq!(FEW.exact(b"gets"), Some(1));
        assert_eq!(FEW.exact(b"set"), Some(2));
        for word in [&b""[..], b"ge", b"getss", b"GET", b"\0", b"\xff\xff\xff"] {
            assert_eq!(FEW.exact(word), None);
        }
    }

    #[test]
    fn case_is_folded_on_request() {
        assert_eq!(FEW.folded(b"GeT"), Some(0));
        assert_eq!(FEW.folded(b"SETS"), None);
    }
}
