//! Requests drawn at random.

use crate::load::Workload;
use crate::load::exchange::check::{Checker, Reply};
use crate::load::exchange::template::Template;

/// A request whose reply is due.
#[derive(Clone, Copy)]
pub(crate) struct Pending {
    /// When it should have been sent, in nanoseconds of the generator's clock.
    pub(crate) due_ns: u64,
    /// The first of its keys; a read of several has those that follow.
    pub(crate) base: u32,
    /// Whether it reads.
    pub(crate) read: bool,
}

/// How the requests of one workload are made and its replies are checked.
pub(crate) struct Recipe {
    keys: u32,
    reads_permille: u32,
    /// One for each size of value.
    forms: Vec<Form>,
    /// The probability of a key up to this one; empty if all are alike.
    skewed: Vec<f64>,
    random: u64,
}

/// The requests and replies for values of one size.
struct Form {
    read: Template,
    write: Template,
    checker: Checker,
}

impl Form {
    fn new(workload: &Workload) -> Self {
        Self {
            read: Template::read(workload),
            write: Template::write(workload),
            checker: Checker::new(workload),
        }
    }
}

/// Bits of a random number: the upper ones, which are the better ones, as many as an `f64` holds.
const RANDOM_BITS: u32 = 53;

impl Recipe {
    /// The recipe of a workload; `seed` tells generators apart that run at the same time.
    pub(crate) fn new(workload: &Workload, seed: u64) -> Self {
        Self {
            keys: workload.keys,
            reads_permille: workload.reads_permille,
            forms: (0..workload.sizes).map(|times| Form::new(&workload.halved(times))).collect(),
            skewed: skewed(workload),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Appends a request drawn at random.
    pub(crate) fn draw(&mut self, out: &mut Vec<u8>, due_ns: u64) -> Pending {
        let read = self.random() % 1000 < u64::from(self.reads_permille);
        let base = self.key();
        let form = self.form(base);
        let template = if read { &form.read } else { &form.write };
        template.stamp(out, base, self.keys);
        Pending { due_ns, base, read }
    }

    fn key(&mut self) -> u32 {
        if self.skewed.is_empty() {
            return (self.random() % u64::from(self.keys)) as u32;
        }
        let drawn = self.unit();
        self.skewed.partition_point(|sum| *sum < drawn).min(self.skewed.len() - 1) as u32
    }

    fn form(&self, key: u32) -> &Form {
        &self.forms[key as usize % self.forms.len()]
    }

    /// Appends the write of one key.
    pub(crate) fn write(&self, out: &mut Vec<u8>, key: u32) -> Pending {
        self.form(key).write.stamp(out, key, self.keys);
        Pending { due_ns: 0, base: key, read: false }
    }

    /// A number in (0, 1], for arrival times.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.random() + 1) as f64 / (1u64 << RANDOM_BITS) as f64
    }

    /// The reply to `pending` at the front of `input`, as [`Checker::check`].
    pub(crate) fn check(&self, input: &[u8], pending: &Pending) -> Option<Reply> {
        self.form(pending.base).checker.check(input, pending)
    }

    /// Marsaglia's xorshift64: cheap, and good enough to spread keys.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> (u64::BITS - RANDOM_BITS)
    }
}

/// The sums of what Zipf's law gives each key.
fn skewed(workload: &Workload) -> Vec<f64> {
    if workload.skew == 0.0 {
        return Vec::new();
    }
    let mut sum = 0.0;
    let parts = (1..=workload.keys).map(|rank| {
        sum += f64::from(rank).powf(-workload.skew);
        sum
    });
    let sums: Vec<f64> = parts.collect();
    sums.iter().map(|part| part / sum).collect()
}
