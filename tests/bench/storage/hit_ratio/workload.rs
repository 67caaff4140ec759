//! Requests by Zipf's law and by the published figures of real caches.
//!
//! Sizes and times to live belong to the object and follow from its number, so that a miss brings
//! back what there was before.

use std::iter;

use crate::random::{Random, Zipf, mixed, unit};

/// Requests of a generated workload.
const REQUESTS: usize = 2_000_000;

/// No later read.
pub(super) const NEVER: u32 = u32::MAX;

/// One request, of what may become 2^32 at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// The object, counted from 0.
    pub(super) object: u32,
    /// Bytes of its key and value.
    pub(super) bytes: u32,
    /// How long it lives; 0 for ever.
    pub(super) ttl_ms: u32,
    /// The number of the next request for the object, if that is a read: a copy that is written
    /// over before it is read is of no use. Else [`NEVER`].
    pub(super) next: u32,
    /// When that is.
    pub(super) next_ms: u64,
    /// When it is made.
    pub(super) at_ms: u64,
    /// It stores the object whether or not it is there.
    pub(super) write: bool,
}

impl Request {
    /// When what is stored by it dies.
    pub(super) fn expiry_ms(&self) -> Option<u64> {
        (self.ttl_ms > 0).then(|| self.at_ms + u64::from(self.ttl_ms))
    }
}

/// Requests in order.
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) key_bytes: usize,
    /// Objects are counted from 0 up to this.
    pub(super) objects: usize,
    pub(super) requests: Vec<Request>,
}

impl Workload {
    /// Of these requests, whose `next` is found out here.
    pub(super) fn new(name: String, key_bytes: usize, mut requests: Vec<Request>) -> Self {
        let last = requests.iter().map(|request| request.object).max();
        let objects = last.map_or(0, |last| last as usize + 1);
        let mut next = vec![(NEVER, u64::MAX); objects];
        for (nth, request) in requests.iter_mut().enumerate().rev() {
            let later = &mut next[request.object as usize];
            (request.next, request.next_ms) = *later;
            *later = if request.write { (NEVER, u64::MAX) } else { (nth as u32, request.at_ms) };
        }
        Self { name, key_bytes, objects, requests }
    }

    /// Bytes of all objects together, each at its first size.
    pub(super) fn bytes(&self) -> u64 {
        let mut seen = vec![false; self.objects];
        let mut is_new =
            |request: &&Request| !std::mem::replace(&mut seen[request.object as usize], true);
        let new = self.requests.iter().filter(|request| is_new(request));
        new.map(|request| u64::from(request.bytes)).sum()
    }
}

/// What a workload is drawn from.
struct Figures {
    key_bytes: usize,
    /// Of values, whose sizes fall off exponentially.
    mean_bytes: f64,
    /// The smallest and the largest value.
    bounds: (f64, f64),
    per_second: f64,
    alpha: f64,
    /// Objects that are asked for by Zipf's law.
    objects: usize,
    /// Part of the requests that go to an object which is never asked for again.
    one_hit: f64,
    /// Part of the requests that write.
    writes: f64,
    /// Times to live in seconds, and the part of the objects that each has.
    ttls: &'static [(f64, f64)],
}

/// One row of the statistics of Twitter's caches (twitter/cache-trace, March 2020).
struct Cluster {
    key_bytes: usize,
    mean_bytes: f64,
    per_second: f64,
    /// Requests for an object.
    frequency: f64,
    /// Part of the objects that are asked for once.
    one_hit_objects: f64,
    alpha: f64,
    writes: f64,
    ttls: &'static [(f64, f64)],
}

/// Of little use but for its skew: few reads find anything, a quarter of the requests write.
const CLUSTER_19: Cluster = Cluster {
    key_bytes: 42,
    mean_bytes: 101.0,
    per_second: 3310.0,
    frequency: 4.7,
    one_hit_objects: 0.0746,
    alpha: 0.735,
    writes: 0.25,
    ttls: &[(7.0 * 3600.0, 1.0)],
};

/// Objects live for a minute or for some, far shorter than the trace.
const CLUSTER_26: Cluster = Cluster {
    key_bytes: 122,
    mean_bytes: 1745.0,
    per_second: 250.0,
    frequency: 13.0,
    one_hit_objects: 0.0011,
    alpha: 0.6299,
    writes: 0.29,
    ttls: &[(60.0, 0.68), (120.0, 0.10), (180.0, 0.02), (360.0, 0.09), (600.0, 0.11)],
};

/// Skewed, mostly read, many objects asked for once.
const CLUSTER_52: Cluster = Cluster {
    key_bytes: 20,
    mean_bytes: 273.0,
    per_second: 24_250.0,
    frequency: 32.6,
    one_hit_objects: 0.1936,
    alpha: 1.2117,
    writes: 0.04,
    ttls: &[(86_400.0, 0.66), (14.0 * 86_400.0, 0.27), (43_200.0, 0.07)],
};

/// Zipf's law over a million keys.
const ZIPF: Figures = Figures {
    key_bytes: 24,
    mean_bytes: 230.0,
    bounds: (16.0, 4000.0),
    per_second: 50_000.0,
    alpha: 1.0,
    objects: 1_000_000,
    one_hit: 0.02,
    writes: 0.0,
    ttls: &[],
};

/// Two seconds, twenty, an hour.
const SHORT_TTLS: &[(f64, f64)] = &[(2.0, 1.0), (20.0, 1.0), (3600.0, 1.0)];

/// Draws a workload.
type Make = fn() -> Workload;

/// Names and makers: one workload at a time is enough memory.
pub(super) fn all() -> [(&'static str, Make); 5] {
    [
        ("zipf 1.0", || ZIPF.draw("zipf 1.0")),
        ("zipf 1.0 with TTLs", || Figures { ttls: SHORT_TTLS, ..ZIPF }.draw("zipf 1.0 with TTLs")),
        ("twitter cluster 19", || CLUSTER_19.figures().draw("twitter cluster 19")),
        ("twitter cluster 26", || CLUSTER_26.figures().draw("twitter cluster 26")),
        ("twitter cluster 52", || CLUSTER_52.figures().draw("twitter cluster 52")),
    ]
}

impl Cluster {
    fn figures(&self) -> Figures {
        let objects = REQUESTS as f64 / self.frequency;
        Figures {
            key_bytes: self.key_bytes,
            mean_bytes: self.mean_bytes,
            bounds: (1.0, 500_000.0),
            per_second: self.per_second,
            alpha: self.alpha,
            objects: (objects * (1.0 - self.one_hit_objects)) as usize,
            one_hit: self.one_hit_objects / self.frequency,
            writes: self.writes,
            ttls: self.ttls,
        }
    }
}

impl Figures {
    fn draw(&self, name: &str) -> Workload {
        let mut random = Random::new(2020);
        let zipf = Zipf::new(self.objects, self.alpha);
        let mut fresh = self.objects as u32..;
        let mut at_ms = (0_u64..).map(|nth| (nth as f64 * 1000.0 / self.per_second) as u64);
        let one = || {
            let once = random.unit() < self.one_hit;
            let object = if once { fresh.next()? } else { zipf.pick(&mut random) as u32 };
            Some(Request {
                object,
                bytes: self.key_bytes as u32 + self.value_bytes(object),
                ttl_ms: self.ttl_ms(object),
                next: NEVER,
                next_ms: u64::MAX,
                at_ms: at_ms.next()?,
                write: random.unit() < self.writes,
            })
        };
        let requests = iter::from_fn(one).take(REQUESTS).collect();
        Workload::new(name.to_owned(), self.key_bytes, requests)
    }

    fn value_bytes(&self, object: u32) -> u32 {
        let drawn = unit(mixed(u64::from(object) + 1));
        let (least, most) = self.bounds;
        (-(1.0 - drawn).ln() * self.mean_bytes).clamp(least, most) as u32
    }

    fn ttl_ms(&self, object: u32) -> u32 {
        let all: f64 = self.ttls.iter().map(|(_, part)| part).sum();
        let mut drawn = unit(mixed(!u64::from(object))) * all;
        let found = self.ttls.iter().find(|(_, part)| {
            drawn -= part;
            drawn < 0.0
        });
        found.map_or(0, |(seconds, _)| (seconds * 1000.0) as u32)
    }
}
