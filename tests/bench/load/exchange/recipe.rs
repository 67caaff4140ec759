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
    read: Template,
    write: Template,
    checker: Checker,
    random: u64,
}

/// Bits of a random number: the upper ones, which are the better ones, as many as an `f64` holds.
const RANDOM_BITS: u32 = 53;

impl Recipe {
    /// The recipe of a workload; `seed` tells generators apart that run at the same time.
    pub(crate) fn new(workload: &Workload, seed: u64) -> Self {
        Self {
            keys: workload.keys,
            reads_permille: workload.reads_permille,
            read: Template::read(workload),
            write: Template::write(workload),
            checker: Checker::new(workload),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Appends a request drawn at random.
    pub(crate) fn draw(&mut self, out: &mut Vec<u8>, due_ns: u64) -> Pending {
        let read = self.random() % 1000 < u64::from(self.reads_permille);
        let base = (self.random() % u64::from(self.keys)) as u32;
        let template = if read { &self.read } else { &self.write };
        template.stamp(out, base, self.keys);
        Pending { due_ns, base, read }
    }

    /// Appends the write of one key.
    pub(crate) fn write(&self, out: &mut Vec<u8>, key: u32) -> Pending {
        self.write.stamp(out, key, self.keys);
        Pending { due_ns: 0, base: key, read: false }
    }

    /// A number in (0, 1], for arrival times.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.random() + 1) as f64 / (1u64 << RANDOM_BITS) as f64
    }

    /// The reply to `pending` at the front of `input`, as [`Checker::check`].
    pub(crate) fn check(&self, input: &[u8], pending: &Pending) -> Option<Reply> {
        self.checker.check(input, pending)
    }

    /// Marsaglia's xorshift64: cheap, and good enough to spread keys.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> (u64::BITS - RANDOM_BITS)
    }
}
