//! Pools without servers: requests are executed in place, on items of our own.
//!
//! ```text
//!  session ─▶ Standalone::execute ─▶ cache (memcache, redis) ─▶ the session's output
//! ```
//! Nothing is in flight, so a reply goes straight behind those before it. What a client is told
//! unasked, when something that it has read has changed, goes between two replies; its worker is
//! told of that by a letter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Inbox, Letter, Ticket};
use crate::cache::{self, Cache, Clock, Context, Loan, Now, PutError, Wake};
use crate::config::{Pool, Protocol, Secret};
use crate::metrics::PoolMetrics;
use crate::protocol::{Outline, Output, Refusal, Request, Span, memcache};
use crate::service::deposit::Deposit;
use crate::service::local::After;

/// Bytes that buffers borrow at a time.
const LOAN: usize = 256 << 10;

/// For so long loans outlast the need for them: the allocator gives nothing back at once.
const LOAN_TIME: Duration = Duration::from_secs(1);

/// What a cache knows of a client between two of its requests; nothing for memcache.
#[derive(Debug)]
pub struct State {
    redis: Option<Box<cache::redis::Session>>,
    ticket: Ticket,
}

impl State {
    /// That of a client which has this ticket and has sent nothing yet.
    pub fn new(ticket: Ticket) -> Self {
        Self { redis: None, ticket }
    }

    /// Whether the client has given its password, if that has come up.
    pub fn is_authenticated(&self) -> Option<bool> {
        self.redis.as_ref().map(|session| session.is_authenticated())
    }
}

/// Whether a value comes in by itself.
#[derive(Debug)]
pub enum Accepted {
    /// From now on.
    Now(Box<Deposit>),
    /// When others have come in.
    Later,
    /// It does not: the request is to be held until it is whole.
    Held,
}

/// The caches of all pools that are one, as a worker sees them.
pub struct Standalone {
    pools: Vec<Option<Place>>,
    clock: Clock,
    now: Now,
    /// What the worker's buffers have borrowed of the store.
    loans: Vec<Loan>,
    /// How many there have had to be lately, and until when that counts.
    wanted: (usize, Instant),
}

struct Place {
    cache: Arc<Cache>,
    protocol: Protocol,
    password: Option<Arc<Secret>>,
    inbox: Inbox<Letter>,
}

impl Place {
    /// The session of a Redis client, which begins with its first request.
    fn session<'a>(&self, state: &'a mut State) -> &'a mut cache::redis::Session {
        let ticket = state.ticket;
        state.redis.get_or_insert_with(|| {
            let session = match &self.password {
                Some(password) => cache::redis::Session::locked(Arc::clone(password)),
                None => cache::redis::Session::default(),
            };
            let inbox = self.inbox.clone();
            // One letter for each client that has nothing to take yet, so they are bounded.
            let wake = Wake::new(move || inbox.push(Letter::Changed(ticket)));
            Box::new(session.woken_by(wake))
        })
    }
}

impl Standalone {
    /// The caches of `pools`, in their order; `None` for a pool that has servers. The worker gets
    /// what is in `inbox`.
    pub fn new(
        caches: &[Option<Arc<Cache>>],
        pools: &[Pool],
        mut clock: Clock,
        inbox: &Inbox<Letter>,
    ) -> Self {
        let place = |(cache, pool): (&Option<Arc<Cache>>, &Pool)| {
            cache.as_ref().map(|cache| Place {
                cache: Arc::clone(cache),
                protocol: pool.protocol,
                password: pool.redis_auth.clone().map(Arc::new),
                inbox: inbox.clone(),
            })
        };
        let pools = caches.iter().zip(pools).map(place).collect();
        let now = Instant::now();
        Self { pools, clock, now: clock.at(now), loans: Vec::new(), wanted: (0, now) }
    }

    /// True if requests of this pool are executed here.
    pub fn serves(&self, pool: u16) -> bool {
        self.pools.get(pool as usize).is_some_and(Option::is_some)
    }

    /// A turn begins at `now`: all that it executes happens then.
    pub fn begin_turn(&mut self, now: Instant) {
        if self.pools.iter().any(Option::is_some) {
            self.now = self.clock.at(now);
        }
    }

    /// At `now` the worker's buffers hold so many bytes: large ones take the place of items.
    pub fn hold(&mut self, bytes: usize, now: Instant) {
        let loans = bytes / LOAN;
        self.wanted.0 = self.wanted.0.max(loans);
        if now >= self.wanted.1 {
            self.loans.truncate(self.wanted.0);
            self.wanted = (loans, now + LOAN_TIME);
        }
        let Some(place) = self.pools.iter().flatten().next() else { return };
        while self.loans.len() < loans {
            // If nothing may be evicted, the bound on buffers is all there is.
            let Ok(loan) = place.cache.store.lend(LOAN as u64, self.now.time) else { return };
            self.loans.push(loan);
        }
    }

    /// Has the value of a request that has begun come in by itself.
    pub fn accept(&self, pool: u16, outline: Outline, state: &mut State) -> Accepted {
        let Some(Some(place)) = self.pools.get(pool as usize) else { return Accepted::Held };
        let ready = place.protocol != Protocol::Redis || place.session(state).may_deposit();
        match ready.then(|| Deposit::new(&place.cache, outline)) {
            Some(Ok(deposit)) => Accepted::Now(Box::new(deposit)),
            Some(Err(PutError::Full)) => Accepted::Later,
            // It is told when it is whole.
            Some(Err(PutError::TooLarge)) | None => Accepted::Held,
        }
    }

    /// Whether a value of `len` bytes that was to come later may come now.
    pub fn may_accept(&self, pool: u16, len: u64) -> bool {
        let place = self.pools.get(pool as usize).and_then(Option::as_ref);
        place.is_none_or(|place| place.cache.store.has_place_for(len))
    }

    /// Takes bytes of such a value from the front of `bytes`; says how many.
    pub fn fill(&self, deposit: &mut Deposit, bytes: &[u8]) -> usize {
        deposit.fill(bytes, self.now)
    }

    /// Executes a request, whose value may have come in by itself, and appends its reply to `out`.
    pub fn execute(
        &self,
        pool: u16,
        (request, deposit): (Request<'_>, Option<Deposit>),
        counters: &PoolMetrics,
        (state, out): (&mut State, &mut Output),
    ) -> After {
        let Some(Some(place)) = self.pools.get(pool as usize) else { return After::Close };
        let incoming = deposit.map(Deposit::into_value);
        let incoming = incoming.as_ref();
        let context = Context { cache: &place.cache, counters, now: self.now, incoming };
        let after = match place.protocol {
            Protocol::Memcache => cache::memcache::execute(&context, request, out),
            Protocol::Redis => {
                let session = place.session(state);
                // What came before the request goes before its reply, what comes of it behind.
                session.push(out);
                let after = cache::redis::execute(&context, session, request, out);
                session.push(out);
                after
            }
            Protocol::Ping => {
                out.extend_from_slice(b"PONG\r\n");
                cache::After::Stay
            }
        };
        match after {
            cache::After::Stay => After::Stay,
            cache::After::Close => After::Close,
        }
    }

    /// Appends what a client is to be told of changes of what it has read.
    pub fn push(&self, state: &State, out: &mut Output) {
        if let Some(session) = &state.redis {
            session.push(out);
        }
    }

    /// A request was refused when it was parsed, with these words found in `bytes`.
    pub fn refused(
        &self,
        pool: u16,
        (bytes, args): (&[u8], &[Span]),
        refusal: Option<&Refusal>,
        counters: &PoolMetrics,
    ) {
        let Some(Some(place)) = self.pools.get(pool as usize) else { return };
        if place.protocol == Protocol::Memcache {
            let (now, incoming) = (self.now, None);
            let context = Context { cache: &place.cache, counters, now, incoming };
            cache::memcache::refused(&context, bytes, args, refusal);
        }
    }

    /// Appends the answer to a request that cannot be executed.
    pub fn refuse(&self, pool: u16, refusal: &Refusal, state: &mut State, out: &mut Output) {
        let Some(Some(place)) = self.pools.get(pool as usize) else { return };
        match place.protocol {
            Protocol::Memcache | Protocol::Ping => memcache::write_refusal(refusal, out),
            Protocol::Redis => cache::redis::refuse(place.session(state), refusal, out),
        }
    }
}
