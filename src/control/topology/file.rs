//! A file as a source: looked at again and again, read when it has changed.
//!
//! What is looked at is where the path leads, so that a file renamed over it and a folder swapped
//! under it (a Kubernetes ConfigMap's `..data`) are seen alike.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout_at};

use crate::control::topology::decode::ZNode;
use crate::control::topology::follow::Follower;

/// Between two looks: a stat(2) each.
const LOOK: Duration = Duration::from_millis(100);
/// A file that is written in place is read when nothing has happened to it for so long. One that
/// was renamed over the old is whole from the start.
const STILL: Duration = Duration::from_secs(1);
/// More than any source has.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trace {
    place: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Trace {
    /// That of a file that is not there is that of nothing.
    fn of(path: &Path) -> Self {
        let Ok(meta) = fs::metadata(path) else { return Self::default() };
        Self {
            place: (meta.dev(), meta.ino()),
            length: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// What the file has now.
pub(super) fn read(path: &Path) -> Vec<ZNode> {
    let bytes = |path: &Path| -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut data)?;
        Ok(data)
    };
    match bytes(path) {
        Ok(data) => vec![ZNode { data, ..ZNode::default() }],
        Err(error) => {
            tracing::debug!(file = %path.display(), %error, "the topology cannot be read");
            Vec::new()
        }
    }
}

/// Follows the file for ever.
pub(super) async fn follow(path: PathBuf, mut follower: Follower) {
    let wake = Arc::clone(&follower.desk().wake);
    let mut seen = Trace::of(&path);
    let mut again = follower.see(&read(&path), Instant::now());
    loop {
        let woken = timeout_at((Instant::now() + LOOK).into(), wake.notified()).await.is_ok();
        let now = Instant::now();
        let trace = Trace::of(&path);
        if trace != seen {
            seen = settled(&path, seen, trace).await;
        } else if !woken && again.is_none_or(|at| at > now) {
            continue;
        }
        again = follower.see(&read(&path), Instant::now());
    }
}

/// The trace once the file is as it is to stay.
async fn settled(path: &Path, before: Trace, mut trace: Trace) -> Trace {
    // Another file in its place was written before it came there.
    while trace.place == before.place || trace == Trace::default() {
        sleep_until((Instant::now() + STILL).into()).await;
        let next = Trace::of(path);
        if next == trace {
            break;
        }
        if next.place != trace.place && next != Trace::default() {
            return next;
        }
        trace = next;
    }
    trace
}
