//! One client: what it has sent and not finished, what it is owed, how far it may go.

use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::frontend::sessions::pipeline::Pipeline;
use crate::protocol::redis;
use crate::service::{Conversation, Deposit, Identity, State, Ticket, UploadId};

/// How long a client that has got its last reply may take to close its side.
const LEAVE: Duration = Duration::from_secs(1);

/// One client of a pool.
#[derive(Debug)]
pub(in crate::frontend) struct Session {
    /// Tells it from earlier ones at the same place.
    pub(in crate::frontend) serial: u32,
    pub(in crate::frontend) pool: u16,
    pub(in crate::frontend) pipeline: Pipeline,
    /// Bytes of a request that is not whole, or that must wait its turn.
    pub(in crate::frontend) input: Vec<u8>,
    /// How many bytes there must be before another look at them is worth it.
    pub(in crate::frontend) need: usize,
    pub(in crate::frontend) mode: Mode,
    pub(in crate::frontend) identity: Identity,
    /// What a cache of ours knows of it.
    pub(in crate::frontend) state: State,
    /// What it has under way that needs a server connection of its own.
    pub(in crate::frontend) conversation: Option<Box<Conversation>>,
    /// It has subscriptions, or is about to.
    pub(in crate::frontend) subscribed: bool,
    /// When it was last heard of.
    pub(in crate::frontend) heard: Instant,
    /// Why it is not read from now, if it is not.
    pub(in crate::frontend) hold: Hold,
    /// When, in a drain, it was first seen to be idle.
    pub(in crate::frontend) idle_at: Option<Instant>,
    /// It has closed its side.
    pub(in crate::frontend) ended: bool,
    /// It has been put on the list of those to be written to.
    pub(in crate::frontend) dirty: bool,
    /// It has taken bytes since a server connection last asked.
    pub(in crate::frontend) moved: bool,
    /// A server connection waits for it to take bytes.
    pub(in crate::frontend) waited_for: bool,
    /// Its socket is full: for how many beats it has taken nothing.
    pub(in crate::frontend) unread: Option<u8>,
    /// Since when it has not been read from because the buffers are full.
    pub(in crate::frontend) starved: Option<Instant>,
    /// Its one unanswered request is an upload that wants no reply.
    pub(in crate::frontend) quiet: bool,
    /// Nobody knew any more where its next request would begin.
    pub(in crate::frontend) lost: bool,
    /// When its unfinished request was begun; with a long one, when it last made progress.
    pub(in crate::frontend) begun: Option<Instant>,
    /// It is on the list of those whose progress is watched.
    pub(in crate::frontend) watched: bool,
    /// Bytes of it that the worker's totals count: in buffers, and those of them that are shared.
    pub(in crate::frontend) counted: (usize, usize),
}

/// How the next bytes of a client are to be taken.
#[derive(Debug)]
pub(in crate::frontend) enum Mode {
    /// As requests.
    Parsing,
    /// This many are thrown away first.
    Swallowing(u64),
    /// They belong to an upload.
    Uploading(Box<Upload>),
    /// They belong to a large value that is to be stored here, or stand behind it.
    Depositing(Box<Deposit>),
    /// Not at all: it is closed once it has got what it is owed.
    Ending,
    /// Not at all: it has been told that nothing more will come, and is waited for to close.
    Leaving,
}

/// The upload that a session is in the middle of.
#[derive(Debug)]
pub(in crate::frontend) struct Upload {
    /// Where it goes; `None` if its bytes are dropped.
    pub(in crate::frontend) id: Option<UploadId>,
    /// The number of the request.
    pub(in crate::frontend) seq: u32,
    pub(in crate::frontend) rest: UploadRest,
}

/// Where an upload ends.
#[derive(Debug)]
pub(in crate::frontend) enum UploadRest {
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
pub(in crate::frontend) enum Hold {
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
    /// Other large values must come in first.
    Memory,
}

/// Why a client is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::frontend) enum Reason {
    Eof,
    Reset,
    Timeout,
    SlowReader,
    Protocol,
    Shutdown,
}

impl Session {
    /// A client of `pool` that has just come.
    pub(in crate::frontend) fn new(
        ticket: Ticket,
        pool: u16,
        identity: Identity,
        now: Instant,
    ) -> Self {
        Self {
            serial: ticket.serial,
            pool,
            pipeline: Pipeline::default(),
            input: Vec::new(),
            need: 0,
            mode: Mode::Parsing,
            identity,
            state: State::new(ticket),
            conversation: None,
            subscribed: false,
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
            counted: (0, 0),
        }
    }

    /// True if nothing of it is under way.
    pub(in crate::frontend) fn is_idle(&self) -> bool {
        self.pipeline.is_idle()
            && self.input.is_empty()
            && matches!(self.mode, Mode::Parsing)
            && self.hold == Hold::None
    }

    /// True if its last request waits for what others do.
    pub(in crate::frontend) fn is_blocked(&self) -> bool {
        self.pipeline.depth() > 0 && self.conversation.as_ref().is_some_and(|it| it.is_blocked())
    }

    /// True if the next move is the client's: to finish what it has begun, or to go.
    pub(in crate::frontend) fn is_awaited(&self) -> bool {
        match self.mode {
            Mode::Parsing => self.hold == Hold::None && !self.input.is_empty(),
            Mode::Swallowing(_) | Mode::Uploading(_) | Mode::Depositing(_) => {
                self.hold == Hold::None
            }
            // It waits for us.
            Mode::Ending => false,
            Mode::Leaving => true,
        }
    }

    /// True if it has got all it is owed and will send nothing more.
    pub(in crate::frontend) fn is_over(&self) -> bool {
        matches!(self.mode, Mode::Ending) && self.pipeline.is_idle()
    }

    /// Bytes that it holds in buffers.
    pub(in crate::frontend) fn buffered(&self) -> usize {
        self.pipeline.buffered() + self.input.capacity()
    }

    /// Whether it has taken too long: to finish a request, or to leave.
    pub(in crate::frontend) fn is_overdue(&self, limits: &Limits, now: Instant) -> bool {
        let limit = match self.mode {
            Mode::Leaving => LEAVE,
            _ => limits.request_time,
        };
        let late = self.begun.is_some_and(|begun| now.saturating_duration_since(begun) >= limit);
        late && self.hold != Hold::Budget
    }
}
