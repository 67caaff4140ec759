//! Latency histograms: log-linear, one writer, summed when read.
//!
//! A bucket is an octave of nanoseconds cut into 2³ equal parts, so that a recorded value is known
//! to 1/8 of itself over the whole range of `u64` in 496 cells (the layout of HdrHistogram with
//! three significant bits). Recording is two relaxed loads and two relaxed stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// log2 of the parts of an octave.
const PART_BITS: u32 = 3;
/// Parts of an octave; values below it have a bucket each.
const PARTS: u64 = 1 << PART_BITS;
/// Buckets that cover `u64`.
const BUCKETS: usize = (65 - PART_BITS as usize) << PART_BITS;

/// A latency histogram; only one thread may record. A clone is the same histogram.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Cells>);

/// The cells, allocated apart and padded so that two writers share no cache line (or pair of them).
#[derive(Debug)]
#[repr(align(128))]
struct Cells {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// What histograms held when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: Vec<u64>,
    nanos: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = [const { AtomicU64::new(0) }; BUCKETS];
        Self(Arc::new(Cells { buckets, nanos: AtomicU64::new(0) }))
    }
}

impl Histogram {
    /// Records one duration; beyond 584 years it counts as that.
    pub fn record(&self, duration: Duration) {
        self.record_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records one duration given in nanoseconds.
    pub fn record_nanos(&self, nanos: u64) {
        bump(&self.0.buckets[bucket_of(nanos)], 1);
        bump(&self.0.nanos, nanos);
    }
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], nanos: 0 }
    }
}

impl HistogramSnapshot {
    /// Adds what `histogram` holds now.
    pub fn merge(&mut self, histogram: &Histogram) {
        for (sum, cell) in self.buckets.iter_mut().zip(&histogram.0.buckets) {
            *sum += cell.load(Ordering::Relaxed);
        }
        self.nanos = self.nanos.wrapping_add(histogram.0.nanos.load(Ordering::Relaxed));
    }

    /// Durations recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum in nanoseconds, modulo 2⁶⁴.
    pub fn nanos(&self) -> u64 {
        self.nanos
    }

    /// How many are at most `bound` nanoseconds. A bucket that `bound` cuts counts as above it, so
    /// that latencies are never made to look better than they were.
    pub fn at_most(&self, bound: u64) -> u64 {
        let cut = bucket_of(bound);
        let whole = usize::from(upper_bound(cut) == bound);
        self.buckets[..cut + whole].iter().sum()
    }

    /// The duration in nanoseconds that the share `q` (0..=1) does not exceed, rounded up to its
    /// bucket's bound; 0 if nothing was recorded.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = (q.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(bucket);
            }
        }
        0
    }
}

/// Adds to a cell that only this thread writes: no read-modify-write of the bus is needed.
fn bump(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// The bucket of a value: below [`PARTS`] the value itself, then octave and part.
fn bucket_of(value: u64) -> usize {
    if value < PARTS {
        return value as usize;
    }
    let octave = value.ilog2() - PART_BITS;
    (((octave + 1) << PART_BITS) as u64 + ((value >> octave) & (PARTS - 1))) as usize
}

/// The largest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let octave = (bucket >> PART_BITS) - 1;
    let part = PARTS + (bucket & (PARTS - 1));
    (part << octave) + ((1 << octave) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use crate::metrics::histogram::{
        BUCKETS, Histogram, HistogramSnapshot, bucket_of, upper_bound,
    };

    fn snapshot(values: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record_nanos(*value));
        let mut snapshot = HistogramSnapshot::default();
        snapshot.merge(&histogram);
        snapshot
    }

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(upper_bound(bucket)), bucket);
            assert_eq!(bucket_of(upper_bound(bucket) + 1), bucket + 1);
        }
        assert_eq!(upper_bound(BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(snapshot(&[]).quantile(0.99), 0);
    }

    proptest! {
        #[test]
        fn a_value_is_known_to_one_eighth(value in any::<u64>()) {
            let bound = upper_bound(bucket_of(value));
            prop_assert!(bound >= value && bound - value <= value / 8);
        }

        #[test]
        fn counts_are_cumulative_and_complete(
            values in prop::collection::vec(0u64..10_000_000_000, 0..200),
            mut bounds in prop::collection::vec(0u64..10_000_000_000, 1..20),
        ) {
            let snapshot = snapshot(&values);
            bounds.sort_unstable();
            let counts: Vec<u64> = bounds.iter().map(|bound| snapshot.at_most(*bound)).collect();
            prop_assert!(counts.is_sorted());
            for (bound, count) in bounds.iter().zip(&counts) {
                let exact = values.iter().filter(|value| *value <= bound).count() as u64;
                let sure = values.iter().filter(|value| **value <= bound - bound / 8).count() as u64;
                prop_assert!(*count <= exact && *count >= sure);
            }
            prop_assert_eq!(snapshot.at_most(u64::MAX), values.len() as u64);
            prop_assert_eq!(snapshot.count(), values.len() as u64);
            prop_assert_eq!(snapshot.nanos(), values.iter().sum::<u64>());
        }

        #[test]
        fn a_quantile_is_its_value_rounded_up(
            mut values in prop::collection::vec(any::<u64>(), 1..200),
            q in 0.0f64..=1.0,
        ) {
            let quantile = snapshot(&values).quantile(q);
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            prop_assert_eq!(quantile, upper_bound(bucket_of(values[rank - 1])));
        }
    }
}
