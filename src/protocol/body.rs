//! The data of a value whose length was declared, read without being kept.

/// Bytes of data, and the CRLF after them, that are still to come.
#[derive(Debug, Default)]
pub(super) struct Body {
    left: u64,
}

/// The data was not followed by CRLF where its declared length ends.
pub(super) struct BadEnd;

impl Body {
    /// Data of `len` bytes comes next; `None` if no number holds it and its CRLF.
    pub(super) fn of(len: u64) -> Option<Self> {
        Some(Self { left: len.checked_add(2)? })
    }

    /// Whether there is more to come.
    pub(super) const fn is_open(&self) -> bool {
        self.left > 0
    }

    /// Takes of `bytes` what belongs to the body; how many that are.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, BadEnd> {
        let mut used = self.left.saturating_sub(2).min(bytes.len() as u64) as usize;
        self.left -= used as u64;
        while let (1..=2, Some(byte)) = (self.left, bytes.get(used)) {
            if *byte != if self.left == 2 { b'\r' } else { b'\n' } {
                return Err(BadEnd);
            }
            used += 1;
            self.left -= 1;
        }
        Ok(used)
    }
}
