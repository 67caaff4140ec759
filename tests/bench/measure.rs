//! One measurement: a scenario, one proxy, once.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Generator, Tally, Workload, idle_clients};
use crate::peers::{Failure, Proxy, Running, pause};
use crate::probe::{Spent, Syscalls, usage};
use crate::report::median;
use crate::scenario::{Figure, Scenario, Shape};
use crate::stage::Stage;

/// Load before the clock starts: connections to the servers stand, buffers have their size.
const WARM_UP: Duration = Duration::from_millis(200);
/// Load under the tracer.
const TRACED: Duration = Duration::from_millis(300);
/// What a proxy gets to give memory back after a burst of new clients.
const SETTLE: Duration = Duration::from_millis(500);

/// Calm and storm take turns of this length: a stall of the machine spoils one of them, not the
/// median of all.
const PHASE: Duration = Duration::from_millis(250);

/// Between them.
const TURN: Duration = Duration::from_millis(30);

/// Clients that come and go before the idle ones.
const FIRST: usize = 100;

/// What one measurement gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// The figures that could be measured.
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// Replies that were not what they had to be, and connections lost.
    pub(crate) mistakes: u64,
    /// The first of them in words, or why nothing was measured.
    pub(crate) complaint: Option<String>,
}

/// Measures; a failure is a sample without figures that says why.
pub(crate) fn measure(stage: &mut Stage, scenario: &Scenario, proxy: &Proxy) -> Sample {
    let sample = match scenario.shape {
        Shape::Steady => steady(stage, scenario, proxy),
        Shape::Idle(count) => idle(stage, scenario, proxy, count),
        Shape::Storm(rate) => storm(stage, scenario, proxy, rate),
        Shape::Workers => two_workers(stage, scenario, proxy),
    };
    sample.unwrap_or_else(|error| {
        let complaint = Some(error.to_string());
        Sample { mistakes: 1, complaint, ..Sample::default() }
    })
}

fn steady(stage: &mut Stage, scenario: &Scenario, proxy: &Proxy) -> Result<Sample, Failure> {
    let running = stage.start(scenario, proxy, 1)?;
    let mut load = Generator::connect(running.port, scenario.workload, 1)?;
    let mut sample = Sample::default();
    load.run(WARM_UP)?;
    sample.judge(&load.take_tally());
    let window = stage.watch(&running)?;
    load.run(stage.time)?;
    let spent = window.close()?;
    let tally = load.take_tally();
    sample.judge(&tally);
    sample.latency(&tally, &spent);
    sample.figures.insert(Figure::Cores, spent.cpu_seconds / spent.seconds);
    sample.figures.insert(Figure::CpuUs, spent.cpu_seconds * 1e6 / tally.done.max(1) as f64);
    load.drain()?;
    sample.judge(&load.take_tally());
    if sample.mistakes == 0
        && let Some(tracer) = stage.tracer_for(scenario, proxy)
    {
        let counter = Syscalls::attach(tracer, running.pid(), &stage.load_cores)?;
        load.run(TRACED)?;
        load.drain()?;
        let each = counter.finish()? as f64 / load.done().max(1) as f64;
        sample.figures.insert(Figure::Syscalls, each);
    }
    sample.judge(&load.take_tally());
    Ok(sample)
}

fn idle(
    stage: &mut Stage,
    scenario: &Scenario,
    proxy: &Proxy,
    count: usize,
) -> Result<Sample, Failure> {
    let running = stage.start(scenario, proxy, 1)?;
    // What a proxy needs for its first clients and keeps is not charged to the idle ones.
    drop(idle_clients(running.port, &scenario.workload, FIRST)?);
    pause(SETTLE);
    let before = usage::resident_kib(running.pid())?;
    let clients = idle_clients(running.port, &scenario.workload, count)?;
    pause(SETTLE);
    let after = usage::resident_kib(running.pid())?;
    let each = after.saturating_sub(before) as f64 / clients.len() as f64;
    Ok(Sample { figures: BTreeMap::from([(Figure::IdleKib, each)]), ..Sample::default() })
}

fn storm(
    stage: &mut Stage,
    scenario: &Scenario,
    proxy: &Proxy,
    rate: u32,
) -> Result<Sample, Failure> {
    let running = stage.start(scenario, proxy, 1)?;
    let mut load = Generator::connect(running.port, scenario.workload, 1)?;
    let mut sample = Sample::default();
    load.run(WARM_UP)?;
    sample.judge(&load.take_tally());
    let phases = stage.time.div_duration_f64(PHASE).ceil() as usize;
    let (mut calm, mut stormy) = (Vec::new(), Vec::new());
    let mut came = 0.0;
    for _ in 0..phases {
        let (tally, _) = load.phase(stage, &running, &mut sample)?;
        calm.push(tally.quantile_us(0.99));
        load.add_storm(rate);
        let (tally, spent) = load.phase(stage, &running, &mut sample)?;
        load.end_storm()?;
        came += tally.storm_done as f64 / spent.seconds / phases as f64;
        stormy.push(tally.quantile_us(0.99));
        sample.latency(&tally, &spent);
    }
    if came < 0.9 * f64::from(rate) {
        let text = || format!("of {rate} connections/s only {came:.0} came");
        sample.complaint.get_or_insert_with(text);
    }
    let (calm, stormy) = (median(calm).unwrap_or(0.0), median(stormy).unwrap_or(0.0));
    sample.figures.insert(Figure::P99Us, stormy);
    sample.figures.insert(Figure::CalmP99Us, calm);
    sample.figures.insert(Figure::StormP99, stormy / calm.max(1.0));
    Ok(sample)
}

fn two_workers(stage: &mut Stage, scenario: &Scenario, proxy: &Proxy) -> Result<Sample, Failure> {
    if !stage.has_room_for_two() || !proxy.has_workers() {
        return Ok(Sample::default());
    }
    let mut sample = Sample::default();
    let mut rates = [0.0; 2];
    for (workers, rate) in (1..).zip(&mut rates) {
        let running = stage.start(scenario, proxy, workers)?;
        let (tally, seconds) = run_threads(running.port, scenario.workload, stage.time)?;
        *rate = tally.done as f64 / seconds;
        sample.judge(&tally);
    }
    sample.figures.insert(Figure::TwoWorkers, rates[1] / rates[0].max(1.0));
    Ok(sample)
}

impl Generator {
    /// What a phase brought, once it has set in.
    fn phase(
        &mut self,
        stage: &Stage,
        running: &Running,
        sample: &mut Sample,
    ) -> Result<(Tally, Spent), Failure> {
        self.run(TURN)?;
        sample.judge(&self.take_tally());
        let window = stage.watch(running)?;
        self.run(PHASE)?;
        let spent = window.close()?;
        let tally = self.take_tally();
        sample.judge(&tally);
        Ok((tally, spent))
    }
}

impl Sample {
    fn judge(&mut self, tally: &Tally) {
        self.mistakes += tally.wrong + tally.lost;
        if let Some(text) = &tally.complaint {
            self.complaint.get_or_insert_with(|| text.clone());
        }
    }

    fn latency(&mut self, tally: &Tally, spent: &Spent) {
        self.figures.insert(Figure::P50Us, tally.quantile_us(0.5));
        self.figures.insert(Figure::P99Us, tally.quantile_us(0.99));
        self.figures.insert(Figure::PerSecond, tally.done as f64 / spent.seconds);
        self.figures.insert(Figure::Strangers, spent.strangers);
    }
}

/// The same load from two threads, half of the clients each; what both got, and the seconds.
fn run_threads(port: u16, workload: Workload, seconds: Duration) -> Result<(Tally, f64), Failure> {
    let half = Workload { clients: workload.clients / 2, ..workload };
    let one = move |seed| -> Result<(Tally, f64), Failure> {
        let mut load = Generator::connect(port, half, seed)?;
        load.run(WARM_UP)?;
        let mut tally = load.take_tally();
        tally.done = 0;
        let start = Instant::now();
        load.run(seconds)?;
        let time = start.elapsed().as_secs_f64();
        tally.add(&load.take_tally());
        Ok((tally, time))
    };
    let (first, second) = thread::scope(|scope| {
        let other = scope.spawn(move || one(2));
        (one(1), other.join())
    });
    let (mut tally, time) = first?;
    tally.add(&second.map_err(|_| "a load thread panicked")??.0);
    Ok((tally, time))
}
