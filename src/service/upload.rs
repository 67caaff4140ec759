//! Uploads: requests too long to be held, sent on while they come in.
//!
//! ```text
//!  client ─▶ session ─▶ upload_more ─▶ a connection of its own ─▶ server
//!                            └─ Pause while the server takes no more ─▶ Clients::resume
//! ```
//! A slow uploader would hold up everybody who shares the server's connection, so each upload has
//! its own, which is closed when the reply is there. The session waits for its earlier requests
//! before it begins one, and sends nothing else meanwhile: the order of its requests is kept.

use super::dispatch::{Turn, expect_of, rewritten};
use super::proxy::{Caller, Duty, Proxy};
use super::replies::{Clients, count_request};
use super::route::Astray;
use crate::backend::{Ask, Failure, Flow, Phase, To};
use crate::metrics::ServerMetric;
use crate::protocol::{Expect, Request, Span, memcache};

/// Uploads to one server that one worker has under way at most; further ones are refused.
const UPLOADS_PER_SERVER: usize = 16;

/// Bytes that may wait for the server before the client is no longer read from.
const WAITING_BYTES: usize = 256 * 1024;

/// An upload under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadId {
    link: u32,
    attempt: u32,
}

impl Proxy {
    /// Begins an upload with the bytes that are there so far.
    ///
    /// # Errors
    /// The error line that the client must get; the rest of its request must be thrown away.
    pub fn upload<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        caller: Caller,
        request: Request<'_>,
    ) -> Result<UploadId, Vec<u8>> {
        let head = request.head;
        let Caller { pool, ticket, resp3 } = caller;
        let metrics = &self.metrics.pools[pool as usize];
        count_request(metrics, memcache::access_of(&request), request.bytes.len() as u64);
        let owner = &mut self.pools[pool as usize];
        let server = match owner.server_for(&request, request.keys()) {
            Ok(server) => server,
            Err(Astray::Failed(failure)) => return Err(self.failure_line(pool, failure)),
            // It is held until it is whole, see `Proxy::moves`.
            Err(Astray::Moved { .. }) => return Err(self.failure_line(pool, Failure::NoServer)),
            Err(Astray::Apart(text)) => return Err(format!("-{text}\r\n").into_bytes()),
        };
        let place = &mut owner.servers[server];
        if !place.health.is_up() || !place.health.may_connect(turn.now) {
            let failure = place.health.last_failure();
            return Err(self.failure_line(pool, failure));
        }
        if place.uploads >= UPLOADS_PER_SERVER {
            return Err(self.failure_line(pool, Failure::QueueFull));
        }
        place.uploads += 1;
        let mark = self.mark_writes(pool, 0, &request, turn.now);
        let owner = &self.pools[pool as usize];
        let ask = Ask {
            to: To::Client(ticket),
            expect: expect_of(owner.settings.protocol, &request),
            // Its bytes are not kept, so that it cannot be sent twice.
            read: false,
            key: Span::default(),
            may_miss: false,
            patient: false,
            mark,
        };
        let protocol = owner.settings.protocol;
        let link = self.open_extra((pool, server as u16), Duty::Upload(ticket), resp3);
        if ask.expect == Expect::MetaQuiet {
            self.links[link as usize].behind = memcache::NOOP;
        }
        if head.noreply || head.bare_lf {
            // The server is to answer: who else would say when it has taken everything?
            let wire = rewritten(protocol, &request);
            let pieces: Vec<&[u8]> = wire.iter().map(Vec::as_slice).collect();
            self.send(turn, link, ask, &pieces);
        } else {
            self.send(turn, link, ask, &[request.bytes]);
        }
        Ok(UploadId { link, attempt: self.links[link as usize].attempt })
    }

    /// Sends more of an upload on, and with `whole` the last of it. If it has ended already (the
    /// server answered early, or failed), the bytes are dropped.
    pub fn upload_more<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        id: UploadId,
        (bytes, whole): (&[u8], bool),
    ) -> Flow {
        let place = &mut self.links[id.link as usize];
        if place.upload().is_none() || place.attempt != id.attempt || place.connection.depth() == 0
        {
            return Flow::Go;
        }
        let metrics = &self.metrics.pools[place.pool as usize].servers[place.server as usize];
        metrics.add(ServerMetric::RequestBytes, bytes.len() as u64);
        place.whole = whole;
        let mut pushed = place.connection.push_more(turn.io, bytes, turn.now);
        if whole && pushed.is_ok() && !place.behind.is_empty() {
            pushed = place.connection.push_more(turn.io, place.behind, turn.now);
        }
        let waiting = place.connection.buffered();
        self.mark_dirty(id.link);
        if let Err(failure) = pushed {
            self.broken(turn, id.link, failure);
            return Flow::Go;
        }
        if waiting > WAITING_BYTES { Flow::Pause } else { Flow::Go }
    }

    /// The client has gone in the middle of its upload: so must the connection.
    pub fn upload_abort<C: Clients>(&mut self, turn: &mut Turn<'_, C>, id: UploadId) {
        let place = &mut self.links[id.link as usize];
        if place.upload().is_some() && place.attempt == id.attempt {
            let left = place.connection.abandon();
            self.close_unused(turn, id.link);
            self.free_upload(id.link);
            left.iter().for_each(|entry| self.linger(entry.ask.mark, turn.now));
        }
    }

    /// While the server has all that has come of an upload, its silence is the client's: it is
    /// not late. (The client is; its session knows.)
    pub(super) fn spare_upload<C>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        let uploads = place.upload().is_some() && !place.whole;
        let connection = &mut place.connection;
        let served = connection.phase() == Phase::Ready && connection.buffered() == 0;
        if uploads && served && connection.depth() > 0 {
            // Nothing is written, so that nothing can fail.
            let _ = connection.push_more(turn.io, &[], turn.now);
        }
    }

    /// The server has taken bytes: the client may send more.
    pub(super) fn upload_moved<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &self.links[link as usize];
        if let Some(ticket) = place.upload()
            && place.connection.buffered() <= WAITING_BYTES / 2
        {
            turn.clients.resume(turn.io, ticket);
        }
    }

    /// Closes an upload's connection if the reply is there.
    pub(super) fn end_upload_if_done<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        let place = &mut self.links[link as usize];
        if place.upload().is_some()
            && place.connection.phase() == Phase::Ready
            && place.connection.depth() == 0
        {
            self.close_unused(turn, link);
            self.finish_upload(turn, link);
        }
    }

    /// An upload's connection has failed: so has what waits on it.
    pub(super) fn end_upload<C: Clients>(
        &mut self,
        turn: &mut Turn<'_, C>,
        link: u32,
        failure: Failure,
    ) {
        for entry in self.links[link as usize].connection.abandon() {
            self.fail_asked(turn, link, &entry.ask, failure);
        }
        self.finish_upload(turn, link);
    }

    fn finish_upload<C: Clients>(&mut self, turn: &mut Turn<'_, C>, link: u32) {
        if let Some(ticket) = self.links[link as usize].upload() {
            turn.clients.resume(turn.io, ticket);
            self.free_upload(link);
        }
    }

    fn free_upload(&mut self, link: u32) {
        let place = &self.links[link as usize];
        if place.upload().is_some() {
            let (pool, server) = (place.pool as usize, place.server as usize);
            self.pools[pool].servers[server].uploads -= 1;
            self.free_extra(link);
        }
    }
}
