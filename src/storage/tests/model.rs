//! Random operations on a store and on a plain map: the same at every step, but that a store may
//! have evicted something.

use std::collections::BTreeSet;
use std::thread;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::plain::Plain;
use super::{AMPLE, engines};
use crate::storage::{
    Amend, Engine, Eviction, Item, Marks, NewItem, PutError, Settings, Store, Time,
};

/// Bytes of the largest item that the models take, where cells are not smaller.
const ITEM_MAX: usize = 300_000;

/// Ways to see an item.
#[derive(Clone, Copy, Debug)]
enum Look {
    Peek,
    Read,
    /// While nothing else is done.
    ReadAlone,
}

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u16,
        len: usize,
        ttl: Option<u64>,
        flags: u32,
        cas: Option<u64>,
        marks: Marks,
    },
    Draft {
        key: u16,
        len: usize,
        ttl: Option<u64>,
    },
    Amend {
        key: u16,
        ttl: Option<Option<u64>>,
        marks: Option<Marks>,
        cas: Option<u64>,
        renew: bool,
    },
    Peek {
        key: u16,
    },
    Read {
        key: u16,
        times: u8,
    },
    Remove {
        key: u16,
    },
    Pass {
        millis: u64,
    },
    Sweep {
        budget: usize,
    },
    Clear,
    Scan,
}

fn marks() -> impl Strategy<Value = Marks> {
    let some = any::<(bool, bool, bool)>();
    some.prop_map(|(fetched, stale, won)| Marks { fetched, stale, won })
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        3 => Just(None),
        3 => (0_u64..5_000).prop_map(Some),
        2 => (5_000_u64..4_000_000).prop_map(Some),
        1 => (4_000_000_000_u64..20_000_000_000).prop_map(Some),
    ]
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0_usize..300,
        3 => 300_usize..16_000,
        1 => 15_000_usize..70_000,
        1 => Just(ITEM_MAX),
    ]
}

fn cas() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![4 => Just(None), 1 => any::<u64>().prop_map(Some)]
}

fn key() -> impl Strategy<Value = u16> {
    prop_oneof![2 => 0_u16..20, 1 => 0_u16..2_000]
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![Just(0), any::<u32>()];
    let put = (key(), len(), ttl(), flags, cas(), marks());
    let amend =
        (key(), proptest::option::of(ttl()), proptest::option::of(marks()), cas(), any::<bool>());
    prop_oneof![
        30 => put.prop_map(|(key, len, ttl, flags, cas, marks)| {
            Step::Put { key, len, ttl, flags, cas, marks }
        }),
        3 => (key(), len(), ttl()).prop_map(|(key, len, ttl)| Step::Draft { key, len, ttl }),
        10 => amend.prop_map(|(key, ttl, marks, cas, renew)| {
            Step::Amend { key, ttl, marks, cas, renew }
        }),
        10 => key().prop_map(|key| Step::Peek { key }),
        15 => (key(), 1_u8..40).prop_map(|(key, times)| Step::Read { key, times }),
        6 => key().prop_map(|key| Step::Remove { key }),
        6 => prop_oneof![0_u64..3_000, 0_u64..3_000_000, Just(5_000_000_000)]
            .prop_map(|millis| Step::Pass { millis }),
        3 => (1_usize..200).prop_map(|budget| Step::Sweep { budget }),
        1 => prop_oneof![9 => Just(Step::Scan), 1 => Just(Step::Clear)],
    ]
}

/// Keys of all lengths, most of them short.
fn key_bytes(key: u16, owner: u8) -> Vec<u8> {
    let len = match key % 50 {
        0 => 255,
        1 => 256,
        2 => 1_000,
        _ => 4,
    };
    let mut bytes = format!("{key:04}").into_bytes();
    bytes.resize(len, b'k');
    bytes.push(owner);
    bytes
}

/// A value that tells which one it is.
fn value(key: u16, len: usize, number: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ number ^ usize::from(key)) as u8).collect()
}

/// A store and the model.
struct Pair<'s> {
    store: &'s Store,
    model: Plain,
    now: Time,
    /// Nothing is evicted.
    ample: bool,
    /// The last byte of its keys: others may use the store as well.
    owner: u8,
}

impl<'s> Pair<'s> {
    fn new(store: &'s Store, owner: u8) -> Self {
        let Settings { version, item_max, memory, .. } = *store.settings();
        let model = Plain::new(version, item_max);
        Self { store, model, now: Time::from_millis(7), ample: memory == AMPLE, owner }
    }

    fn key(&self, key: u16) -> Vec<u8> {
        key_bytes(key, self.owner)
    }

    fn step(&mut self, step: &Step, number: usize) {
        let now = self.now;
        let at = |ttl: Option<u64>| ttl.map(|ttl| now.after(ttl));
        match step.clone() {
            Step::Put { key, len, ttl, flags, cas, marks } => {
                let value = value(key, len, number);
                let (front, back) = value.split_at(len / 3);
                let parts = [front, back];
                self.put(
                    key,
                    &NewItem { value: &parts, flags, expiry: at(ttl), marks, cas },
                    false,
                );
            }
            Step::Draft { key, len, ttl } => {
                let value = value(key, len, number);
                let parts = [&*value];
                let item = NewItem { value: &parts, expiry: at(ttl), ..NewItem::default() };
                self.put(key, &item, true);
            }
            Step::Amend { key, ttl, marks, cas, renew } => {
                self.amend(key, Amend { expiry: ttl.map(at), marks, cas, renew });
            }
            Step::Peek { key } => self.compare(key, Look::Peek),
            Step::Read { key, times } => {
                let ways = [Look::Read, Look::ReadAlone].into_iter().cycle().skip(number % 2);
                ways.take(times.into()).for_each(|way| self.compare(key, way));
            }
            Step::Remove { key } => self.remove(key),
            Step::Pass { millis } => self.now = now.after(millis),
            Step::Sweep { budget } => {
                self.store.sweep(now, budget);
                self.model.sweep(now, budget);
            }
            Step::Clear => {
                self.store.clear_at(now, now);
                self.model.clear();
            }
            Step::Scan => self.scan(),
        }
        assert!(self.store.taken() <= self.store.settings().memory, "memory is bounded");
    }

    fn put(&mut self, key: u16, item: &NewItem<'_>, draft: bool) {
        let bytes = self.key(key);
        let (key, now) = (self.store.key(&bytes), self.now);
        let stored = if draft {
            self.put_draft(&bytes, item)
        } else {
            self.store.lock(key, now).put(key, item, now)
        };
        match stored {
            Ok(cas) => {
                assert!(item.cas.is_none_or(|wanted| wanted == cas));
                let item = NewItem { cas: Some(cas), ..*item };
                assert_eq!(self.model.put(key, &item, now), Ok(cas));
            }
            Err(error) => {
                let too_large = key.bytes.len() + item.len() > self.store.settings().item_max;
                assert!(too_large || error == PutError::Full, "{error:?}");
                assert!(!self.ample || too_large, "there is room");
                self.model.remove(key, now);
                assert!(
                    self.store.lock(key, now).peek(key, now).is_none(),
                    "what was there is gone"
                );
            }
        }
    }

    fn put_draft(&self, key: &[u8], item: &NewItem<'_>) -> Result<u64, PutError> {
        let (key, now) = (self.store.key(key), self.now);
        let drafted = self.store.draft(item.len()).and_then(|mut draft| {
            let mut parts = item.value.iter().flat_map(|part| part.chunks(7_001));
            parts.try_for_each(|part| draft.write(part, now))?;
            Ok(draft)
        });
        let mut locked = self.store.lock(key, now);
        match drafted {
            Ok(draft) => locked.put_draft(key, draft, item, now),
            Err(error) => {
                locked.remove(key, now);
                Err(error)
            }
        }
    }

    fn amend(&mut self, key: u16, change: Amend) {
        let bytes = self.key(key);
        let (key, now) = (self.store.key(&bytes), self.now);
        let amended = self.store.lock(key, now).amend(key, change, now);
        let expected = self.model.peek(key, now).map(|item| item.cas);
        match amended {
            Some(cas) => {
                if !change.renew {
                    assert_eq!(Some(cas), change.cas.or(expected));
                }
                let change = Amend { cas: Some(cas), renew: false, ..change };
                assert_eq!(self.model.amend(key, change, now), Some(cas));
            }
            None => self.lost(key.bytes),
        }
    }

    /// The store does not have an item: so it must have been evicted if the model has it.
    fn lost(&mut self, key: &[u8]) {
        let key = self.store.key(key);
        let was_there = self.model.remove(key, self.now);
        assert!(!(was_there && self.ample), "nothing is evicted while there is room");
    }

    fn compare(&mut self, key: u16, way: Look) {
        let bytes = self.key(key);
        let (key, now) = (self.store.key(&bytes), self.now);
        let lock = || self.store.lock(key, now);
        let item = match way {
            Look::Peek => lock().peek(key, now).map(owned),
            Look::Read => lock().read(key, now).map(owned),
            Look::ReadAlone => self.store.read(key, now, owned),
        };
        if item.is_none() {
            return self.lost(key.bytes);
        }
        let expected = match way {
            Look::Peek => self.model.peek(key, now),
            Look::Read | Look::ReadAlone => self.model.read(key, now),
        }
        .map(owned);
        assert!(item == expected, "{item:.99?} is not {expected:.99?}");
    }

    fn remove(&mut self, key: u16) {
        let bytes = self.key(key);
        let (key, now) = (self.store.key(&bytes), self.now);
        if self.store.lock(key, now).remove(key, now) {
            assert!(self.model.remove(key, now), "nothing comes back");
        } else {
            self.lost(key.bytes);
        }
    }

    fn scan(&mut self) {
        let now = self.now;
        let mut shown = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = self.store.scan(cursor, now, &mut |key, item| {
                if key.last() == Some(&self.owner) {
                    shown.insert((key.to_vec(), item.cas));
                }
            });
            if cursor == 0 {
                break;
            }
        }
        let mut expected = BTreeSet::new();
        for step in 0..64 {
            self.model.scan(step, now, &mut |key, item| {
                expected.insert((key.to_vec(), item.cas));
            });
        }
        assert!(shown.is_subset(&expected), "only what is there is shown");
        assert!(!self.ample || shown == expected, "all that is there is shown");
    }
}

/// Seconds of access are known up to this many, 97 days; then they begin again.
const ACCESSED_SECONDS: u64 = 1 << 23;

type Owned = (Vec<u8>, u32, u64, Option<Time>, Marks, u64);

fn owned(item: Item<'_>) -> Owned {
    let mut value = Vec::new();
    item.value.write_to(&mut value);
    let accessed = item.accessed.millis() / 1000 % ACCESSED_SECONDS;
    (value, item.flags, item.cas, item.expiry, item.marks, accessed)
}

fn run(settings: Settings, cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), 1..400);
    TestRunner::new(config)
        .run(&steps, |steps| {
            let store = Store::new(Settings { item_max: ITEM_MAX, ..settings });
            let mut pair = Pair::new(&store, b'a');
            for (number, step) in steps.iter().enumerate() {
                pair.step(step, number);
            }
            pair.store.check_integrity(pair.now);
            Ok(())
        })
        .unwrap();
}

/// Two threads with keys of their own; the time stands still, as neither may be ahead.
fn run_together(settings: Settings, cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let alone = |step: &Step| matches!(step, Step::Pass { .. } | Step::Clear);
    let shared = || step().prop_filter("for both", move |step| !alone(step));
    let steps = || proptest::collection::vec(shared(), 1..400);
    TestRunner::new(config)
        .run(&(steps(), steps()), |(one, other)| {
            let store = Store::new(Settings { item_max: ITEM_MAX, ..settings });
            thread::scope(|scope| {
                for (steps, owner) in [(&one, b'a'), (&other, b'b')] {
                    let mut pair = Pair::new(&store, owner);
                    scope.spawn(move || {
                        steps.iter().enumerate().for_each(|(number, step)| pair.step(step, number));
                    });
                }
            });
            store.check_integrity(Time::from_millis(7));
            Ok(())
        })
        .unwrap();
}

#[test]
fn with_ample_memory_it_is_a_map() {
    for (one, several) in engines(AMPLE, 1).into_iter().zip(engines(AMPLE, 8)) {
        run(one, 200);
        run(several, 60);
    }
}

#[test]
fn with_scarce_memory_it_is_a_map_that_forgets() {
    for (one, several) in engines(1 << 20, 1).into_iter().zip(engines(8 << 20, 2)) {
        run(one, 300);
        run(several, 60);
    }
}

#[test]
fn however_room_is_made_it_is_a_map_that_forgets() {
    for settings in engines(1 << 20, 1) {
        for eviction in [Eviction::Fifo, Eviction::Random, Eviction::Expiry, Eviction::None] {
            run(Settings { eviction, ..settings }, 60);
        }
    }
}

#[test]
fn to_each_of_two_threads_it_is_a_map() {
    for settings in engines(AMPLE, 4).into_iter().chain(engines(1 << 20, 1)) {
        run_together(settings, 40);
    }
}
