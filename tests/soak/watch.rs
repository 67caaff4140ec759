//! The server's resident memory, from /proc.

use std::time::Duration;

/// What is seen of a process.
#[derive(Debug)]
pub(super) struct Watch {
    pid: u32,
    start_bytes: u64,
    peak_bytes: u64,
    bytes_max: u64,
}

impl Watch {
    /// Time between two looks.
    pub(super) const PAUSE: Duration = Duration::from_millis(20);

    pub(super) fn new(pid: u32, bytes_max: u64) -> Self {
        let start_bytes = resident(pid, "VmRSS:").unwrap_or_default();
        Self { pid, start_bytes, peak_bytes: start_bytes, bytes_max }
    }

    pub(super) fn start_bytes(&self) -> u64 {
        self.start_bytes
    }

    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Looks at it now; an error if it is gone or has too much.
    pub(super) fn look(&mut self) -> Result<(), String> {
        self.note("VmRSS:")
    }

    /// Looks at the most that it ever had.
    pub(super) fn look_back(&mut self) -> Result<(), String> {
        self.note("VmHWM:")
    }

    fn note(&mut self, name: &str) -> Result<(), String> {
        let bytes = resident(self.pid, name).ok_or("the server is gone")?;
        self.peak_bytes = self.peak_bytes.max(bytes);
        if bytes <= self.bytes_max {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        let (start, most) = (mib(self.start_bytes), mib(self.bytes_max));
        Err(format!("{} MiB are resident, {start} at the start; {most} may be", mib(bytes)))
    }
}

fn resident(pid: u32, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}
