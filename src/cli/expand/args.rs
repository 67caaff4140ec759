//! The arguments of `twinring expand`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::door::DoorArgs;
use crate::topology::Document;

pub(super) const FORMATS: [&str; 3] = ["native", "nutcracker", "list"];
const GIVEN_UP: [&str; 3] = ["none", "unread", "skipped"];
const NAMES: [&str; 6] = ["stable", "prepare", "fence", "warm", "drain", "new"];

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Expand {
    /// How many keys move, in all and for each server, and what it costs. Of a pool that speaks
    /// Redis the servers are looked at as well: whether they can hand keys to each other, and which
    /// keys are too large.
    Plan {
        /// The servers to come, of a pool whose topology is in ZooKeeper; else the file says them.
        target: Option<PathBuf>,
        /// The format of that.
        #[arg(long, default_value = "native", value_parser = FORMATS)]
        format: String,
        /// Keys that are to stay at their old servers, one a line, of such a pool.
        #[arg(long, value_name = "FILE")]
        pin: Option<PathBuf>,
        /// Configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
    },
    /// How far pools have come, who has acknowledged that, and what was copied.
    Status {
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
        #[command(flatten)]
        door: DoorArgs,
    },
    /// Begin an expansion of all proxies of a pool whose topology is in ZooKeeper: says what moves,
    /// and goes to prepare.
    Start {
        #[command(flatten)]
        start: StartArgs,
    },
    /// End an expansion of such a pool, which has come to new: the new servers are its servers.
    Finish {
        #[command(flatten)]
        step: StepArgs,
        /// Keys that have stayed at their old servers are given up.
        #[arg(long)]
        unpin: bool,
    },
    /// Take keys of earlier rings away from servers that may hold some, so that they may get keys
    /// again (memcache 1.6; topology in ZooKeeper; in stable).
    Sweep {
        #[command(flatten)]
        sweep: SweepArgs,
    },
    /// Give an old server up that is dead: its keys that move are missing where they have not been
    /// copied, and can be changed again (memcache; in warm or drain). Without ZooKeeper the file of
    /// the process must say so first.
    Dead {
        #[command(flatten)]
        dead: DeadArgs,
    },
    /// One step towards the new servers: stable, prepare, fence, warm, drain, new.
    Advance {
        #[command(flatten)]
        step: StepArgs,
    },
    /// One step back towards the old servers.
    Rollback {
        #[command(flatten)]
        step: StepArgs,
        /// From phase new: values may be read that were changed or deleted since.
        #[arg(long)]
        accept_stale: bool,
    },
    /// Where a key is and goes, and what a get, a set and a delete of it do now.
    Explain {
        /// The key.
        key: OsString,
        /// The pool.
        #[arg(long)]
        pool: String,
        #[command(flatten)]
        door: DoorArgs,
    },
}

/// A step of which pool, and how it is to end.
#[derive(Debug, Args)]
pub(in crate::cli) struct StepArgs {
    /// The pool; may be left out if only one has two rings.
    #[arg(long)]
    pub(super) pool: Option<String>,
    /// The phase that the step shall come to: refused if it leads to another.
    #[arg(long, value_name = "PHASE", value_parser = NAMES)]
    pub(super) to: Option<String>,
    /// A proxy that has ended and need not be waited for, as `status` calls it (topology in
    /// ZooKeeper).
    #[arg(long, value_name = "PROXY")]
    pub(super) gone: Vec<String>,
    #[command(flatten)]
    pub(super) why: WhyArgs,
    #[command(flatten)]
    pub(super) door: DoorArgs,
}

/// The servers to come of which pool.
#[derive(Debug, Args)]
pub(in crate::cli) struct StartArgs {
    /// The servers to come: a version, a nutcracker.yml or its list, or a plain list.
    pub(super) target: PathBuf,
    /// The format of that.
    #[arg(long, default_value = "native", value_parser = FORMATS)]
    pub(super) format: String,
    /// The pool; may be left out if only one has its topology in ZooKeeper.
    #[arg(long)]
    pub(super) pool: Option<String>,
    /// Configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Keys that are to stay at their old servers, one a line (Redis).
    #[arg(long, value_name = "FILE")]
    pub(super) pin: Option<PathBuf>,
    /// How many proxies there are: refused if others are there.
    #[arg(long, value_name = "COUNT")]
    pub(super) proxies: Option<usize>,
    /// A server that holds no values of an earlier time any more.
    #[arg(long, value_name = "SERVER")]
    pub(super) clean: Vec<String>,
    #[command(flatten)]
    pub(super) why: WhyArgs,
}

/// Which old server is given up, or taken back.
#[derive(Debug, Args)]
pub(in crate::cli) struct DeadArgs {
    /// The server.
    pub(super) name: String,
    /// Have it asked again: it has been emptied.
    #[arg(long, requires = "clean")]
    pub(super) back: bool,
    /// Only as far as this: where several proxies without ZooKeeper share the servers, all must have
    /// come to unread before one goes on.
    #[arg(long, value_name = "STATE", value_parser = GIVEN_UP)]
    pub(super) to: Option<String>,
    /// The same server, which holds nothing of what it had when it was given up.
    #[arg(long, value_name = "SERVER", requires = "back")]
    pub(super) clean: Option<String>,
    /// The pool; may be left out if only one has two rings.
    #[arg(long)]
    pub(super) pool: Option<String>,
    /// A proxy that has ended and need not be waited for, as `status` calls it (topology in
    /// ZooKeeper).
    #[arg(long, value_name = "PROXY")]
    pub(super) gone: Vec<String>,
    #[command(flatten)]
    pub(super) why: WhyArgs,
    #[command(flatten)]
    pub(super) door: DoorArgs,
}

/// Which servers are swept, and how fast.
#[derive(Debug, Args)]
pub(in crate::cli) struct SweepArgs {
    /// The servers: of the ring, or such as have left it, or were to come and did not.
    #[arg(required = true)]
    pub(super) names: Vec<String>,
    /// Empty them at once (flush_all): servers that are in no ring.
    #[arg(long)]
    pub(super) flush: bool,
    /// The pool; may be left out if only one has its topology in ZooKeeper.
    #[arg(long)]
    pub(super) pool: Option<String>,
    /// Configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Keys that are deleted in a second at most.
    #[arg(long, value_name = "KEYS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rate: u32,
    #[command(flatten)]
    pub(super) why: WhyArgs,
}

/// Who takes a step and why, and how long it may take.
#[derive(Debug, Args)]
pub(in crate::cli) struct WhyArgs {
    /// Seconds to wait for all to acknowledge it. Drain takes up to `stub_ttl` and `cas_quarantine`.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) timeout: u32,
    /// Who takes the step (topology in ZooKeeper). [default: $USER]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

impl WhyArgs {
    /// Says who has written a version, and why.
    pub(super) fn sign(&self, next: &mut Document) {
        let user = || std::env::var("USER").unwrap_or_default();
        next.author = self.author.clone().unwrap_or_else(user);
        next.reason.clone_from(&self.reason);
    }
}
