//! The log as its callers and readers see it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::with_default;

use crate::config::{Log as Settings, LogFormat};
use crate::control::log::sink::Steering;
use crate::control::log::{Log, QUEUE_LINES, level_of_verbosity};

fn settings(format: LogFormat, file: Option<PathBuf>) -> Settings {
    Settings { level: "info".to_owned(), format, file }
}

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("twinring-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::yield_now();
    }
}

fn holds_line(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|lines| lines.contains(text))
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe nobody reads from until the test lets go.
struct Blocked {
    entered: SyncSender<()>,
    gate: Receiver<()>,
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.try_send(());
        let _ = self.gate.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a log in `format` writes of the events that `emit` makes.
fn written(format: LogFormat, emit: impl FnOnce(&Log)) -> String {
    let memory = Memory::default();
    let settings = settings(format, None);
    let (log, subscriber) = Log::over(memory.clone(), Arc::default(), &settings);
    with_default(subscriber, || emit(&log));
    drop(log);
    let bytes = memory.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_line_has_time_level_message_and_fields_in_both_formats() {
    let emit = |_: &Log| tracing::warn!(node = "one", tries = 3, ok = false, "server down");
    let line = written(LogFormat::Logfmt, emit);
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.starts_with("ts=2") && time.ends_with('Z'), "{time}");
    assert_eq!(time.len(), "ts=2026-01-02T03:04:05.678901Z".len(), "microseconds: {time}");
    assert!(rest.starts_with("level=warn msg=\"server down\" node=one tries=3 ok=false target="));
    let json: serde_json::Value = serde_json::from_str(&written(LogFormat::Json, emit)).unwrap();
    assert_eq!(json["level"], "warn");
    assert_eq!(json["msg"], "server down");
    assert_eq!(json["tries"], 3);
    assert_eq!(json["ok"], false);
}

#[test]
fn bytes_from_outside_cannot_begin_a_line() {
    for format in [LogFormat::Logfmt, LogFormat::Json] {
        let text = written(format, |_| {
            tracing::info!(key = "a\nlevel=error \u{1b}[2J", "from\r\nclient {}", "x\0y");
        });
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(text.bytes().all(|byte| byte >= b' ' || byte == b'\n'), "{text}");
    }
}

#[test]
fn the_level_steps_at_run_time_and_stops_at_both_ends() {
    let text = written(LogFormat::Logfmt, |log| {
        tracing::debug!("hidden");
        assert_eq!(log.louder(), Some(LevelFilter::DEBUG));
        tracing::debug!("shown");
        assert_eq!(log.louder(), Some(LevelFilter::TRACE));
        assert_eq!(log.louder(), None);
        while log.quieter().is_some() {}
        assert_eq!(log.level(), LevelFilter::ERROR);
        tracing::warn!("hidden");
    });
    assert!(text.contains("msg=shown") && !text.contains("hidden"), "{text}");
}

#[test]
fn a_blocked_pipe_costs_lines_and_never_the_caller() {
    let (entered, was_entered) = sync_channel(1);
    let (open, gate) = sync_channel(0);
    let settings = settings(LogFormat::Logfmt, None);
    let (log, subscriber) =
        Log::over(Blocked { entered, gate }, Arc::new(Steering::default()), &settings);
    let extra = 100;
    with_default(subscriber, || {
        tracing::info!("the writer thread takes this one and hangs");
        was_entered.recv().unwrap();
        let begun = Instant::now();
        (0..QUEUE_LINES + extra).for_each(|line| tracing::info!(line, "more"));
        assert!(begun.elapsed() < Duration::from_secs(5), "the caller waited");
    });
    assert_eq!(log.dropped(), extra as u64);
    drop(open);
}

#[test]
fn after_rotation_a_reopened_log_is_a_new_file_at_once() {
    let folder = Folder::new("log-rotation");
    let (path, rotated) = (folder.0.join("log"), folder.0.join("log.1"));
    let (log, subscriber) = Log::open(&settings(LogFormat::Logfmt, Some(path.clone()))).unwrap();
    with_default(subscriber, || {
        tracing::info!("before");
        wait_until("first line", || holds_line(&path, "before"));
        fs::rename(&path, &rotated).unwrap();
        log.reopen();
        wait_until("new file without a line", || path.exists());
        tracing::info!("after");
        wait_until("line in the new file", || holds_line(&path, "after"));
    });
    assert!(holds_line(&rotated, "before") && !holds_line(&rotated, "after"));
}

#[test]
fn a_log_that_cannot_be_reopened_is_written_on() {
    let folder = Folder::new("log-gone");
    let nested = folder.0.join("nested");
    fs::create_dir(&nested).unwrap();
    let (path, kept) = (nested.join("log"), folder.0.join("kept"));
    let (log, subscriber) = Log::open(&settings(LogFormat::Logfmt, Some(path.clone()))).unwrap();
    with_default(subscriber, || {
        fs::rename(&path, &kept).unwrap();
        fs::remove_dir(&nested).unwrap();
        log.reopen();
        tracing::info!("still here");
        wait_until("line in the old file", || holds_line(&kept, "still here"));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn lines_that_a_full_disk_refuses_are_counted() {
    let full = Some(PathBuf::from("/dev/full"));
    let (log, subscriber) = Log::open(&settings(LogFormat::Logfmt, full)).unwrap();
    with_default(subscriber, || {
        tracing::info!("lost");
        wait_until("a counted loss", || log.dropped() > 0);
    });
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let nowhere = Some(PathBuf::from("/nonexistent/folder/log"));
    assert!(Log::open(&settings(LogFormat::Logfmt, nowhere)).is_err());
}

#[test]
fn twemproxys_default_verbosity_shows_signals() {
    let levels: Vec<LevelFilter> =
        (0..=11).map(|verbosity| level_of_verbosity(verbosity).parse().unwrap()).collect();
    assert_eq!(levels[5], LevelFilter::INFO);
    assert!(levels.is_sorted());
}
