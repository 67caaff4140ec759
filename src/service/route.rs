//! Which server a request goes to: the one that has all of its keys.
//!
//! Keys of one command on several servers, where the command cannot be split, would be answered as
//! if those elsewhere were not there; so they are refused. twemproxy looks at the first key alone,
//! and so does this proxy in its place.

use super::pool::Pool;
use crate::backend::Failure;
use crate::protocol::{Keys, Refusal, Request, memcache};

/// Commands without a key go where twemproxy sends them: to the server of this key
/// (nc_message.c:900-909).
const PLACEHOLDER: &[u8] = b"placeholder";

/// Why a request goes to no server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// There is none.
    Failed(Failure),
    /// Its keys are on several.
    Apart(Refusal),
}

impl Pool {
    /// The server that has every key of `request`.
    pub(super) fn server_for(&self, request: &Request<'_>) -> Result<usize, Astray> {
        let command = request.head.command;
        if let Keys::At(at) = command.keys {
            return self.server_of(request, at.into());
        }
        let mut keys = request.keys();
        let first = keys.next();
        let server = self.server_of(request, first.unwrap_or(usize::MAX))?;
        if self.compat || self.servers.len() == 1 || !self.router.places_keys() {
            return Ok(server);
        }
        for key in keys {
            if self.server_of(request, key)? != server {
                return Err(apart("keys of one command are on several servers, use a hash tag"));
            }
        }
        if command.name.starts_with("SORT") && !self.patterns_stay(request, server) {
            return Err(apart("BY and GET name keys that may be on other servers, use a hash tag"));
        }
        Ok(server)
    }

    /// The server of the key at an index of the arguments. What has no key there, although its
    /// command has one, is for any server to refuse in its own words.
    fn server_of(&self, request: &Request<'_>, at: usize) -> Result<usize, Astray> {
        let key = request.args.get(at).map_or(PLACEHOLDER, |key| key.of(request.bytes));
        let binary = memcache::binary_key(request, key);
        let server = self.router.server_of(binary.as_deref().unwrap_or(key));
        server.ok_or(Astray::Failed(Failure::NoServer))
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
            tag.is_some() && self.router.server_of(pattern) == Some(server)
        })
    }
}

fn apart(text: &str) -> Astray {
    Astray::Apart(Refusal::Redis(format!("CROSSSLOT {text}")))
}
