//! What a cache server keeps: hits of a client that stores what it misses, and items in all.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::peers::{Failure, pause};
use crate::stage::Stage;
use crate::wire::Protocol;

use super::server::{Program, Server};
use super::wire::{Reply, Request, Wire};
use super::{Figures, Past};

/// Keys that are asked for, by Zipf's law with exponent 1.
const KEYS: u32 = 1_000_000;

/// Requests; the first half fills the cache, the second is counted.
const REQUESTS: u32 = 2_000_000;

/// Requests sent together.
const BATCH: u32 = 64;

/// Requests a second where items expire, so that time means the same for all.
const PER_SECOND: f64 = 50_000.0;

/// What ours gets for hits; what it then has resident the others may have as well.
const HIT_MEMORY_BYTES: u64 = 64 << 20;

/// Attempts to give the others as much, and how near is near enough.
const ATTEMPTS: usize = 4;
const NEAR_PERCENT: u64 = 2;

/// What all get for many small items.
const ITEM_MEMORY_BYTES: u64 = 256 << 20;

/// Small items that are stored: more than any of them keeps.
const ITEMS: u32 = 6_000_000;

/// One item of so many is looked for.
const LOOK_EVERY: u32 = 16;

/// The hits of a hundred reads, at as much resident memory as ours has had.
///
/// # Errors
/// What keeps it from being measured.
pub(super) fn hits(
    program: Program,
    expiring: bool,
    past: &Past<'_>,
    twinring: &Path,
    stage: &Stage,
) -> Result<Figures, Failure> {
    // What was found out for one of these rows holds for the other.
    let known = past.memory_of(program);
    let mut memory_bytes = known.unwrap_or(HIT_MEMORY_BYTES);
    let mut figures = None;
    for _ in 0..known.map_or(ATTEMPTS, |_| 1) {
        let server =
            program.start(Protocol::Memcache, memory_bytes, twinring, stage.last_core())?;
        let value = look_aside(&server, expiring)?;
        let resident_bytes = server.resident_bytes()?;
        figures = Some(Figures { value, memory_bytes, resident_bytes });
        let wanted = match past.resident_of_ours() {
            Some(wanted) if program != Program::Twinring => wanted,
            _ => break,
        };
        if wanted.abs_diff(resident_bytes) * 100 <= wanted * NEAR_PERCENT {
            break;
        }
        memory_bytes = (memory_bytes + wanted).saturating_sub(resident_bytes).max(8 << 20);
    }
    figures.ok_or_else(|| "not measured".into())
}

/// Reads, and stores what was missed, batch by batch; the hits of a hundred reads counted.
fn look_aside(server: &Server, expiring: bool) -> Result<f64, Failure> {
    let client = Aside::connect(server.port, server.protocol)?;
    let mut client = Aside { paced: expiring.then(Instant::now), ..client };
    client.hits(REQUESTS / 2)?;
    client.hits(REQUESTS / 2)
}

/// A client that stores what it misses.
pub(crate) struct Aside {
    wire: Wire,
    keys: Keys,
    /// Requests so far.
    asked: u32,
    /// Items expire, so that time must mean the same for all: since when it runs.
    paced: Option<Instant>,
}

impl Aside {
    pub(crate) fn connect(port: u16, protocol: Protocol) -> Result<Self, Failure> {
        let wire = Wire::connect(port, protocol == Protocol::Redis)?;
        Ok(Self { wire, keys: Keys::new(), asked: 0, paced: None })
    }

    /// Goes on at another port.
    pub(crate) fn turn_to(&mut self, port: u16) -> Result<(), Failure> {
        self.wire = Wire::connect(port, false)?;
        Ok(())
    }

    /// The hits of a hundred of the next `reads` reads.
    pub(crate) fn hits(&mut self, reads: u32) -> Result<f64, Failure> {
        let batches = reads / BATCH;
        let mut missed = 0;
        for _ in 0..batches {
            missed += self.batch()?;
        }
        Ok(100.0 - f64::from(missed) * 100.0 / f64::from(batches * BATCH))
    }

    /// Reads some keys and stores those that were missed; how many.
    fn batch(&mut self) -> Result<u32, Failure> {
        let wanted: Vec<u32> = (0..BATCH).map(|_| self.keys.draw()).collect();
        let gets: Vec<Request> =
            wanted.iter().map(|key| Request::Get { key: name(*key) }).collect();
        let replies = exchange(&mut self.wire, &gets)?;
        let missed: Vec<Request> = wanted
            .iter()
            .zip(&replies)
            .filter(|(_, reply)| **reply == Reply::Missing)
            .map(|(key, _)| store(*key, self.paced.is_some()))
            .collect();
        exchange(&mut self.wire, &missed)?;
        if let Some(start) = self.paced {
            let due = Duration::from_secs_f64(f64::from(self.asked) / PER_SECOND);
            pause(due.saturating_sub(start.elapsed()));
        }
        self.asked += BATCH;
        Ok(missed.len() as u32)
    }
}

/// Millions of items of 24-byte keys and 32-byte values that are there when more were stored.
///
/// # Errors
/// What keeps it from being measured.
pub(super) fn items(program: Program, twinring: &Path, stage: &Stage) -> Result<Figures, Failure> {
    let cores = stage.last_core();
    let server = program.start(Protocol::Memcache, ITEM_MEMORY_BYTES, twinring, cores)?;
    let mut wire = Wire::connect(server.port, server.protocol == Protocol::Redis)?;
    let value = vec![b'v'; 32];
    for first in (0..ITEMS).step_by(BATCH as usize) {
        let sets = (first..first + BATCH).map(|number| Request::Set {
            key: name(number),
            value: value.clone(),
            ttl_seconds: None,
        });
        exchange(&mut wire, &sets.collect::<Vec<_>>())?;
    }
    let mut found = 0;
    let looked: Vec<u32> = (0..ITEMS).step_by(LOOK_EVERY as usize).collect();
    for some in looked.chunks(BATCH as usize) {
        let gets: Vec<_> = some.iter().map(|key| Request::Get { key: name(*key) }).collect();
        let replies = exchange(&mut wire, &gets)?;
        found += replies.iter().filter(|reply| **reply != Reply::Missing).count();
    }
    let value = found as f64 * f64::from(LOOK_EVERY) / 1e6;
    Ok(Figures { value, memory_bytes: ITEM_MEMORY_BYTES, resident_bytes: server.resident_bytes()? })
}

/// Sends requests by one write and takes their replies.
fn exchange(wire: &mut Wire, requests: &[Request]) -> Result<Vec<Reply>, Failure> {
    wire.send(requests.iter())?;
    let replies: Result<Vec<_>, String> =
        requests.iter().map(|request| wire.reply(request)).collect();
    Ok(replies?)
}

/// A key of 24 bytes.
fn name(key: u32) -> String {
    format!("cache-benchmark:{key:08x}")
}

/// The write of a key: its value's size is exponential around 230 bytes; if items expire, a third
/// each lives for 2 s, 20 s and an hour.
fn store(key: u32, expiring: bool) -> Request {
    let drawn = mixed(u64::from(key));
    let unit = ((drawn >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let bytes = (-unit.ln() * 230.0).clamp(16.0, 4000.0) as usize;
    let ttl_seconds = expiring.then(|| [2, 20, 3600][(drawn % 3) as usize]);
    Request::Set { key: name(key), value: vec![b'v'; bytes], ttl_seconds }
}

/// Keys by Zipf's law, the same ones in every run.
struct Keys {
    sums: Vec<f64>,
    drawn: u64,
}

impl Keys {
    fn new() -> Self {
        let mut sum = 0.0;
        let sums = (1..=KEYS).map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        });
        Self { sums: sums.collect(), drawn: 0 }
    }

    fn draw(&mut self) -> u32 {
        self.drawn += 1;
        let unit = (mixed(self.drawn ^ 0x5eed_0000_0000) >> 11) as f64 / (1_u64 << 53) as f64;
        let all = self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum <= unit * all).min(self.sums.len() - 1) as u32
    }
}

/// A number that looks unrelated to `number`: the end of SplitMix64.
fn mixed(number: u64) -> u64 {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mix = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mix = (mix ^ (mix >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mix ^ (mix >> 31)
}
