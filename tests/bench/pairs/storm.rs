//! Established TLS sessions, by turns calm and beside new TLS connections.

use std::time::Duration;

use crate::load::{Generator, Workload};
use crate::peers::Failure;
use crate::report::median;
use crate::stage::Stage;
use crate::wire::Target;

use super::{WARM_UP, judge};

/// Calm and storm take turns of this length.
const PHASE: Duration = Duration::from_millis(250);

/// Between them.
const TURN: Duration = Duration::from_millis(30);

/// The p99 in the storm and in the calm, in µs, each the median over its turns.
///
/// # Errors
/// Wrong replies, lost connections, and new ones that did not come.
pub(super) fn measure(
    target: &Target,
    workload: Workload,
    stage: &Stage,
    rate: u32,
) -> Result<[f64; 2], Failure> {
    let mut load = Generator::connect(target.clone(), workload, 1)?;
    load.run(WARM_UP)?;
    judge(&load.take_tally())?;
    let phases = stage.time.div_duration_f64(PHASE).ceil() as usize;
    let (mut calm, mut stormy, mut came) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..phases {
        calm.push(phase(&mut load)?.0);
        load.add_storm(rate);
        let (p99, done) = phase(&mut load)?;
        load.end_storm()?;
        judge(&load.take_tally())?;
        stormy.push(p99);
        came += done as f64 / PHASE.as_secs_f64() / phases as f64;
    }
    if came < 0.9 * f64::from(rate) {
        return Err(format!("of {rate} connections/s only {came:.0} came").into());
    }
    Ok([stormy, calm].map(|p99s| median(p99s).unwrap_or_default()))
}

/// The p99 of a phase in µs, once it has set in, and the new connections that were served.
fn phase(load: &mut Generator) -> Result<(f64, u64), Failure> {
    load.run(TURN)?;
    judge(&load.take_tally())?;
    load.run(PHASE)?;
    let tally = load.take_tally();
    judge(&tally)?;
    Ok((tally.quantile_us(0.99), tally.storm_done))
}
