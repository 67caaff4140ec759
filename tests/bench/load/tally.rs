//! What came of a load: replies, mistakes, and how long replies took.

/// Counts since the last reset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Replies of steady clients.
    pub(crate) done: u64,
    /// Replies, of whatever client, that were not what they had to be.
    pub(crate) wrong: u64,
    /// Connections of the storm that got their reply.
    pub(crate) storm_done: u64,
    /// Connections, of whatever client, that were refused or closed on us.
    pub(crate) lost: u64,
    /// The first wrong reply or lost connection, in words.
    pub(crate) complaint: Option<String>,
    latency: Latency,
}

impl Tally {
    /// A reply came, so many nanoseconds after its request was due.
    pub(crate) fn reply(&mut self, nanos: u64) {
        self.done += 1;
        self.latency.record(nanos);
    }

    /// Adds what another generator counted at the same time.
    pub(crate) fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.wrong += other.wrong;
        self.storm_done += other.storm_done;
        self.lost += other.lost;
        self.complaint = self.complaint.take().or_else(|| other.complaint.clone());
        for (mine, theirs) in self.latency.0.iter_mut().zip(&other.latency.0) {
            *mine += theirs;
        }
    }

    /// Something went wrong; only the first time is kept in words.
    pub(crate) fn complain(&mut self, text: impl FnOnce() -> String) {
        self.complaint.get_or_insert_with(text);
    }

    /// The time in µs within which a share `q` (0 to 1) of the replies came.
    pub(crate) fn quantile_us(&self, q: f64) -> f64 {
        self.latency.quantile(q) / 1e3
    }
}

/// log2 of the parts of an octave: a value is known to 1/64.
const PART_BITS: u32 = 6;
/// Parts of an octave; values below it have a bucket each.
const PARTS: u64 = 1 << PART_BITS;
/// Buckets that cover `u64`.
const BUCKETS: usize = (65 - PART_BITS as usize) << PART_BITS;

/// A log-linear histogram of nanoseconds (the layout of HdrHistogram).
#[derive(Clone, Debug)]
struct Latency(Vec<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Latency {
    fn record(&mut self, nanos: u64) {
        self.0[bucket(nanos)] += 1;
    }

    /// The upper end of the bucket in which the quantile lies; 0 without values.
    fn quantile(&self, q: f64) -> f64 {
        let total: u64 = self.0.iter().sum();
        let rank = (total as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0.0, upper)
    }
}

fn bucket(nanos: u64) -> usize {
    let octave = nanos.max(PARTS).ilog2() - PART_BITS;
    (u64::from(octave) * PARTS + (nanos >> octave)) as usize
}

fn upper(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    let octave = (bucket / PARTS).saturating_sub(1);
    ((bucket - octave * PARTS + 1) << octave) as f64
}
