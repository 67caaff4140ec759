//! Loads on one store that is full of small items, from one thread and from two.
//!
//! ```text
//!  Thread: its own draws ─▶ key ─▶ Store::read, copied out │ Store::lock ─▶ put
//! ```
//! Two that bear no part of a store stand beside these, to tell what the machine gives at most:
//! reads that do nothing more than they must (`bare`), and two threads that share nothing (`apart`).
//! Criterion says how often; the table tells the median over all that it timed.

use std::cell::RefCell;
use std::fs;
use std::hint::black_box;
use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use twinring::storage::{Key, NewItem, Settings, Storage, Store, Time};

use crate::bare::Bare;
use crate::line::round_trip;
use crate::random::{Random, Zipf};
use crate::report::Rate;

/// Items in the store: far more than fit into the caches of a processor.
const ITEMS: usize = 1 << 20;
/// Keys whose items are in the caches of a core: what is left is mostly the work itself.
const NEAR: usize = 1 << 12;
const KEY_BYTES: usize = 24;
const VALUE_BYTES: usize = 64;
const SMALL_VALUE_BYTES: usize = 32;
/// All items fit: nothing is evicted.
const MEMORY: u64 = 512 << 20;
/// About half of them fit: what is stored evicts, and what is read is often not there.
const SCARCE_MEMORY: u64 = 64 << 20;
/// Cells for half as many items again: hardly one of these is evicted.
const CELL_MEMORY: u64 = 128 << 20;
/// Key, value and what an item says of itself.
const CELL_BYTES: usize = KEY_BYTES + SMALL_VALUE_BYTES + 28;
/// What is filled to see what an item takes, and the items that are stored there.
const FULL_MEMORY: u64 = 256 << 20;
const FULL_ITEMS: usize = ITEMS * 5;
/// Times to live of those that have one, in milliseconds.
const TTLS: [u64; 3] = [60_000, 600_000, 3_600_000];
/// Requests that a thread goes through again and again, their keys one after the other as in the
/// input of a connection.
const DRAWS: usize = 1 << 20;

/// Reads per second that one core should do, in millions.
const READS_BAR: f64 = 5.0;
/// How much more two threads should do than one.
const THREADS_BAR: f64 = 1.6;

/// What is stored, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Items {
    Usual,
    Scarce,
    Small,
    InCells,
    /// No store: see [`Bare`].
    Bare,
}

/// One line of the table.
struct Load {
    name: &'static str,
    items: Items,
    threads: usize,
    /// Part of the requests that write.
    writes: f64,
    /// Of Zipf's law.
    alpha: f64,
    /// Keys that are read at once, as a get of many is.
    at_once: usize,
    /// Steps of work behind each read, of some four instructions, in registers.
    steps: u64,
    /// How many of the keys are asked for.
    keys: usize,
    /// The second thread has a store of its own.
    apart: bool,
    bar: Option<f64>,
}

const LOADS: &[Load] = &[
    load("read uniform", 1, 0.0, 0.0, Some(READS_BAR)),
    load("read zipf", 1, 0.0, 1.0, Some(READS_BAR)),
    Load { at_once: 16, ..load("read 16 uniform", 1, 0.0, 0.0, Some(READS_BAR)) },
    Load { at_once: 16, ..load("read 16 zipf", 1, 0.0, 1.0, Some(READS_BAR)) },
    Load { keys: NEAR, ..load("read near uniform", 1, 0.0, 0.0, Some(READS_BAR)) },
    load("write uniform", 1, 1.0, 0.0, None),
    load("write zipf", 1, 1.0, 1.0, None),
    load("mixed uniform 1 thread", 1, 0.5, 0.0, None),
    load("mixed uniform 2 threads", 2, 0.5, 0.0, None),
    Load { apart: true, ..load("mixed uniform 2 apart", 2, 0.5, 0.0, None) },
    load("mixed zipf 1 thread", 1, 0.5, 1.0, None),
    load("mixed zipf 2 threads", 2, 0.5, 1.0, None),
    Load { apart: true, ..load("mixed zipf 2 apart", 2, 0.5, 1.0, None) },
    of(Items::Scarce, load("full read uniform", 1, 0.0, 0.0, None)),
    of(Items::Scarce, load("full write uniform", 1, 1.0, 0.0, None)),
    of(Items::Small, load("small read uniform", 1, 0.0, 0.0, None)),
    of(Items::Small, load("small read zipf", 1, 0.0, 1.0, None)),
    of(Items::Small, load("small write uniform", 1, 1.0, 0.0, None)),
    of(Items::InCells, load("cuckoo read uniform", 1, 0.0, 0.0, None)),
    of(Items::InCells, load("cuckoo read zipf", 1, 0.0, 1.0, None)),
    of(Items::InCells, load("cuckoo write uniform", 1, 1.0, 0.0, None)),
    of(Items::Bare, load("bare read uniform", 1, 0.0, 0.0, None)),
    of(Items::Bare, load("bare read zipf", 1, 0.0, 1.0, None)),
    Load { steps: 20, ..of(Items::Bare, load("bare 20 read uniform", 1, 0.0, 0.0, None)) },
    Load { steps: 60, ..of(Items::Bare, load("bare 60 read uniform", 1, 0.0, 0.0, None)) },
];

/// Two threads over one: how the line is called, the load of two, and the bar.
const RATIOS: &[(&str, &str, Option<f64>)] = &[
    ("ratio uniform", "mixed uniform 2 threads", Some(THREADS_BAR)),
    ("ratio uniform apart", "mixed uniform 2 apart", None),
    ("ratio zipf", "mixed zipf 2 threads", Some(THREADS_BAR)),
    ("ratio zipf apart", "mixed zipf 2 apart", None),
];

const fn load(
    name: &'static str,
    threads: usize,
    writes: f64,
    alpha: f64,
    bar: Option<f64>,
) -> Load {
    let (items, keys) = (Items::Usual, ITEMS);
    Load { name, items, threads, writes, alpha, at_once: 1, steps: 0, keys, apart: false, bar }
}

const fn of(items: Items, load: Load) -> Load {
    Load { items, ..load }
}

/// Measures the loads that are chosen by name.
///
/// # Errors
/// There is no memory for what is measured.
pub(crate) fn run(is_chosen: &dyn Fn(&str) -> bool) -> io::Result<Vec<Rate>> {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    let mut rates = Vec::new();
    for items in [Items::Usual, Items::Scarce, Items::Small, Items::InCells, Items::Bare] {
        let chosen = LOADS.iter().filter(|load| load.items == items && is_chosen(load.name));
        let mut stage = None;
        for load in chosen {
            if stage.is_none() {
                stage = Some(Stage::new(items)?);
            }
            let other = if load.apart { Some(Stage::new(items)?) } else { None };
            let Some(one) = &stage else { continue };
            rates.push(measure(&mut criterion, [one, other.as_ref().unwrap_or(one)], load));
        }
    }
    let ratio = |(name, load, bar): &(&'static str, &str, Option<f64>)| {
        let of = rates.iter().find(|rate| rate.load == *load)?;
        let (waited, line) = (of.waited, of.line);
        Some(Rate { load: name, figure: of.gain?, gain: None, waited, line, bar: *bar })
    };
    let ratios: Vec<Rate> = RATIOS.iter().filter_map(ratio).collect();
    rates.extend(ratios);
    Ok(rates)
}

/// Million operations a second of all threads together, and how long these had to wait. The first
/// thread has the first stage. Where there are two, each time the first one works by itself before
/// that: what two are worth is told by pairs, as a machine may be half as fast some seconds later.
fn measure(criterion: &mut Criterion, stages: [&Stage; 2], load: &Load) -> Rate {
    let zipf = Zipf::new(load.keys, load.alpha);
    let Load { at_once, steps, writes, .. } = *load;
    let thread =
        |(seed, stage)| Thread { at_once, steps, ..Thread::new(stage, &zipf, writes, seed) };
    let mut threads: Vec<Thread<'_>> = (1..).zip(stages).take(load.threads).map(thread).collect();
    let samples = RefCell::new(Vec::new());
    let distance = || (load.threads > 1).then(round_trip).flatten();
    let before = distance();
    let mut group = criterion.benchmark_group("storage");
    group.throughput(Throughput::Elements(load.threads as u64));
    group.bench_function(load.name, |bencher| {
        bencher.iter_custom(|count| {
            let alone = (load.threads > 1).then(|| together(&mut threads[..1], count));
            let all = together(&mut threads, count);
            samples.borrow_mut().push(Sample::new(load.threads, count, alone, all));
            all.0
        });
    });
    group.finish();
    let samples = samples.into_inner();
    let median_of = |figure: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(figure));
    let mean = samples.iter().map(|sample| sample.waited).sum::<f64>() / samples.len() as f64;
    Rate {
        load: load.name,
        figure: median_of(|sample| Some(sample.rate)).unwrap_or(f64::NAN),
        gain: median_of(|sample| sample.gain),
        waited: mean,
        line: before.max(distance()),
        bar: load.bar,
    }
}

/// What criterion timed at once.
struct Sample {
    rate: f64,
    /// Times what the first thread did by itself.
    gain: Option<f64>,
    waited: f64,
}

impl Sample {
    /// Of `count` operations of each of the threads, and of the first one before that; the times
    /// are those it took and those it waited.
    fn new(
        threads: usize,
        count: u64,
        alone: Option<(Duration, Duration)>,
        (took, waited): (Duration, Duration),
    ) -> Self {
        let rate = (count * threads as u64) as f64 / took.as_secs_f64() / 1e6;
        let gain = alone.map(|(alone, _)| threads as f64 * alone.div_duration_f64(took));
        let waits = alone.into_iter().chain([(took, waited)]);
        let waited = waits.map(|(took, waited)| waited.div_duration_f64(took)).fold(0.0, f64::max);
        Self { rate, gain, waited }
    }
}

/// Bytes of memory for each small item in a store that is full of them, beside its key and value.
pub(crate) fn overheads() -> [(&'static str, f64); 4] {
    [
        ("small", Items::Small, &[][..]),
        ("small, 1 h to live", Items::Small, &TTLS[2..]),
        ("small, 1 min to 1 h to live", Items::Small, &TTLS),
        ("cuckoo", Items::InCells, &[]),
    ]
    .map(|(name, items, ttls)| {
        let store = Store::new(Settings { memory: FULL_MEMORY, ..items.settings() });
        for number in 0..FULL_ITEMS {
            let bytes = format!("{number:0KEY_BYTES$}");
            let expiry = ttls.get(number % ttls.len().max(1)).map(|ttl| NOW.after(*ttl));
            let item = NewItem { value: &[items.value()], expiry, ..NewItem::default() };
            let key = store.key(bytes.as_bytes());
            black_box(store.lock(key, NOW).put(key, &item, NOW)).ok();
        }
        let usage = store.usage(NOW);
        (name, (usage.memory - usage.bytes) as f64 / usage.items as f64)
    })
}

impl Items {
    fn settings(self) -> Settings {
        let storage = Storage::Cuckoo { item_size: CELL_BYTES };
        match self {
            Self::Usual | Self::Small | Self::Bare => crate::settings(MEMORY),
            Self::Scarce => crate::settings(SCARCE_MEMORY),
            Self::InCells => Settings { storage, ..crate::settings(CELL_MEMORY) },
        }
    }

    fn value(self) -> &'static [u8] {
        match self {
            Self::Usual | Self::Scarce | Self::Bare => &VALUE,
            Self::Small | Self::InCells => &VALUE[..SMALL_VALUE_BYTES],
        }
    }
}

/// What is read from, and the keys of its items.
struct Stage {
    store: Store,
    /// Stands in for the store.
    bare: Option<Bare>,
    keys: Vec<[u8; KEY_BYTES]>,
    value: &'static [u8],
}

impl Stage {
    fn new(items: Items) -> io::Result<Self> {
        let mut keys = vec![[b'k'; KEY_BYTES]; ITEMS];
        for (number, key) in keys.iter_mut().enumerate() {
            key[..8].copy_from_slice(format!("{number:08}").as_bytes());
        }
        let (store, value) = (Store::new(items.settings()), items.value());
        let bare = (items == Items::Bare).then(|| Bare::new(&keys, value)).transpose()?;
        let stage = Self { store, bare, keys, value };
        if stage.bare.is_none() {
            stage.keys.iter().for_each(|key| stage.put(key));
        }
        Ok(stage)
    }

    fn put(&self, key: &[u8]) {
        let key = self.store.key(key);
        let item = NewItem { value: &[self.value], ..NewItem::default() };
        // A store that refuses is not slower for it, but the reads that follow would find nothing.
        black_box(self.store.lock(key, NOW).put(key, &item, NOW)).ok();
    }

    /// The same for some keys, in what is one critical section.
    fn read_all(&self, draws: &[Draw], out: &mut Vec<u8>) {
        let keys: Vec<Key<'_>> = draws.iter().map(|(key, _)| self.store.key(key)).collect();
        let mut locked = self.store.lock_keys(keys.iter().copied(), NOW);
        locked.approach(&keys);
        for key in keys {
            if let Some(item) = locked.read(key, NOW) {
                item.value.write_to(out);
            }
        }
    }

    /// Copies the value out, as a reply would have it.
    fn read(&self, key: &[u8], out: &mut Vec<u8>) {
        if let Some(bare) = &self.bare {
            return bare.read(key, out);
        }
        let key = self.store.key(key);
        self.store.read(key, NOW, |item| item.value.write_to(out));
    }
}

const NOW: Time = Time::from_millis(1000);
const VALUE: [u8; VALUE_BYTES] = [b'v'; VALUE_BYTES];

/// A request: its key, and whether it writes.
type Draw = ([u8; KEY_BYTES], bool);

/// One thread's requests, drawn beforehand, and where it stands in them: in cache lines of its own,
/// as it is written with each request, and another thread's must not wait for that.
#[repr(align(128))]
struct Thread<'a> {
    stage: &'a Stage,
    draws: Vec<Draw>,
    at: usize,
    at_once: usize,
    steps: u64,
}

impl<'a> Thread<'a> {
    fn new(stage: &'a Stage, zipf: &Zipf, writes: f64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut draw = || {
            let write = random.unit() < writes;
            (stage.keys[zipf.pick(&mut random)], write)
        };
        Self { stage, draws: (0..DRAWS).map(|_| draw()).collect(), at: 0, at_once: 1, steps: 0 }
    }

    fn run(&mut self, count: u64) {
        if self.at_once > 1 {
            return self.run_many(count);
        }
        let mut out = Vec::with_capacity(VALUE_BYTES);
        for _ in 0..count {
            let (key, write) = &self.draws[self.at % DRAWS];
            self.at += 1;
            if !*write {
                out.clear();
                self.stage.read(key, &mut out);
                black_box(&out);
                black_box((0..self.steps).fold(0, |sum: u64, step| sum.rotate_left(5) ^ step));
            } else {
                self.stage.put(key);
            }
        }
    }

    /// As `run`, some reads at once.
    fn run_many(&mut self, count: u64) {
        let mut out = Vec::with_capacity(VALUE_BYTES * self.at_once);
        for _ in 0..count.div_ceil(self.at_once as u64) {
            let from = self.at % (DRAWS - self.at_once);
            self.at += self.at_once;
            out.clear();
            self.stage.read_all(&self.draws[from..from + self.at_once], &mut out);
            black_box(&out);
        }
    }
}

/// `count` requests of each thread, all threads at once: from the first start to the last end, and
/// how long a thread waited meanwhile, at most.
fn together(threads: &mut [Thread<'_>], count: u64) -> (Duration, Duration) {
    let barrier = Barrier::new(threads.len());
    let one = |thread: &mut Thread<'_>| {
        barrier.wait();
        let (start, before) = (Instant::now(), waited());
        thread.run(count);
        (start, Instant::now(), waited().saturating_sub(before))
    };
    let times: Vec<(Instant, Instant, Duration)> = match threads {
        [only] => vec![one(only)],
        _ => thread::scope(|scope| {
            let running: Vec<_> =
                threads.iter_mut().map(|thread| scope.spawn(|| one(thread))).collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).collect()
        }),
    };
    let start = times.iter().map(|(start, ..)| *start).min();
    let end = times.iter().map(|(_, end, _)| *end).max();
    let took = end.zip(start).map_or(Duration::MAX, |(end, start)| end - start);
    (took, times.iter().map(|(.., waited)| *waited).max().unwrap_or_default())
}

/// How long this thread has been ready to run without a core; nothing where Linux does not say.
fn waited() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let word = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(word.unwrap_or(0))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
