//! What is said first on a new connection, and whether the answers make it fit for use.
//!
//! memcached: `version`. Redis: AUTH if there is a password, or HELLO 3 with it for clients that speak
//! RESP3; SELECT if there is a database; CLIENT TRACKING, and CLIENT CACHING, which every fill will
//! need, if there is a near cache; then PING. A connection that has not answered all of it is given no
//! request.

use std::fmt;

use crate::backend::failure::Failure;
use crate::config::{NearMode, Pool, Protocol};
use crate::protocol::{Expect, Outcome, redis};

/// The greeting of a pool's servers.
#[derive(Clone)]
pub struct Greeting {
    /// The bytes to send.
    pub bytes: Vec<u8>,
    /// How many replies they get.
    pub replies: usize,
    /// What each of them must look like.
    pub expect: Expect,
    /// An error in reply makes the connection unfit; otherwise (as twemproxy) clients will see
    /// the server's own errors.
    pub strict: bool,
    /// RESP3 is agreed on.
    pub resp3: bool,
    /// The server is asked to tell of changes; it may refuse.
    pub tracking: bool,
}

impl Greeting {
    /// The greeting that `pool` asks for; a Redis server may be asked for RESP3.
    pub fn of(pool: &Pool, compat: bool, resp3: bool) -> Self {
        match pool.protocol {
            Protocol::Memcache | Protocol::Ping => Self {
                bytes: b"version\r\n".to_vec(),
                replies: 1,
                expect: Expect::Version,
                strict: !compat,
                resp3: false,
                tracking: false,
            },
            Protocol::Redis => Self::redis(pool, !compat, resp3),
        }
    }

    fn redis(pool: &Pool, strict: bool, resp3: bool) -> Self {
        let mut bytes = Vec::new();
        let mut replies = 1;
        let mut words: Vec<&[u8]> = if resp3 { vec![b"HELLO", b"3"] } else { Vec::new() };
        if let Some(secret) = &pool.redis_auth {
            words.push(b"AUTH");
            match &pool.redis_user {
                Some(user) => words.push(user.as_bytes()),
                // HELLO wants a name; AUTH alone is what servers before Redis 6 know.
                None if resp3 => words.push(redis::DEFAULT_USER),
                None => {}
            }
            words.push(secret.reveal().as_bytes());
        }
        if !words.is_empty() {
            redis::write_command(words.into_iter(), &mut bytes);
            replies += 1;
        }
        if pool.redis_db > 0 {
            let db = pool.redis_db.to_string();
            redis::write_command([b"SELECT".as_slice(), db.as_bytes()].into_iter(), &mut bytes);
            replies += 1;
        }
        let near = pool.near_cache.as_ref();
        let tracking = resp3 && near.is_some_and(|near| near.mode == NearMode::Tracked);
        if tracking {
            let words = [b"CLIENT".as_slice(), b"TRACKING", b"ON", b"OPTIN"];
            redis::write_command(words.into_iter(), &mut bytes);
            // A server may allow the one and not the other.
            redis::write_command(
                [b"CLIENT".as_slice(), b"CACHING", b"YES"].into_iter(),
                &mut bytes,
            );
            replies += 2;
        }
        redis::write_command([b"PING".as_slice()].into_iter(), &mut bytes);
        Self { bytes, replies, expect: Expect::Resp, strict, resp3, tracking }
    }

    /// Whether a reply to a request stands for a failure of the server, as twemproxy has it:
    /// the connection is closed and whatever waits on it fails (nc_redis.c:2542). Otherwise its
    /// client gets to see it.
    pub fn is_failure(&self, reply: &[u8]) -> bool {
        let fails: [&[u8]; 3] = [b"-OOM ", b"-BUSY ", b"-LOADING "];
        !self.strict && self.expect == Expect::Resp && fails.iter().any(|it| reply.starts_with(it))
    }

    /// Looks at one reply; `last` if no other follows.
    ///
    /// # Errors
    /// The server refused the password or the database, cannot serve now, or is no such server:
    /// what listens there may well be an echo of ourselves.
    pub fn check(&self, reply: &[u8], outcome: Outcome, last: bool) -> Result<(), Failure> {
        match outcome {
            Outcome::Auth | Outcome::Error | Outcome::Unavailable if !self.strict => Ok(()),
            Outcome::Auth => Err(Failure::Auth),
            Outcome::Error if self.resp3 && is_unknown(reply) => Err(Failure::NoResp3),
            // AUTH and SELECT come before the last question.
            Outcome::Error if !last => Err(Failure::Auth),
            Outcome::Error | Outcome::Unavailable => Err(Failure::Unfit),
            // Redis answers each of the questions with a status, but for HELLO.
            _ if self.resp3 && !last && reply.first() == Some(&b'%') => Ok(()),
            _ if self.expect == Expect::Resp && reply.first() != Some(&b'+') => Err(Failure::Unfit),
            _ => Ok(()),
        }
    }
}

/// Whether a server does not know HELLO, or not this version.
fn is_unknown(reply: &[u8]) -> bool {
    let starts: [&[u8]; 2] = [b"-NOPROTO ", b"-ERR unknown command"];
    starts.iter().any(|start| reply.starts_with(start))
}

impl fmt::Debug for Greeting {
    /// Without the bytes: a password may be in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting").field("replies", &self.replies).finish_non_exhaustive()
    }
}
