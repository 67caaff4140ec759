//! What the log is told of servers: at most one line a second of each kind about each.

use std::time::Instant;

use super::proxy::Proxy;
use crate::backend::{Failure, HandshakeError};
use crate::metrics::Spacing;

/// When the log was last told of a server.
#[derive(Debug, Default)]
pub(super) struct Notes {
    down: Spacing,
    up: Spacing,
    /// It sent what cannot be a reply.
    bad: Spacing,
    handshake: Spacing,
    tracking: Spacing,
}

impl Proxy {
    /// A server is held to be down from now on.
    pub(super) fn note_down(&mut self, now: Instant, (pool, server): (usize, usize), why: Failure) {
        let failure = why.text(self.compat);
        let place = &mut self.pools[pool];
        if let Some(untold) = place.servers[server].notes.down.pass(now) {
            let (pool, server) = (&place.settings.name, &place.settings.servers[server].name);
            tracing::warn!(pool, server, failure, untold = some(untold), "server is down");
        }
    }

    /// A server has been put back.
    pub(super) fn note_up(&mut self, now: Instant, (pool, server): (usize, usize)) {
        let place = &mut self.pools[pool];
        if let Some(untold) = place.servers[server].notes.up.pass(now) {
            let (pool, server) = (&place.settings.name, &place.settings.servers[server].name);
            tracing::info!(pool, server, untold = some(untold), "server is up");
        }
    }

    /// A TLS handshake with a server has failed.
    pub(super) fn note_handshake(
        &mut self,
        now: Instant,
        (pool, server): (usize, usize),
        error: &HandshakeError,
    ) {
        let place = &mut self.pools[pool];
        if let Some(untold) = place.servers[server].notes.handshake.pass(now) {
            let (pool, server) = (&place.settings.name, &place.settings.servers[server].name);
            tracing::warn!(pool, server, %error, untold = some(untold), "TLS handshake failed");
        }
    }

    /// A server does not tell of changes.
    pub(super) fn note_refused_tracking(&mut self, now: Instant, (pool, server): (usize, usize)) {
        let place = &mut self.pools[pool];
        if let Some(untold) = place.servers[server].notes.tracking.pass(now) {
            let (pool, server) = (&place.settings.name, &place.settings.servers[server].name);
            let untold = some(untold);
            tracing::warn!(
                pool,
                server,
                untold,
                "no CLIENT TRACKING, or CACHING: near cache by age alone"
            );
        }
    }

    /// The connection of `link` has been closed; if that was for what the server sent, the log
    /// gets a sample of it.
    pub(super) fn note_bad(&mut self, now: Instant, link: u32, why: Failure) {
        let link = &mut self.links[link as usize];
        let Some(sample) = link.connection.take_sample() else { return };
        let (place, server) = (&mut self.pools[link.pool as usize], link.server as usize);
        if let Some(untold) = place.servers[server].notes.bad.pass(now) {
            let (pool, server) = (&place.settings.name, &place.settings.servers[server].name);
            let (reason, sample) = (why.reason(), sample.escape_ascii().to_string());
            let untold = some(untold);
            tracing::warn!(pool, server, reason, sample, untold, "closed for what the server sent");
        }
    }
}

/// A number of lines that is worth telling.
fn some(untold: u64) -> Option<u64> {
    (untold > 0).then_some(untold)
}
