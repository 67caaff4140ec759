//! What the kernel says about this process: the customary `process_*` metrics.
//!
//! Read from `/proc/self` when asked for; what cannot be read is left out.

use std::fs;

use crate::metrics::table::Kind;

/// Clock ticks a second in `/proc/self/stat`: USER_HZ, fixed at 100 on every Linux we build for.
const USER_HZ: f64 = 100.0;

/// One figure: name, kind, help, value.
pub(crate) type Figure = (&'static str, Kind, &'static str, f64);

/// Everything that can be read now.
pub(crate) fn figures() -> Vec<Figure> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open = fs::read_dir("/proc/self/fd").map(|files| files.count() as f64).ok();
    let figure =
        |name, kind, help, value: Option<f64>| value.map(|value| (name, kind, help, value));
    [
        figure(
            "process_cpu_seconds_total",
            Kind::Counter,
            "User and system CPU time spent, in seconds.",
            cpu_seconds(&stat),
        ),
        figure(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory size in bytes.",
            kilobytes(&status, "VmRSS:"),
        ),
        figure(
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Virtual memory size in bytes.",
            kilobytes(&status, "VmSize:"),
        ),
        figure("process_open_fds", Kind::Gauge, "Open file descriptors.", open),
        figure(
            "process_max_fds",
            Kind::Gauge,
            "File descriptors that may be open.",
            max_fds(&limits),
        ),
        figure("process_threads", Kind::Gauge, "Threads.", number_after(&status, "Threads:")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// utime + stime, fields 14 and 15 of proc_pid_stat(5). Field 2 is the command in parentheses and
/// may hold anything, so counting starts behind its last one, at field 3.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_ascii_whitespace().skip(14 - 3);
    let user: f64 = ticks.next()?.parse().ok()?;
    let system: f64 = ticks.next()?.parse().ok()?;
    Some((user + system) / USER_HZ)
}

/// The soft limit; `unlimited` counts as unknown.
fn max_fds(limits: &str) -> Option<f64> {
    number_after(limits, "Max open files")
}

fn kilobytes(text: &str, key: &str) -> Option<f64> {
    number_after(text, key).map(|kilobytes| kilobytes * 1024.0)
}

/// The first word behind `key` at the start of a line, as a number.
fn number_after(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::metrics::exposition::procfs::{cpu_seconds, figures, kilobytes, max_fds};

    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b 1 (c) S 1 7 7 0 -1 4194304 93 0 0 0 150 50 0 0 20 0 1 0 2 3 4";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("7 (cut"), None);
    }

    #[test]
    fn sizes_and_limits_are_read() {
        assert_eq!(kilobytes("VmSize:\t  9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12288.0));
        assert_eq!(max_fds("Max open files            1024  4096  files \n"), Some(1024.0));
        assert_eq!(max_fds("Max open files            unlimited unlimited files \n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_every_figure() {
        let figures = figures();
        assert!(figures.len() >= 5, "{figures:?}");
        assert!(
            figures.iter().any(|(name, _, _, value)| name.contains("resident") && *value > 1e5)
        );
    }
}
