//! The nanny as a process of its own: one thread, a log, and the session with ZooKeeper.

use std::convert::Infallible;

use crate::config::{Config, Pool};
use crate::control::nanny::Orders;

/// Looks after the servers of `pool` for ever, as the observer `id`.
///
/// # Errors
/// Why it cannot begin.
#[cfg(feature = "zookeeper")]
pub fn watch_over(
    config: &Config,
    pool: &Pool,
    id: &str,
    orders: Orders,
) -> Result<Infallible, String> {
    use crate::config::{Format, Place};
    use crate::control::{Log, topology};

    let source = pool.topology.as_ref().filter(|source| source.format == Format::Native);
    let Some(Place::ZooKeeper(place)) = source.map(|source| &source.place) else {
        return Err(format!("pool {} has no native topology in ZooKeeper", pool.name));
    };
    let _log = Log::install(&config.log).map_err(|error| error.to_string())?;
    let runtime = super::runtime().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        topology::watch_over(pool, place, id, orders).await;
        std::future::pending().await
    })
}

/// Looks after nobody.
///
/// # Errors
/// Always.
#[cfg(not(feature = "zookeeper"))]
pub fn watch_over(_: &Config, _: &Pool, _: &str, _: Orders) -> Result<Infallible, String> {
    Err("this program is built without ZooKeeper".to_owned())
}
