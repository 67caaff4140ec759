//! `twinring expand sweep`: takes keys away from servers that they do not belong to, so that nothing
//! of them can come back.
//!
//! ```text
//!  stable, all are there ─▶ pass: dump ─▶ keys that the ring gives to others ─▶ delete, so many a second
//!                             ▲                                                    │
//!                             └──── until a pass finds none ◀──────────────────────┘ ─▶ not dirty
//! ```
//! With one ring in force everywhere nobody reads or writes a key but at its own server. So what is
//! found elsewhere is of an earlier ring, and what is stored at its own server in the meantime is not
//! touched. The version must not change to another ring before all is done. A server that is in no
//! ring, as a new one after a rollback, has nothing but keys of earlier rings: it may be flushed first.

mod memcached;

use std::time::{Duration, Instant};

use crate::config::Node;
use memcached::Memcached;

/// Keys that are found in one pass at most; with more of them there are more passes.
const KEYS_MOST: usize = 1_000_000;
/// Keys that are deleted at once at most, and how many times a second that is done.
const BATCH_MOST: usize = 1000;
const BATCHES: u32 = 20;
/// After so long it is looked whether the ring is still the same.
const CHECK: Duration = Duration::from_secs(5);

/// What has been done to one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Swept {
    /// Keys that it has.
    pub(super) seen: u64,
    /// Keys that were taken away.
    pub(super) deleted: u64,
    /// How often all of its keys were looked at.
    pub(super) passes: u32,
}

/// Which server is swept.
pub(super) struct Target<'a> {
    pub(super) node: &'a Node,
    /// Whether a key does not belong there.
    pub(super) foreign: &'a dyn Fn(&[u8]) -> bool,
    /// Nothing belongs there: all goes at once before it is looked through.
    pub(super) flush: bool,
}

/// Sweeps a server, `rate` keys a second at most; `check` says whether the ring is still in force.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn sweep(
    target: &Target<'_>,
    rate: u32,
    check: &mut dyn FnMut() -> Result<(), String>,
) -> Result<Swept, String> {
    let mut server = Memcached::connect(target.node)?;
    let mut swept = Swept::default();
    let mut last = usize::MAX;
    if target.flush {
        check()?;
        server.flush()?;
    }
    loop {
        let told = server.keys(KEYS_MOST, target.foreign)?;
        (swept.seen, swept.passes) = (told.seen, swept.passes + 1);
        check()?;
        let found = told.keys.len();
        if found == 0 {
            return Ok(swept);
        }
        if found >= last && last < KEYS_MOST {
            return Err(format!(
                "{found} keys that do not belong there have come since: does a client go past the proxies?"
            ));
        }
        last = found;
        swept.deleted += delete(&mut server, &told.keys, (rate, check))?;
    }
}

fn delete(
    server: &mut Memcached,
    keys: &[Vec<u8>],
    (rate, check): (u32, &mut dyn FnMut() -> Result<(), String>),
) -> Result<u64, String> {
    let (begun, mut checked) = (Instant::now(), Instant::now());
    let (mut deleted, mut asked) = (0, 0_u32);
    for batch in keys.chunks((rate.div_ceil(BATCHES) as usize).min(BATCH_MOST)) {
        deleted += server.delete(batch)?;
        asked += batch.len() as u32;
        let due = begun + Duration::from_secs(1).mul_f64(f64::from(asked) / f64::from(rate));
        while let Some(rest) = due.checked_duration_since(Instant::now()).filter(|it| !it.is_zero())
        {
            std::thread::park_timeout(rest);
        }
        if checked.elapsed() >= CHECK {
            check()?;
            checked = Instant::now();
        }
    }
    Ok(deleted)
}
