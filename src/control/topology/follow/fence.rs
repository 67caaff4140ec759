//! Says when a pool's keys that move are not acted on because ZooKeeper is out of sight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::control::topology::desk::Desk;
use crate::metrics::TopologyMetric;
use crate::routing::Board;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Looks for ever.
pub(in crate::control::topology) async fn watch(
    desk: Arc<Desk>,
    (board, number): (Arc<Board>, usize),
) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = false;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let fenced = board.rings(number).is_some_and(|rings| {
            rings.phase().is_between() && rings.pass().is_some_and(|pass| !pass.holds(now))
        });
        if fenced == before {
            continue;
        }
        before = fenced;
        desk.metrics.set(TopologyMetric::SelfFenced, u64::from(fenced));
        let pool = &desk.pool;
        if fenced {
            tracing::warn!(pool, "self-fenced: no session with ZooKeeper, keys that move rest");
        } else {
            tracing::info!(pool, "the fence has fallen: keys that move are acted on");
        }
    }
}
