//! Which server a request goes to: the one that has all of its keys.
//!
//! Keys of one command on several servers, where the command cannot be split, would be answered as
//! if those elsewhere were not there; so they are refused. twemproxy looks at the first key alone,
//! and so does this proxy in its place.

use super::pool::Pool;
use crate::backend::Failure;
use crate::config::Protocol;
use crate::protocol::{Keys, Positions, Request, memcache};
use crate::routing::Place;

/// Commands without a key go where twemproxy sends them: to the server of this key
/// (nc_message.c:900-909).
const PLACEHOLDER: &[u8] = b"placeholder";

/// The first word is that of Redis Cluster, which clients know.
const KEYS_APART: &str = "CROSSSLOT keys of one command are on several servers, use a hash tag";
const NO_KEY: &str = "ERR a script without keys cannot be routed to one of several servers";
const PATTERNS_APART: &str =
    "CROSSSLOT BY and GET name keys that may be on other servers, use a hash tag";

/// Why a request goes to no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// There is none.
    Failed(Failure),
    /// Its keys are on several, or it has none to say on which: the error text.
    Apart(&'static str),
    /// Its key moves between these two.
    Moved {
        /// The one that has had it.
        old: usize,
        /// The one that gets it.
        new: usize,
    },
}

impl Pool {
    /// The server that has every key of `request`; they stand at `keys`.
    pub(super) fn server_for(
        &self,
        request: &Request<'_>,
        mut keys: Positions,
    ) -> Result<usize, Astray> {
        let first = keys.next();
        let server = self.server_of(request, first.unwrap_or(usize::MAX))?;
        if first.is_none() && !self.is_alone() && needs_key(request) {
            return Err(Astray::Apart(NO_KEY));
        }
        self.has_the_rest(request, keys, server)
    }

    fn has_the_rest(
        &self,
        request: &Request<'_>,
        keys: Positions,
        server: usize,
    ) -> Result<usize, Astray> {
        if self.compat || self.count() == 1 || !self.router.places_keys() {
            return Ok(server);
        }
        for key in keys {
            if self.server_of(request, key)? != server {
                return Err(Astray::Apart(KEYS_APART));
            }
        }
        if request.head.command.name.starts_with("SORT") && !self.patterns_stay(request, server) {
            return Err(Astray::Apart(PATTERNS_APART));
        }
        Ok(server)
    }

    /// The server of the key at an index of the arguments. What has no key there, although its
    /// command has one, is for any server to refuse in its own words.
    #[inline]
    pub(super) fn server_of(&self, request: &Request<'_>, at: usize) -> Result<usize, Astray> {
        let key = request.args.get(at).map_or(PLACEHOLDER, |key| key.of(request.bytes));
        let binary = memcache::binary_key(request, key);
        self.place(binary.as_deref().unwrap_or(key))
    }

    /// The server of a key.
    #[inline]
    pub(super) fn place(&self, key: &[u8]) -> Result<usize, Astray> {
        let Some(rings) = &self.rings else {
            return self.router.server_of(key).ok_or(Astray::Failed(Failure::NoServer));
        };
        // The gate has seen to it that the key is there.
        if self.settings.protocol == Protocol::Redis {
            return rings.serving(key).ok_or(Astray::Failed(Failure::NoServer));
        }
        match rings.place(key) {
            Some(Place::One(server)) => Ok(server),
            Some(Place::Moved { old, new }) => Err(Astray::Moved { old, new }),
            None => Err(Astray::Failed(Failure::NoServer)),
        }
    }

    /// The server of a key as the near cache may ask it: of one that moves only the gate, or the ways of
    /// both servers, know where it is.
    #[inline]
    pub(super) fn lasting_place(&self, key: &[u8]) -> Result<usize, Astray> {
        let rings = self.rings.as_ref().filter(|rings| rings.phase().is_between());
        match rings.and_then(|rings| rings.moved(key)) {
            Some([old, new]) => Err(Astray::Moved { old, new }),
            None => self.place(key),
        }
    }

    /// Whether all keys that SORT makes of its patterns are on the server: a hash tag says so.
    fn patterns_stay(&self, request: &Request<'_>, server: usize) -> bool {
        let words = request.args.windows(2).skip(1);
        words.into_iter().all(|pair| {
            let [word, pattern] = [pair[0].of(request.bytes), pair[1].of(request.bytes)];
            let names = word.eq_ignore_ascii_case(b"BY") || word.eq_ignore_ascii_case(b"GET");
            if !names || !pattern.contains(&b'*') {
                return true;
            }
            let tag = self.router.tag_of(pattern).filter(|tag| !tag.contains(&b'*'));
            tag.is_some() && self.place(pattern) == Ok(server)
        })
    }
}

/// Whether a request without a key cannot go to just any server: a script may do anything there.
fn needs_key(request: &Request<'_>) -> bool {
    matches!(request.head.command.keys, Keys::Counted(_))
}
