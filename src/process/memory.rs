//! What the process takes beside the items of its stores, and what is left for these.
//!
//! `memory:` is what an operator has for the process, so what it needs for itself comes off. The
//! buffers of clients are not in here: they borrow from the store while they are large.

use std::fs;

use nix::sys::prctl::set_thp_disable;

use super::cgroup;
use super::stores::memory_of_stores;
use crate::config::Config;

/// Resident in a process under load beside items, index and buffers: its program, and what threads,
/// tables and the allocator's slack take (with two workers 8.5 MiB and up to 11.8 MiB were seen, the
/// latter for moments of ten minutes of full load).
const OWN: u64 = 22 << 20;
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

/// Sees at the start to how the system counts, and to whom it gives what.
pub(super) fn settle(config: &Config) {
    count_by_the_page();
    warn_of_limit(config);
}

/// Has the system count what is used to the page: a huge page of which one byte is used would be
/// resident as a whole.
fn count_by_the_page() {
    let always = fs::read_to_string(HUGE_PAGES).is_ok_and(|modes| modes.contains("[always]"));
    if always && let Err(error) = set_thp_disable(true) {
        tracing::warn!(%error, "huge pages stay on: the process may take more than its memory");
    }
}

/// Tells who has allowed the process more than it is given.
fn warn_of_limit(config: &Config) {
    let (most, limit) = (most(config) >> 20, cgroup::memory_max().map(|limit| limit >> 20));
    if let Some(limit) = limit.filter(|limit| *limit < most) {
        tracing::warn!(
            "the process may take {most} MiB by its configuration (buffers, near caches, stores, \
             itself), and is killed for more than the {limit} MiB of its control group"
        );
    }
}

/// Bytes that a configuration allows the process, to the tolerance. What is a cache has the buffers
/// of its clients in its memory.
fn most(config: &Config) -> u64 {
    let near = config.pools.iter().filter_map(|pool| pool.near_cache.as_ref());
    let near: u64 = near.map(|near| near.memory).sum();
    let proxies = config.pools.iter().any(|pool| pool.cache.is_none());
    let beside = if proxies { config.buffers + OWN } else { 0 };
    beside.saturating_add(near).saturating_add(memory_of_stores(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_allows_is_buffers_near_caches_and_each_store_once() {
        let most_of = |text: &str| most(&crate::config::parse(text, "test", false).unwrap()) >> 20;
        let cache = "{ listen: '127.0.0.1:0', protocol: redis, memory: 256MiB, store: one }";
        assert_eq!(most_of(&format!("pools: {{ a: {cache}, b: {cache} }}")), 256);
        let near = "{ memory: 64MiB }";
        let proxy = format!(
            "{{ listen: '127.0.0.1:0', protocol: redis, servers: ['127.0.0.1:1:1'], near_cache: {near} }}"
        );
        let own = OWN >> 20;
        assert_eq!(most_of(&format!("buffers: 32MiB\npools: {{ a: {proxy} }}")), 96 + own);
        let both = format!("buffers: 32MiB\npools: {{ a: {proxy}, b: {cache} }}");
        assert_eq!(most_of(&both), 352 + own);
    }

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
