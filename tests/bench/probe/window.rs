//! CPU time over a stretch of time: the proxy's, and what strangers took from the machine.

use std::io;
use std::time::Instant;

use crate::probe::usage;

/// A stretch of time that has begun.
pub(crate) struct Window {
    proxy: u32,
    /// The bench itself and the servers: neither proxy nor strangers.
    company: Vec<u32>,
    start: Instant,
    proxy_ns: u64,
    company_ns: u64,
    busy_ns: u64,
}

/// What happened in it.
pub(crate) struct Spent {
    /// How long it was.
    pub(crate) seconds: f64,
    /// CPU time of the proxy, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Cores that other programs kept busy, on average: the noise of a shared machine.
    pub(crate) strangers: f64,
}

impl Window {
    /// Begins now.
    ///
    /// # Errors
    /// When a process is gone.
    pub(crate) fn open(proxy: u32, company: Vec<u32>) -> io::Result<Self> {
        let company_ns = sum(&company)?;
        let busy_ns = usage::machine_busy_ns()?;
        let proxy_ns = usage::cpu_ns(proxy)?;
        Ok(Self { proxy, company, start: Instant::now(), proxy_ns, company_ns, busy_ns })
    }

    /// Ends now.
    ///
    /// # Errors
    /// As [`Window::open`].
    pub(crate) fn close(self) -> io::Result<Spent> {
        let seconds = self.start.elapsed().as_secs_f64();
        let proxy = usage::cpu_ns(self.proxy)?.saturating_sub(self.proxy_ns) as f64;
        let busy = usage::machine_busy_ns()?.saturating_sub(self.busy_ns) as f64;
        let company = sum(&self.company)?.saturating_sub(self.company_ns) as f64;
        let strangers = (busy - company - proxy).max(0.0) / 1e9 / seconds;
        Ok(Spent { seconds, cpu_seconds: proxy / 1e9, strangers })
    }
}

fn sum(pids: &[u32]) -> io::Result<u64> {
    pids.iter().map(|pid| usage::cpu_ns(*pid)).sum()
}
