//! Where the live servers stand on a ring: the recipes of twemproxy, libmemcached and Wayfair.
//!
//! How many points a server gets is a sum in single precision, rounded at every step as C's `float`
//! rounds it. With more precision 25 equal servers would have 160 points each instead of 156, and
//! every third key another server.

use crate::config::Points;
use crate::routing::hash::{FNV_32_OFFSET, fnv1a_32_from, md5_words};

/// Points of a server of average weight (`KETAMA_POINTS_PER_SERVER`).
const POINTS_PER_SERVER: u32 = 160;
/// Points that one MD5 gives.
const POINTS_PER_MD5: u32 = 4;
/// Bytes of `name-i` that are hashed; what is longer is cut (`KETAMA_MAX_HOSTLEN` less the NUL).
const POINT_TEXT_MAX: usize = 272;
/// Servers for which twemproxy's table has spare room (`KETAMA_CONTINUUM_ADDITION`).
const SPARE_SERVERS: u64 = 10;

/// A live server, as far as a ring needs to know it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its index in the pool's whole list.
    pub(crate) server: u32,
    /// Its node name.
    pub(crate) name: Box<[u8]>,
    /// Its weight; at least 1.
    pub(crate) weight: u32,
}

/// A place on the ring, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The place.
    pub(crate) value: u32,
    /// Index of the server.
    pub(crate) server: u32,
}

/// Points of the weighted ketama ring, server by server (twemproxy, nc_ketama.c:57-205, and
/// libmemcached's `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`): the four words of MD5 of `name-0`,
/// `name-1`, …
pub(crate) fn ketama(members: &[Member]) -> Vec<Point> {
    let total = total_weight(members);
    let mut points = Vec::with_capacity(members.len() * POINTS_PER_SERVER as usize);
    for member in members {
        for i in 0..hashes_due(member, total, members.len(), POINTS_PER_MD5) {
            let words = md5_words(&point_text(member, i));
            points.extend(words.map(|value| Point { value, server: member.server }));
        }
    }
    points
}

/// The text whose MD5 gives four points.
fn point_text(member: &Member, i: u32) -> Vec<u8> {
    let mut text = Vec::with_capacity(member.name.len() + 8);
    text.extend_from_slice(&member.name);
    text.extend_from_slice(format!("-{i}").as_bytes());
    text.truncate(POINT_TEXT_MAX);
    text
}

/// Points of Wayfair's ring, server by server: one FNV-1a state carried on over the name again and
/// again, a point after each turn. `name_cut` bytes of the name count.
///
/// [`Points::Fixed`] is Wayfair's twemproxy: 160 each. [`Points::Weighted`] is its libketama: by
/// weight, and the servers by the bytes of their names, so that the lower name has a shared point.
pub(crate) fn fnv(members: &[Member], points: Points, name_cut: Option<usize>) -> Vec<Point> {
    let total = total_weight(members);
    let mut ordered: Vec<&Member> = members.iter().collect();
    if points == Points::Weighted {
        ordered.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let chain = |member: &Member| {
        let count = match points {
            Points::Fixed => POINTS_PER_SERVER,
            Points::Weighted => hashes_due(member, total, members.len(), 1),
        };
        let cut = name_cut.map_or(member.name.len(), |cut| cut.min(member.name.len()));
        let name = member.name[..cut].to_vec();
        let server = member.server;
        let states = std::iter::successors(Some(FNV_32_OFFSET), move |&state| {
            Some(fnv1a_32_from(state, &name))
        });
        let values = states.skip(1).take(count as usize);
        values.map(move |value| Point { value, server })
    };
    ordered.into_iter().flat_map(chain).collect()
}

/// How many hashes of `points_per_hash` points are due to a server.
///
/// The 1e-10 that the C programs add before they round down is left out: next to any number that it
/// could lift over a whole one, single precision rounds it away.
fn hashes_due(member: &Member, total: f32, members: usize, points_per_hash: u32) -> u32 {
    let part = member.weight as f32 / total;
    let due = part * POINTS_PER_SERVER as f32 / points_per_hash as f32 * members as f32;
    due as u32
}

/// The weight of all members as twemproxy adds it: in 32 bits.
///
/// Weights in bytes overflow that, and twemproxy's answer then still stands as long as the points
/// fit its table. Where they do not, it writes past the table's end, so there is nothing to agree
/// with, and the true sum is taken.
fn total_weight(members: &[Member]) -> f32 {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let wrapped = total as u32;
    let servers = members.len() as u64;
    let needed = u128::from(total) * u128::from(servers);
    let room = u128::from(wrapped) * u128::from(servers + SPARE_SERVERS);
    if needed <= room { wrapped as f32 } else { total as f32 }
}
