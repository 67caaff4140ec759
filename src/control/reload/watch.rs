//! The configuration's file, looked at now and then: a change of it is taken over.
//!
//! ```text
//!  stat ─ other than before ─▶ the same once more (nobody is writing it) ─▶ other content? ─▶ reload
//! ```
//! The path is followed to the file each time, so the swap of a symbolic link anywhere on the way
//! (as Kubernetes swaps `..data` for a ConfigMap) is seen as well as a write or a rename, on any
//! file system.

use std::convert::Infallible;
use std::fs::{self, Metadata};
use std::future::pending;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config;
use crate::control::reload::Reloader;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Looks after the file for ever, if the configuration wants that.
pub(in crate::control) async fn watch(reloader: &Reloader) -> Infallible {
    let Some(source) = reloader.source().filter(|_| reloader.current().watch) else {
        return pending().await;
    };
    let mut watched = Watched::default();
    watched.look(stamp(&source.file), || content(&source.file));
    // It may have changed since the process read it.
    let now = config::load(&source.file, source.compat);
    if now.is_ok_and(|now| now != *reloader.current()) {
        let _ = reloader.reload("file").await;
    }
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if watched.look(stamp(&source.file), || content(&source.file)) {
            // Whoever looks at the log is told; nobody else has asked.
            let _ = reloader.reload("file").await;
        }
    }
}

/// What tells one state of a file from another without reading it.
type Stamp = (u64, u64, u64, [i64; 4]);

/// What was seen of the file.
#[derive(Debug, Default)]
struct Watched {
    /// At the last look.
    seen: Option<Stamp>,
    /// When its content was last read.
    read: Option<Stamp>,
    content: Option<u64>,
}

impl Watched {
    /// Takes in what one look shows; true if there is another content. The first look only shows
    /// what there is. A file that is missing is waited for.
    fn look(&mut self, now: Option<Stamp>, content: impl FnOnce() -> Option<u64>) -> bool {
        let settled = now.is_some() && now == self.seen;
        let first = self.content.is_none();
        self.seen = now;
        if !(settled || first) || now == self.read {
            return false;
        }
        let Some(content) = content() else { return false };
        self.read = now;
        self.content.replace(content).is_some_and(|before| before != content)
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let of = |meta: Metadata| {
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        (meta.dev(), meta.ino(), meta.size(), times)
    };
    fs::metadata(file).ok().map(of)
}

fn content(file: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    fs::read(file).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::{Stamp, Watched};

    const fn at(time: i64) -> Option<Stamp> {
        Some((1, 1, 1, [time, 0, time, 0]))
    }

    #[test]
    fn a_change_is_taken_when_nobody_is_writing_any_more() {
        let mut watched = Watched::default();
        assert!(!watched.look(at(1), || Some(7)), "what there is");
        assert!(!watched.look(at(1), || panic!("nothing has changed")));
        assert!(!watched.look(at(2), || panic!("it is being written")));
        assert!(!watched.look(at(3), || panic!("still")));
        assert!(watched.look(at(3), || Some(8)));
        assert!(!watched.look(at(3), || panic!("it has been read")));
    }

    #[test]
    fn the_same_content_is_no_change_and_a_missing_file_is_waited_for() {
        let mut watched = Watched::default();
        watched.look(at(1), || Some(7));
        watched.look(at(2), || None);
        assert!(!watched.look(at(2), || Some(7)), "touched");
        assert!(!watched.look(None, || panic!("there is none")));
        assert!(!watched.look(None, || panic!("there is none")));
        watched.look(at(4), || None);
        assert!(watched.look(at(4), || Some(9)));
    }
}
