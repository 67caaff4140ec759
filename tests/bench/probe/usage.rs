//! CPU time, memory and cores, from /proc.

use std::fs;
use std::io;

/// Nanoseconds of CPU that all threads of `pid` have used, in user and kernel mode: the first
/// field of each `schedstat`, which counts in nanoseconds where `stat` counts in ticks of 10 ms.
///
/// # Errors
/// When the process is gone or the kernel keeps no such account.
pub(crate) fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += first_number(&text)?;
    }
    Ok(sum)
}

/// Nanoseconds for which cores of this machine were busy since it started, in steps of 10 ms.
///
/// # Errors
/// When there is no /proc.
pub(crate) fn machine_busy_ns() -> io::Result<u64> {
    /// The unit of /proc/stat: USER_HZ is 100 on every Linux that matters.
    const TICK_NS: u64 = 10_000_000;
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0));
    // user nice system idle iowait irq softirq; what follows is stolen or counted before
    let busy = ticks.take(7).enumerate().filter(|(field, _)| *field != 3 && *field != 4);
    Ok(busy.map(|(_, ticks): (usize, u64)| ticks * TICK_NS).sum())
}

/// Resident memory of `pid` in KiB.
///
/// # Errors
/// When the process is gone.
pub(crate) fn resident_kib(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    first_number(line.unwrap_or_default())
}

/// The cores that this process may use.
///
/// # Errors
/// The system's.
pub(crate) fn cores() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// The processor's name.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("unknown processor").to_owned()
}

fn first_number(text: &str) -> io::Result<u64> {
    let word = text.split_whitespace().next();
    word.and_then(|word| word.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
