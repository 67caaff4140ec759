//! What the process takes beside the items of its stores, and what is left for these.
//!
//! `memory:` is what an operator has for the process, so what it needs for itself comes off. The
//! buffers of clients are not in here: they borrow from the store while they are large.

use std::fs;

use nix::sys::prctl::set_thp_disable;

/// Resident in a process under load beside items, index and buffers: its program, and what threads,
/// tables and the allocator's slack take (with two workers 5 MiB and up to 13.5 MiB were seen).
const OWN: u64 = 20 << 20;
/// Of that for each worker beyond two.
const WORKER: u64 = 512 << 10;
const WORKERS_INCLUDED: usize = 2;

/// Percent by which the process may exceed its memory.
const TOLERANCE: u64 = 5;

/// The part of its memory that a store has at least.
const LEAST_PART: u64 = 2;

/// Where Linux says whether it gives huge pages to those who have not asked.
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// What one store may take of its `memory`, where all stores have `total` together.
pub(super) fn for_items(memory: u64, total: u64, workers: usize) -> u64 {
    let more = workers.saturating_sub(WORKERS_INCLUDED) as u64;
    let own = (OWN + more * WORKER).saturating_sub(total * TOLERANCE / 100);
    let part = u128::from(own) * u128::from(memory) / u128::from(total.max(1));
    memory.saturating_sub(part as u64).max(memory / LEAST_PART)
}

/// Has the system count what is used to the page: a huge page of which one byte is used would be
/// resident as a whole.
pub(super) fn count_by_the_page() {
    let always = fs::read_to_string(HUGE_PAGES).is_ok_and(|modes| modes.contains("[always]"));
    if always && let Err(error) = set_thp_disable(true) {
        tracing::warn!(%error, "huge pages stay on: the process may take more than its memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_and_its_stores_fit_into_their_memory_and_the_tolerance() {
        for (memory, total, workers) in
            [(64 << 20, 64 << 20, 2), (96 << 20, 128 << 20, 4), (1 << 30, 1 << 30, 64)]
        {
            let items = for_items(memory, total, workers);
            let own = OWN + (workers as u64 - 2) * WORKER;
            let (all, limit) = (items + own * memory / total, memory + memory / 20);
            assert!(all <= limit + 1 && items <= memory, "{all} of {limit}");
            assert!(items == memory || all + 2 > limit, "{all} of {limit}: too little");
        }
    }

    #[test]
    fn little_memory_is_shared_by_halves() {
        assert_eq!(for_items(4 << 20, 4 << 20, 2), 2 << 20);
    }
}
