//! CPU time of a cache server per request: values of 64 bytes to 1 KiB, keys by Zipf's law.

use std::path::Path;
use std::time::Duration;

use crate::load::{Generator, Tally, Workload, fill};
use crate::peers::Failure;
use crate::probe::Window;
use crate::stage::Stage;
use crate::wire::Protocol;

use super::Figures;
use super::server::Program;

/// Memory that holds all values, so that every read finds one.
const MEMORY_BYTES: u64 = 512 << 20;

/// Load before the clock starts.
const WARM_UP: Duration = Duration::from_millis(200);

/// 200 clients, 90 % reads.
fn workload(protocol: Protocol, depth: usize) -> Workload {
    Workload {
        protocol,
        clients: 200,
        depth,
        reads_permille: 900,
        meta: false,
        keys_per_read: 1,
        value_bytes: 1024,
        sizes: 5,
        keys: 100_000,
        skew: 1.0,
        rate: None,
    }
}

/// Measures one program once.
///
/// # Errors
/// What keeps it from being measured, wrong replies among that.
pub(super) fn measure(
    program: Program,
    protocol: Protocol,
    depth: usize,
    twinring: &Path,
    stage: &Stage,
) -> Result<Figures, Failure> {
    let server = program.start(protocol, MEMORY_BYTES, twinring, stage.last_core())?;
    let workload = workload(server.protocol, depth);
    fill(server.port, &workload).map_err(|error| format!("storing values: {error}"))?;
    let mut load = Generator::connect(server.port, workload, 1)?;
    load.run(WARM_UP)?;
    judge(&load.take_tally())?;
    let window = Window::open(server.pid(), vec![std::process::id()])?;
    load.run(stage.time)?;
    let spent = window.close()?;
    let tally = load.take_tally();
    judge(&tally)?;
    let value = spent.cpu_seconds * 1e6 / tally.done.max(1) as f64;
    Ok(Figures { value, memory_bytes: MEMORY_BYTES, resident_bytes: server.resident_bytes()? })
}

fn judge(tally: &Tally) -> Result<(), Failure> {
    if tally.wrong + tally.lost == 0 {
        return Ok(());
    }
    let complaint = tally.complaint.as_deref().unwrap_or_default();
    Err(format!("{} mistakes, {complaint}", tally.wrong + tally.lost).into())
}
