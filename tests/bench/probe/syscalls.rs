//! Counting the system calls of a process over a bounded load: `perf stat`, else `strace -c`.
//!
//! perf counts a tracepoint and disturbs next to nothing; strace stops the process at every call,
//! so that under it more requests wait for each call and the count comes out low.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::peers::{Failure, Process};

/// The event that perf counts.
const EVENT: &str = "raw_syscalls:sys_enter";
/// Between opening its counters and switching them on, perf takes less than this.
const ATTACH: Duration = Duration::from_millis(20);

/// What can count here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracer {
    /// `perf stat`.
    Perf,
    /// `strace -c`.
    Strace,
}

/// The tracer to use, if there is one.
pub(crate) fn tracer() -> Option<Tracer> {
    let works = |program: &str, arguments: &[&str]| {
        let status = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    if works("perf", &["stat", "-e", EVENT, "true"]) {
        Some(Tracer::Perf)
    } else if works("strace", &["-c", "true"]) {
        Some(Tracer::Strace)
    } else {
        None
    }
}

/// A count under way.
pub(crate) struct Syscalls {
    tracer: Tracer,
    process: Process,
}

impl Syscalls {
    /// Counts from now on, in all threads of `pid`; the tracer runs on `cpus`.
    ///
    /// # Errors
    /// What the tracer says when it can't.
    pub(crate) fn attach(tracer: Tracer, pid: u32, cpus: &[usize]) -> Result<Self, Failure> {
        let target = pid.to_string();
        let (program, arguments) = match tracer {
            Tracer::Perf => ("perf", vec!["stat", "-x", ",", "-e", EVENT, "-p", &target]),
            Tracer::Strace => ("strace", vec!["-c", "-f", "-p", &target]),
        };
        let arguments: Vec<_> = arguments.into_iter().map(OsString::from).collect();
        let mut process = Process::start(Path::new(program), &arguments, cpus, Stdio::null())?;
        process.wait_until(|own| match tracer {
            Tracer::Perf => has_counters(own),
            Tracer::Strace => all_traced(pid),
        })?;
        crate::peers::pause(ATTACH);
        Ok(Self { tracer, process })
    }

    /// Ends the count; the number of calls.
    ///
    /// # Errors
    /// When the tracer's answer can't be read.
    pub(crate) fn finish(self) -> Result<u64, Failure> {
        let text = self.process.interrupt()?;
        let calls = match self.tracer {
            Tracer::Perf => perf_calls(&text),
            Tracer::Strace => strace_calls(&text),
        };
        calls.ok_or_else(|| format!("no count in: {text}").into())
    }
}

/// `COUNT,,raw_syscalls:sys_enter,…`
fn perf_calls(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(EVENT))?;
    line.split(',').next()?.parse().ok()
}

/// `% time, seconds, usecs/call, calls, [errors,] total`
fn strace_calls(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Whether perf has opened its counters.
fn has_counters(perf: u32) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{perf}/fd")) else { return false };
    let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    targets.into_iter().any(|target| target.to_string_lossy().contains("perf_event"))
}

/// Whether each thread of `pid` has a tracer.
fn all_traced(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    })
}
