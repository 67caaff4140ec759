//! Where lines go in the end: a file that can be opened anew, or standard error.
//!
//! Lives on the log's writer thread; other threads steer it through [`Steering`] only.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What other threads ask of the sink and learn from it.
#[derive(Debug, Default)]
pub(crate) struct Steering {
    reopen: AtomicBool,
    failed: AtomicU64,
}

/// The file or standard error. The writer thread calls `flush` after each batch of lines.
pub(crate) struct Sink {
    path: Option<PathBuf>,
    out: BufWriter<Box<dyn Write + Send>>,
    steering: Arc<Steering>,
}

impl Steering {
    /// Asks for the file to be opened anew.
    pub(crate) fn ask_reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// Writes that failed, such as on a full disk.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Sink {
    /// Opens `path` for appending; without a path, standard error.
    pub(crate) fn open(path: Option<PathBuf>, steering: Arc<Steering>) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match &path {
            Some(path) => Box::new(append(path)?),
            None => Box::new(io::stderr()),
        };
        Ok(Self { path, out: BufWriter::new(out), steering })
    }

    /// Opens the file anew if that was asked for. If it cannot be, the old one is written on.
    fn reopen(&mut self) {
        if !self.steering.reopen.swap(false, Ordering::AcqRel) {
            return;
        }
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(file) => self.out = BufWriter::new(Box::new(file)),
            Err(error) => tracing::error!(path = %path.display(), %error, "log not reopened"),
        }
    }

    fn counted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.steering.failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.out.write(line);
        self.counted(written)
    }

    /// Never fails: the writer thread would try again and again, at the end without a pause.
    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.reopen();
        // It is counted.
        let _ = self.counted(flushed);
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    // The umask may be none at all, and nobody else is to write here.
    let opened = OpenOptions::new().create(true).append(true).mode(0o644).open(path);
    opened.map_err(|error| {
        io::Error::new(error.kind(), format!("log file {}: {error}", path.display()))
    })
}
