//! What is said first on a new connection, and whether the answers make it fit for use.
//!
//! memcached: `version`. Redis: AUTH if there is a password, SELECT if there is a database, then
//! PING. A connection that has not answered all of it is given no request.

use std::fmt;

use crate::backend::failure::Failure;
use crate::config::{Pool, Protocol};
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
}

impl Greeting {
    /// The greeting that `pool` asks for.
    pub fn of(pool: &Pool, compat: bool) -> Self {
        match pool.protocol {
            Protocol::Memcache | Protocol::Ping => Self {
                bytes: b"version\r\n".to_vec(),
                replies: 1,
                expect: Expect::Version,
                strict: !compat,
            },
            Protocol::Redis => Self::redis(pool, !compat),
        }
    }

    fn redis(pool: &Pool, strict: bool) -> Self {
        let mut bytes = Vec::new();
        let mut replies = 1;
        if let Some(secret) = &pool.redis_auth {
            let args = [b"AUTH".as_slice(), secret.reveal().as_bytes()];
            redis::write_command(args.into_iter(), &mut bytes);
            replies += 1;
        }
        if pool.redis_db > 0 {
            let db = pool.redis_db.to_string();
            redis::write_command([b"SELECT".as_slice(), db.as_bytes()].into_iter(), &mut bytes);
            replies += 1;
        }
        redis::write_command([b"PING".as_slice()].into_iter(), &mut bytes);
        Self { bytes, replies, expect: Expect::Resp, strict }
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
            // AUTH and SELECT come before the last question.
            Outcome::Error if !last => Err(Failure::Auth),
            Outcome::Error | Outcome::Unavailable => Err(Failure::Unfit),
            // Redis answers each of the questions with a status.
            _ if self.expect == Expect::Resp && reply.first() != Some(&b'+') => Err(Failure::Unfit),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Greeting {
    /// Without the bytes: a password may be in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting").field("replies", &self.replies).finish_non_exhaustive()
    }
}
