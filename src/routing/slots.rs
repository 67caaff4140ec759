//! The distributions without a ring: modula and random.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::routing::points::Member;

/// modula: as many slots as a server has weight, servers in order; a hash modulo their number is
/// its slot.
///
/// twemproxy writes the slots out (nc_modula.c:29-133); here each server has the end of its run.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    /// (first slot after the server's own, server), in order.
    runs: Arc<[(u64, u32)]>,
}

impl Slots {
    /// Deals slots to the members in order.
    pub(crate) fn new(members: &[Member]) -> Self {
        let run = |end: &mut u64, member: &Member| {
            *end += u64::from(member.weight);
            Some((*end, member.server))
        };
        Self { runs: members.iter().scan(0, run).collect() }
    }

    /// The server that has a hash; `None` only if there are no members.
    #[inline]
    pub(crate) fn at(&self, hash: u32) -> Option<u32> {
        let &(total, _) = self.runs.last()?;
        let slot = u64::from(hash) % total;
        let at = self.runs.partition_point(|&(end, _)| end <= slot);
        self.runs.get(at).map(|&(_, server)| server)
    }

    /// Adds each server's part of all slots, 1 in all, to its place in `shares`.
    pub(crate) fn add_shares(&self, shares: &mut [f64]) {
        let total = self.runs.last().map_or(0, |&(end, _)| end);
        let mut before = 0;
        for &(end, server) in self.runs.iter() {
            shares[server as usize] += (end - before) as f64 / total as f64;
            before = end;
        }
    }
}

/// random: any member, weights ignored, a new draw for each question.
#[derive(Debug)]
pub(crate) struct Random {
    servers: Arc<[u32]>,
    /// The number of draws, scaled. Shared by all who ask; nothing else hangs on its order.
    state: AtomicU64,
}

impl Clone for Random {
    /// One that draws for itself, so that threads do not contend.
    fn clone(&self) -> Self {
        let state = AtomicU64::new(self.state.load(Ordering::Relaxed));
        Self { servers: Arc::clone(&self.servers), state }
    }
}

impl Random {
    /// Starts the draws anew.
    pub(crate) fn new(members: &[Member]) -> Self {
        Self {
            servers: members.iter().map(|member| member.server).collect(),
            state: AtomicU64::new(0),
        }
    }

    /// A member; `None` only if there are none. The generator is splitmix64 (Steele, Lea, Flood,
    /// OOPSLA 2014).
    pub(crate) fn draw(&self) -> Option<u32> {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.state.fetch_add(STEP, Ordering::Relaxed);
        let mut z = state.wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The high half of the product is spread evenly over 0..len, without a division.
        let at = (u128::from(z) * self.servers.len() as u128) >> 64;
        self.servers.get(at as usize).copied()
    }

    /// Adds each server's part of all draws, 1 in all, to its place in `shares`.
    pub(crate) fn add_shares(&self, shares: &mut [f64]) {
        for &server in self.servers.iter() {
            shares[server as usize] += 1.0 / self.servers.len() as f64;
        }
    }
}
