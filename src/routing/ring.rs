//! The ring: sorted points, and an index that makes finding the next one two memory reads.

use std::sync::Arc;

use crate::routing::points::Point;

/// Points in order of value. A hash belongs to the first point not below it, past the last point to
/// the first.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    points: Arc<[Point]>,
    /// For each value of a hash's top bits: the first point not below the hashes that begin so.
    starts: Arc<[u32]>,
    /// How far right a hash is shifted to give its top bits; below 32.
    shift: u32,
}

impl Ring {
    /// Sorts the points. Of several with one value the one that came first stays first and has the
    /// keys.
    pub(crate) fn new(mut points: Vec<Point>) -> Self {
        points.sort_by_key(|point| point.value);
        let bits = (points.len() * BUCKETS_PER_POINT)
            .next_power_of_two()
            .ilog2()
            .clamp(1, BUCKET_BITS_MAX);
        let shift = u32::BITS - bits;
        let start = |top: u32| {
            let first = top << shift;
            points.partition_point(|point| point.value < first) as u32
        };
        let starts = (0..1 << bits).map(start).collect();
        Self { points: points.into(), starts, shift }
    }

    /// The point that has a hash; `None` only on a ring without points.
    #[inline]
    pub(crate) fn at(&self, hash: u32) -> Option<Point> {
        let start = self.starts[(hash >> self.shift) as usize];
        self.points[start as usize..]
            .iter()
            .find(|point| point.value >= hash)
            .or_else(|| self.points.first())
            .copied()
    }

    /// All points in order of value.
    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }

    /// Adds each server's part of all hashes, 1 in all, to its place in `shares`.
    pub(crate) fn add_shares(&self, shares: &mut [f64]) {
        let Some(last) = self.points.last() else {
            return;
        };
        let mut arcs = vec![0_u64; shares.len()];
        // The first point also has what lies behind the last.
        let mut before = i64::from(last.value) - SPACE;
        for point in self.points.iter() {
            let value = i64::from(point.value);
            arcs[point.server as usize] += value.abs_diff(before);
            before = value;
        }
        for (share, arc) in shares.iter_mut().zip(arcs) {
            *share += arc as f64 / SPACE as f64;
        }
    }
}

/// Hashes there are.
const SPACE: i64 = 1 << 32;
/// So many parts of the hash space per point leave most parts with one point or none. More are
/// hardly faster and take room in the processor's caches: with 2 the index of 100 servers has
/// 128 KiB, as much as its points.
const BUCKETS_PER_POINT: usize = 2;
/// Bounds the index at 4 MiB; more than 500,000 points only make the scan longer.
const BUCKET_BITS_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert_eq, proptest};

    use super::{Point, Ring};

    fn ring(values: &[u32]) -> Ring {
        let points = values.iter().zip(0..);
        Ring::new(points.map(|(&value, server)| Point { value, server }).collect())
    }

    #[test]
    fn a_hash_belongs_to_the_first_point_not_below_it() {
        let ring = ring(&[30, 10, u32::MAX - 1, 20, 10]);
        let owner = |hash| ring.at(hash).map(|point| point.server);
        assert_eq!(owner(0), Some(1));
        assert_eq!(owner(10), Some(1), "the first of two on one point");
        assert_eq!(owner(11), Some(3));
        assert_eq!(owner(21), Some(0));
        assert_eq!(owner(31), Some(2));
        assert_eq!(owner(u32::MAX), Some(1), "past the end");
    }

    #[test]
    fn a_ring_without_points_has_nobody() {
        assert_eq!(ring(&[]).at(7), None);
    }

    #[test]
    fn shares_are_the_arcs_before_the_points() {
        let mut shares = [0.0; 2];
        ring(&[0x4000_0000, 0xc000_0000]).add_shares(&mut shares);
        assert_eq!(shares, [0.5, 0.5]);
        let mut shares = [0.0; 3];
        ring(&[0, 0x8000_0000, 0x8000_0000]).add_shares(&mut shares);
        assert_eq!(shares, [0.5, 0.5, 0.0]);
        let mut shares = [0.0];
        ring(&[9]).add_shares(&mut shares);
        assert_eq!(shares, [1.0]);
    }

    proptest! {
        /// Clusters of points and hashes close to them, which an index by top bits could get wrong.
        #[test]
        fn the_index_finds_what_a_plain_search_finds(
            spread in prop::collection::vec(any::<u32>(), 1..300),
            close in prop::collection::vec(0_u32..64, 0..50),
            hashes in prop::collection::vec(any::<u32>(), 50),
        ) {
            let values: Vec<u32> = spread.iter().chain(&close).copied().collect();
            let ring = ring(&values);
            let near = values.iter().flat_map(|v| [v.wrapping_sub(1), *v, v.wrapping_add(1)]);
            for hash in near.chain(hashes) {
                let points = ring.points();
                let plain = points.iter().find(|p| p.value >= hash).unwrap_or(&points[0]);
                prop_assert_eq!(ring.at(hash), Some(*plain));
            }
        }
    }
}
