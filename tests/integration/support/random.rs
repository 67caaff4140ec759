//! Random numbers that are the same ones each time.

/// Numbers from a seed that is not 0 (Marsaglia's xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// One of `0..end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    /// One of these.
    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}
