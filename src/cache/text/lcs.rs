//! The longest common subsequence of two texts, by the table of all lengths.

/// A range of matching bytes: where it is in the first and in the second text, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) first: (u32, u32),
    pub(crate) second: (u32, u32),
}

impl Match {
    /// Its length in bytes.
    pub(crate) const fn len(self) -> u32 {
        self.first.1 - self.first.0 + 1
    }

    /// Takes the bytes before it, too, if they are these.
    fn extend(&mut self, i: usize, j: usize) -> bool {
        let follows = self.first.0 as usize == i + 1 && self.second.0 as usize == j + 1;
        if follows {
            (self.first.0, self.second.0) = (i as u32, j as u32);
        }
        follows
    }
}

/// What two texts have in common.
#[derive(Debug)]
pub(crate) struct Lcs {
    /// The subsequence.
    pub(crate) text: Vec<u8>,
    /// Its ranges, the last one first.
    pub(crate) matches: Vec<Match>,
}

impl Lcs {
    /// Bytes that the table of two texts of these lengths takes.
    pub(crate) const fn cost(a: usize, b: usize) -> u64 {
        (a as u64 + 1).saturating_mul(b as u64 + 1).saturating_mul(size_of::<u32>() as u64)
    }

    /// Finds it, in the way that Redis chooses among several of one length.
    pub(crate) fn of(a: &[u8], b: &[u8]) -> Self {
        let table = Table::new(a, b);
        let (mut i, mut j) = (a.len(), b.len());
        let mut found = Self { text: Vec::new(), matches: Vec::new() };
        let mut open: Option<Match> = None;
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                found.text.push(a[i]);
                if !open.as_mut().is_some_and(|open| open.extend(i, j)) {
                    found.matches.extend(open);
                    let (at, in_second) = (i as u32, j as u32);
                    open = Some(Match { first: (at, at), second: (in_second, in_second) });
                }
                continue;
            }
            if table.at(i - 1, j) > table.at(i, j - 1) {
                i -= 1
            } else {
                j -= 1
            }
            found.matches.extend(open.take());
        }
        found.matches.extend(open);
        found.text.reverse();
        found
    }
}

/// The length for each pair of beginnings.
struct Table {
    width: usize,
    cells: Vec<u32>,
}

impl Table {
    fn new(a: &[u8], b: &[u8]) -> Self {
        let width = b.len() + 1;
        let mut table = Self { width, cells: vec![0; (a.len() + 1) * width] };
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let longer = if x == y {
                    table.at(i, j) + 1
                } else {
                    table.at(i, j + 1).max(table.at(i + 1, j))
                };
                table.cells[(i + 1) * width + j + 1] = longer;
            }
        }
        table
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }
}

#[cfg(test)]
mod tests {
    use super::{Lcs, Match};

    #[test]
    fn the_example_of_redis_comes_out() {
        let found = Lcs::of(b"ohmytext", b"mynewtext");
        assert_eq!(found.text, b"mytext");
        let last = Match { first: (4, 7), second: (5, 8) };
        assert_eq!(found.matches, [last, Match { first: (2, 3), second: (0, 1) }]);
        assert_eq!(last.len(), 4);
    }

    #[test]
    fn nothing_in_common_is_nothing() {
        for (a, b) in [("", ""), ("a", ""), ("", "a"), ("abc", "xyz")] {
            let found = Lcs::of(a.as_bytes(), b.as_bytes());
            assert!(found.text.is_empty() && found.matches.is_empty());
        }
    }
}
