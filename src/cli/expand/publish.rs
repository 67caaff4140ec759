//! `twinring topology publish`: a pool's servers in ZooKeeper, at once and with one ring.
//!
//! ```text
//!  file ─▶ servers ─▶ refused: two rings? somebody behind? keys that would move? old values?
//!                     └─▶ the next version, by CAS ─▶ look … all there
//!                     └─▶ the first one, where nothing is there yet
//! ```

use std::path::PathBuf;

use clap::Args;

use super::args::{FORMATS, WhyArgs};
use super::fleet::Leader;
use crate::cli::print;
use crate::cli::servers::{changes_text, read};
use crate::control::topology::admission::serving;
use crate::control::topology::fleet::{self, Awaited};
use crate::routing::Moves;
use crate::topology::{Diff, Document};

/// Which servers of which pool.
#[derive(Debug, Args)]
pub(in crate::cli) struct PublishArgs {
    /// The servers: a version, a nutcracker.yml or its list, or a plain list.
    file: PathBuf,
    /// The format of that.
    #[arg(long, default_value = "native", value_parser = FORMATS)]
    format: String,
    /// The pool; may be left out if only one has its topology in ZooKeeper.
    #[arg(long)]
    pool: Option<String>,
    /// Configuration.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Nothing is there yet: makes the nodes, and version 1.
    #[arg(long)]
    first: bool,
    /// Keys may move, to servers that have none of them, and any part of the ring may go.
    #[arg(long)]
    rehash: bool,
    /// A server that holds no values of an earlier time any more.
    #[arg(long, value_name = "SERVER")]
    clean: Vec<String>,
    #[command(flatten)]
    why: WhyArgs,
}

/// Does it.
pub(in crate::cli) fn publish(args: &PublishArgs) -> Result<(), u8> {
    let wanted = read(&args.file, &args.format, args.pool.as_deref().unwrap_or_default())?;
    let mut leader = super::leader_of(&args.config, args.pool.as_deref())?;
    if args.first { leader.found(args, wanted) } else { leader.publish(args, &wanted) }
}

impl Leader {
    fn found(&mut self, args: &PublishArgs, wanted: Document) -> Result<(), u8> {
        let mut first = Document { epoch: 1, current: wanted.current, ..Document::default() };
        args.why.sign(&mut first);
        self.fleet.found(&first).map_err(|why| self.refuse(why))?;
        let (name, servers) = (&self.pool.name, first.current.len());
        print(&format!("pool {name}: epoch 1, {servers} servers\n"));
        Ok(())
    }

    fn publish(&mut self, args: &PublishArgs, wanted: &Document) -> Result<(), u8> {
        let look = self.look()?;
        let (old, new) = (look.document.servers(), wanted.servers());
        let moves = Moves::between(&self.pool.routing, &old, &new);
        let next = fleet::change(&look.document, wanted.current.clone(), (&moves, &args.clean));
        let mut next = next.map_err(|why| self.refuse(why))?;
        let changes = Diff::between(&serving(&look.document), &serving(&next));
        let share = moves.share * 100.0;
        print(&format!("{}{share:.2} % of the keys move\n", changes_text(&changes)));
        if moves.share > 0.0 && !args.rehash {
            return Err(self.refuse(
                "keys would be asked for where they are not: expand start takes them along, \
                 --rehash does without",
            ));
        }
        self.nobody_is_behind(&look)?;
        next.allow_shrink = args.rehash;
        args.why.sign(&mut next);
        if look.acks.is_empty() {
            let published = self.fleet.publish(&next, &Awaited::default());
            published.map_err(|why| self.refuse(why))?;
            let (name, epoch) = (&self.pool.name, next.epoch);
            print(&format!("pool {name}: epoch {epoch}, no proxy is there yet\n"));
            return Ok(());
        }
        self.go((&look, &next), &Awaited::default(), args.why.timeout)
    }
}
