//! What a machine and whoever drives it say to each other.

use crate::config::Fill;

/// What a machine must know of the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// Seconds that a stub lives.
    pub(crate) stub_ttl: u32,
    /// What becomes of a value that a get finds at its old server.
    pub(crate) fill: Fill,
    /// Seconds that a copy lives which a get has made, at most; 0: as long as the value.
    pub(crate) fill_ttl_max: u32,
    /// A CAS that clients have read may be one of the other server's.
    pub(crate) quarantine: bool,
    /// Seconds since 1970.
    pub(crate) unix: u64,
    /// What only tests do.
    pub(crate) wrong: Wrong,
}

/// Ways of doing it that lead to stale values, so that tests can show that they would see any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Copies are made by add.
    pub(crate) add_fill: bool,
    /// The new server is written to before the old copy is deleted.
    pub(crate) new_first: bool,
    /// The old copy is not deleted.
    pub(crate) new_only: bool,
    /// A set deletes the old copy once.
    pub(crate) two_steps: bool,
    /// Operations do not name the item that they are for.
    pub(crate) unguarded: bool,
}

/// A server, as seen from the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The one that the old ring gives it.
    Old,
    /// The one that the new ring does.
    New,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Send this and say what came of it.
    Send(Send),
    /// The client gets this: the operation has ended.
    Answer(Vec<u8>),
    /// Nothing: begin again once the phase has changed.
    Park,
}

/// A request to a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Send {
    /// To which.
    pub(crate) side: Side,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// What the reply must look like.
    pub(crate) expect: Kind,
    /// It goes on the connection that the last reply of this side came on, or not at all: it names
    /// a CAS, and a server that was restarted counts them anew.
    pub(crate) bound: bool,
    /// It changes nothing, so that it may be sent twice.
    pub(crate) read: bool,
}

/// The form of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// That of a meta command.
    Meta,
    /// That of the operation itself.
    Own,
}

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lost {
    /// The server has not got it.
    Unsent,
    /// Nobody knows what it has done.
    Unknown,
}

/// What is worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The old server was asked, since the new one had nothing, and had it.
    FallbackHit,
    /// It had nothing either.
    FallbackMiss,
    /// A copy was made.
    FillWon,
    /// Another was faster, or the key was changed meanwhile.
    FillLost,
    /// An old copy could not be deleted: nothing was done.
    ClearFailed,
}
