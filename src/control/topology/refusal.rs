//! Why what a source says is not followed.

use thiserror::Error;

/// The kinds of reasons, as `twinring_topology_rejected_total` tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The list is empty and does not say that this is meant.
    Empty,
    /// Too large a part of the ring would go at once.
    Shrink,
    /// It cannot be read.
    Decode,
    /// It is older than what is followed.
    Epoch,
    /// A name or an address stands in it twice.
    Dup,
    /// It is not there any more.
    Deleted,
    /// It is for another kind of ring, or for servers that the pool cannot talk to.
    Ring,
    /// Members alone make no ring: a commit is missing.
    Commit,
    /// It is not the next step of an expansion, nor the last one.
    Phase,
    /// The process could not put it in force.
    Apply,
}

impl Reason {
    /// As metrics and logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Shrink => "shrink",
            Self::Decode => "decode",
            Self::Epoch => "epoch",
            Self::Dup => "dup",
            Self::Deleted => "deleted",
            Self::Ring => "ring",
            Self::Commit => "commit",
            Self::Phase => "phase",
            Self::Apply => "apply",
        }
    }
}

/// A reason and its particulars.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {text}", .reason.name())]
pub struct Refusal {
    /// Of what kind.
    pub reason: Reason,
    /// One line for whoever is on call.
    pub text: String,
}

impl Refusal {
    /// A refusal; what stands in `text` may come from outside.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        let text: String = text.into();
        let one_line = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { reason, text: one_line }
    }
}
