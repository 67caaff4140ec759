//! `twinring nanny`: looks after the servers of a pool.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{FAILED, complain, look};
use crate::control::nanny::{Orders, ProbeRules, Rules};

/// Which servers, and when a mark is set or taken away.
#[derive(Debug, Args)]
pub(super) struct NannyArgs {
    /// Configuration: a pool's native topology in ZooKeeper.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The pool.
    #[arg(long)]
    pool: String,
    /// What this observer is called among the others. [default: the host and the process]
    #[arg(long)]
    id: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Observers that must agree.
    #[arg(long, default_value_t = 2)]
    quorum: usize,
    /// The part of the servers that is never marked down, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    min_live_ratio: f64,
    /// Seconds between two marks.
    #[arg(long, default_value_t = 30)]
    window: u64,
    /// Failures in a row that make a server one that fails.
    #[arg(long, default_value_t = 3)]
    fail_limit: u32,
    /// Seconds over which they must be spread.
    #[arg(long, default_value_t = 2)]
    fail_window: u64,
    /// Seconds for which a server must be well before it is up again.
    #[arg(long, default_value_t = 10)]
    flap_time: u64,
    /// Seconds for which a mark stays at least; half as long again with each fall, to an hour.
    #[arg(long, default_value_t = 10)]
    hold: u64,
}

impl NannyArgs {
    fn orders(&self) -> Orders {
        let defaults = Rules::default();
        Orders {
            rules: Rules {
                quorum: self.quorum.max(1),
                window: Duration::from_secs(self.window),
                min_live_ratio: self.min_live_ratio.clamp(0.0, 1.0),
                hold: (Duration::from_secs(self.hold), defaults.hold.1),
                ..defaults
            },
            probes: ProbeRules {
                fail_limit: self.fail_limit,
                fail_window: Duration::from_secs(self.fail_window),
                flap_time: Duration::from_secs(self.flap_time),
            },
            dry_run: self.dry_run,
        }
    }
}

/// Does it until it is stopped; the exit code if it cannot begin.
pub(super) fn run(args: &NannyArgs) -> u8 {
    let config = match look::load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let Some(pool) = config.pools.iter().find(|pool| pool.name == args.pool) else {
        complain(&format!("twinring: no pool {}\n", args.pool));
        return FAILED;
    };
    let id = args.id.clone().unwrap_or_else(|| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        format!("nanny-{host}-{}", std::process::id())
    });
    match crate::process::watch_over(&config, pool, &id, args.orders()) {
        Ok(never) => match never {},
        Err(why) => {
            complain(&format!("twinring: {why}\n"));
            FAILED
        }
    }
}
