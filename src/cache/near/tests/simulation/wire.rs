//! Connections between proxies and the server: two queues each, in which bytes keep their order.

use std::collections::{BTreeMap, VecDeque};

/// What a proxy asks.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// The handshake, with tracking if the server knows that.
    Hello,
    Ping,
    /// `CLIENT CACHING YES` before it, if it is tracked.
    Get {
        keys: Vec<usize>,
        tracked: bool,
    },
    /// How long a key has left.
    Left {
        key: usize,
    },
    Write(Write),
}

/// A change, and who knows it by which number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    pub(super) change: Change,
    pub(super) proxy: usize,
    pub(super) number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Set { key: usize, life: Option<u64> },
    Expire { key: usize, life: u64 },
    Delete { key: usize },
    Flush,
}

impl Change {
    /// The key that it is about; all of them if none.
    pub(super) fn key(self) -> Option<usize> {
        match self {
            Self::Set { key, .. } | Self::Expire { key, .. } | Self::Delete { key } => Some(key),
            Self::Flush => None,
        }
    }
}

/// What comes from the server.
#[derive(Clone, Debug)]
pub(super) enum Down {
    Hello,
    Pong,
    Values(Vec<Seen>),
    Left(Left),
    /// A change was made; the version that it made.
    Wrote(u64),
    Push(usize),
    PushAll,
    /// It has closed the connection.
    End,
}

/// A key, as it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) version: u64,
    /// What the server itself calls this version; it may call another one so once it has started
    /// again.
    pub(super) cas: u64,
    pub(super) present: bool,
    /// With memcached, which tells it along.
    pub(super) left: Left,
}

/// How long a key has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Ever,
    /// There is none.
    Gone,
    Millis(u64),
    /// Of the server's clock, of which the first has begun already.
    Ticks(u64),
}

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) up: VecDeque<Command>,
    pub(super) down: VecDeque<Down>,
    /// Nothing moves before.
    pub(super) up_held: u64,
    pub(super) down_held: u64,
    pub(super) server_closed: bool,
    pub(super) proxy_closed: bool,
}

/// All of them, by number.
#[derive(Debug, Default)]
pub(super) struct Wires {
    all: BTreeMap<u32, Wire>,
    last: u32,
}

impl Wires {
    pub(super) fn open(&mut self) -> u32 {
        self.last += 1;
        self.all.insert(self.last, Wire::default());
        self.last
    }

    pub(super) fn get(&mut self, number: u32) -> Option<&mut Wire> {
        self.all.get_mut(&number)
    }

    pub(super) fn iter(&mut self) -> impl Iterator<Item = (u32, &mut Wire)> {
        self.all.iter_mut().map(|(number, wire)| (*number, wire))
    }

    /// The server says something.
    pub(super) fn down(&mut self, number: u32, down: Down) {
        if let Some(wire) = self.all.get_mut(&number)
            && !wire.server_closed
            && !wire.proxy_closed
        {
            wire.down.push_back(down);
        }
    }

    /// A proxy asks something.
    pub(super) fn up(&mut self, number: u32, command: Command) {
        if let Some(wire) = self.all.get_mut(&number)
            && !wire.server_closed
        {
            wire.up.push_back(command);
        }
    }

    /// Forgets those that nothing can come of any more, and says which.
    pub(super) fn clear(&mut self) -> Vec<u32> {
        let is_over = |wire: &Wire| wire.proxy_closed && (wire.up.is_empty() || wire.server_closed);
        let over: Vec<u32> =
            self.all.iter().filter(|(_, wire)| is_over(wire)).map(|(number, _)| *number).collect();
        over.iter().for_each(|number| drop(self.all.remove(number)));
        over
    }
}
