//! Hit ratio against memory size: the store beside what an ideal cache would reach.
//!
//! ```text
//!  workload ─▶ for each memory size: store │ LRU │ FIFO │ optimum ─▶ a line of the file
//!                look-aside: a read that misses is followed by a put
//! ```
//! * [`workload`]: requests from Zipf's law and from the figures of real caches; [`trace`]: from a
//!   file,
//! * [`ideal`]: LRU, FIFO and the optimum, which need no memory beside keys and values,
//! * [`real`]: the store.

mod ideal;
mod real;
mod trace;
mod workload;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use ideal::{Ideal, Order};
use real::Real;
use workload::{Request, Workload};

/// Memory sizes of a workload; the last has room for all its objects.
const SIZES: usize = 8;

/// The smallest size: a store takes more than it is told if that is next to nothing.
const LEAST: u64 = 1 << 20;

/// Who is compared.
const POLICIES: &[(&str, Option<Order>)] = &[
    ("twinring", None),
    ("LRU", Some(Order::Access)),
    ("FIFO", Some(Order::Arrival)),
    ("optimum", Some(Order::Need)),
];

/// A cache that is looked into before something else is.
trait Cache {
    /// True for a hit. `nth` is the number of the request.
    fn read(&mut self, nth: usize, request: &Request) -> bool;

    /// Stores the object of the request.
    fn put(&mut self, nth: usize, request: &Request);
}

/// Writes the hit ratios of all workloads that are chosen by name to `path`.
///
/// # Errors
/// Those of the files.
pub(crate) fn run(path: &Path, is_chosen: &dyn Fn(&str) -> bool) -> io::Result<()> {
    let mut lines = "workload,policy,memory_bytes,reads,hits,hit_ratio\n".to_owned();
    for (name, make) in workload::all() {
        if is_chosen(name) {
            lines += &compare(&make());
        }
    }
    if let Some(path) = env::var_os("TRACE") {
        let workload = trace::load(Path::new(&path))?;
        if is_chosen(&workload.name) {
            lines += &compare(&workload);
        }
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, lines)
}

/// The lines of one workload.
fn compare(workload: &Workload) -> String {
    let all = workload.bytes();
    crate::say(&format!("{}: {} requests, {all} bytes", workload.name, workload.requests.len()));
    let sizes = sizes(all);
    let jobs: Vec<_> =
        POLICIES.iter().flat_map(|policy| sizes.map(move |size| (policy, size))).collect();
    let scores = in_parallel(&jobs, |((_, order), size)| match order {
        None => replay(&mut Real::new(workload, *size), workload),
        Some(order) => replay(&mut Ideal::new(*order, workload, *size), workload),
    });
    let mut lines = String::new();
    for (((policy, _), size), Score { reads, hits }) in jobs.iter().zip(scores) {
        let (name, ratio) = (&workload.name, hits as f64 / reads as f64);
        // Writing to a string does not fail.
        _ = writeln!(lines, "{name},{policy},{size},{reads},{hits},{ratio:.4}");
    }
    lines
}

/// From a 128th of `all` to all of it, each as many times the one before.
fn sizes(all: u64) -> [u64; SIZES] {
    let least = (all >> (SIZES - 1)).max(LEAST).min(all);
    let step = (all as f64 / least as f64).powf(1.0 / (SIZES - 1) as f64);
    let mut sizes = [all; SIZES];
    for (nth, size) in sizes.iter_mut().enumerate().take(SIZES - 1) {
        *size = (least as f64 * step.powi(nth as i32)).round() as u64;
    }
    sizes
}

/// Does `work` on all jobs, on all cores; what came of them, in their order.
fn in_parallel<T: Sync>(jobs: &[T], work: impl Fn(&T) -> Score + Sync) -> Vec<Score> {
    let next = AtomicUsize::new(0);
    let scores = Mutex::new(vec![Score::default(); jobs.len()]);
    let take = || {
        while let Some((number, job)) = numbered(jobs, next.fetch_add(1, Ordering::Relaxed)) {
            let score = work(job);
            scores.lock().unwrap_or_else(PoisonError::into_inner)[number] = score;
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(take)));
    scores.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn numbered<T>(jobs: &[T], number: usize) -> Option<(usize, &T)> {
    jobs.get(number).map(|job| (number, job))
}

/// What came of the reads that are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Score {
    reads: u64,
    hits: u64,
}

/// All requests in order; the first half fills the cache and is not counted.
fn replay(cache: &mut impl Cache, workload: &Workload) -> Score {
    let warm = workload.requests.len() / 2;
    let mut score = Score::default();
    for (nth, request) in workload.requests.iter().enumerate() {
        let hit = look_aside(cache, nth, request);
        if nth >= warm && !request.write {
            score.reads += 1;
            score.hits += u64::from(hit);
        }
    }
    score
}

fn look_aside(cache: &mut impl Cache, nth: usize, request: &Request) -> bool {
    let hit = !request.write && cache.read(nth, request);
    if !hit {
        cache.put(nth, request);
    }
    hit
}

/// The textbooks' string of references, for three objects of room.
const REFERENCES: [u32; 20] = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];

/// What misses by it. The textbooks' optimum has 9: a page that is asked for must come in there.
const MISSES: [(Order, usize); 3] = [(Order::Access, 12), (Order::Arrival, 15), (Order::Need, 8)];

/// Holds the ideal caches against the textbooks, and against objects that expire.
///
/// # Errors
/// Says which of them is wrong.
pub(crate) fn selfcheck() -> io::Result<()> {
    for (order, expected) in MISSES {
        check(order, "misses", misses(order, 3, 0), expected)?;
        // One request a second: an object is found if it comes back two seconds after it was
        // stored, but not three.
        check(order, "misses with expiry", misses(order, 9, 3_000), 17)?;
    }
    Ok(())
}

fn misses(order: Order, room: u64, ttl_ms: u32) -> usize {
    let requests = REFERENCES.iter().zip(0..).map(|(object, nth)| Request {
        object: *object,
        bytes: 1,
        ttl_ms,
        next: workload::NEVER,
        next_ms: u64::MAX,
        at_ms: nth * 1000,
        write: false,
    });
    let workload = Workload::new(String::new(), 0, requests.collect());
    let mut cache = Ideal::new(order, &workload, room);
    let requests = workload.requests.iter().enumerate();
    requests.filter(|(nth, request)| !look_aside(&mut cache, *nth, request)).count()
}

fn check(order: Order, what: &str, found: usize, expected: usize) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(io::Error::other(format!("{order:?}: {found} {what}, not {expected}")))
}
