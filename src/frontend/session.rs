//! One client: what it has sent and not finished, what it is owed, how far it may go.

use std::time::Instant;

use super::pipeline::Pipeline;
use crate::protocol::redis;
use crate::service::{Identity, State, UploadId};

/// One client of a pool.
#[derive(Debug)]
pub(super) struct Session {
    /// Tells it from earlier ones at the same place.
    pub(super) serial: u32,
    pub(super) pool: u16,
    pub(super) pipeline: Pipeline,
    /// Bytes of a request that is not whole, or that must wait its turn.
    pub(super) input: Vec<u8>,
    /// How many bytes there must be before another look at them is worth it.
    pub(super) need: usize,
    pub(super) mode: Mode,
    pub(super) identity: Identity,
    /// What a cache of ours knows of it.
    pub(super) state: State,
    /// When it was last heard of.
    pub(super) heard: Instant,
    /// Why it is not read from now, if it is not.
    pub(super) hold: Hold,
    /// When, in a drain, it was first seen to be idle.
    pub(super) idle_at: Option<Instant>,
    /// It has closed its side.
    pub(super) ended: bool,
    /// It has been put on the list of those to be written to.
    pub(super) dirty: bool,
    /// It has taken bytes since a server connection last asked.
    pub(super) moved: bool,
    /// A server connection waits for it to take bytes.
    pub(super) waited_for: bool,
    /// Its socket is full: for how many beats it has taken nothing.
    pub(super) unread: Option<u8>,
    /// Since when it has not been read from because the buffers are full.
    pub(super) starved: Option<Instant>,
    /// Its one unanswered request is an upload that wants no reply.
    pub(super) quiet: bool,
    /// Nobody knew any more where its next request would begin.
    pub(super) lost: bool,
    /// When its unfinished request was begun; with a long one, when it last made progress.
    pub(super) begun: Option<Instant>,
    /// It is on the list of those whose progress is watched.
    pub(super) watched: bool,
    /// Bytes of it that the worker's total counts.
    pub(super) counted: usize,
}

/// How the next bytes of a client are to be taken.
#[derive(Debug)]
pub(super) enum Mode {
    /// As requests.
    Parsing,
    /// This many are thrown away first.
    Swallowing(u64),
    /// They belong to an upload.
    Uploading(Box<Upload>),
    /// Not at all: it is closed once it has got what it is owed.
    Ending,
    /// Not at all: it has been told that nothing more will come, and is waited for to close.
    Leaving,
}

/// The upload that a session is in the middle of.
#[derive(Debug)]
pub(super) struct Upload {
    /// Where it goes; `None` if its bytes are dropped.
    pub(super) id: Option<UploadId>,
    /// The number of the request.
    pub(super) seq: u32,
    pub(super) rest: UploadRest,
}

/// Where an upload ends.
#[derive(Debug)]
pub(super) enum UploadRest {
    /// After this many bytes, the last two of which must be CRLF.
    Bytes {
        left: u64,
        /// The last byte before those.
        last: u8,
    },
    /// Where the array ends.
    Array(redis::Rest),
}

/// Why a client is not read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is read from.
    None,
    /// Too many of its requests are unanswered.
    Depth,
    /// Its next request has to wait until all others are answered.
    Order,
    /// It does not take its replies as fast as it asks.
    Output,
    /// The server takes no more of its upload, or of requests without replies, for now.
    Server,
    /// The worker's buffers are full.
    Budget,
}

/// Why a client is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Eof,
    Reset,
    Timeout,
    SlowReader,
    Protocol,
    Shutdown,
}

impl Session {
    /// A client of `pool` that has just come.
    pub(super) fn new(serial: u32, pool: u16, identity: Identity, now: Instant) -> Self {
        Self {
            serial,
            pool,
            pipeline: Pipeline::default(),
            input: Vec::new(),
            need: 0,
            mode: Mode::Parsing,
            identity,
            state: State::default(),
            heard: now,
            hold: Hold::None,
            idle_at: None,
            ended: false,
            dirty: false,
            moved: false,
            waited_for: false,
            unread: None,
            starved: None,
            quiet: false,
            lost: false,
            begun: None,
            watched: false,
            counted: 0,
        }
    }

    /// True if nothing of it is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.pipeline.is_idle()
            && self.input.is_empty()
            && matches!(self.mode, Mode::Parsing)
            && self.hold == Hold::None
    }

    /// True if the next move is the client's: to finish what it has begun, or to go.
    pub(super) fn is_awaited(&self) -> bool {
        match self.mode {
            Mode::Parsing => self.hold == Hold::None && !self.input.is_empty(),
            Mode::Swallowing(_) | Mode::Uploading(_) => self.hold == Hold::None,
            // It waits for us.
            Mode::Ending => false,
            Mode::Leaving => true,
        }
    }

    /// True if it has got all it is owed and will send nothing more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.mode, Mode::Ending) && self.pipeline.is_idle()
    }

    /// Bytes that it holds in buffers.
    pub(super) fn buffered(&self) -> usize {
        self.pipeline.buffered() + self.input.len()
    }
}
