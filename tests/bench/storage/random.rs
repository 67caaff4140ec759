//! Numbers that are the same in every run: a small generator and Zipf's law.

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    /// Another `seed`, other numbers.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// From 0 up to 1, which is left out.
    pub(crate) const fn unit(&mut self) -> f64 {
        unit(self.next())
    }
}

/// A number that looks unrelated to `number`, always the same for the same one.
pub(crate) const fn mixed(number: u64) -> u64 {
    let mut mix = number;
    mix = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mix = (mix ^ (mix >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mix ^ (mix >> 31)
}

/// `number` as a part of all numbers: from 0 up to 1, which is left out.
pub(crate) const fn unit(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

/// Ranks by Zipf's law: the n-th is asked for in proportion to 1 / n^alpha.
pub(crate) struct Zipf {
    /// The probability of a rank up to this one.
    sums: Vec<f64>,
}

impl Zipf {
    /// Of so many ranks; with an `alpha` of 0 all are alike.
    pub(crate) fn new(ranks: usize, alpha: f64) -> Self {
        let mut sums: Vec<f64> = Vec::with_capacity(ranks);
        let mut sum = 0.0;
        for rank in 1..=ranks {
            sum += (rank as f64).powf(-alpha);
            sums.push(sum);
        }
        sums.iter_mut().for_each(|part| *part /= sum);
        Self { sums }
    }

    /// A rank, from 0.
    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        let drawn = random.unit();
        self.sums.partition_point(|sum| *sum <= drawn).min(self.sums.len() - 1)
    }
}
