//! Requests that the parser has refused: a value too large to be stored still takes the place of the
//! old one, which would be stale.

use crate::cache::Context;
use crate::cache::memcache::{flags, words};
use crate::metrics::PoolMetric;
use crate::protocol::memcache::binary::sets;
use crate::protocol::{Refusal, Span, Status};

/// To be told of every request that the parser has refused, with the words that it has found.
pub fn refused(context: &Context<'_>, bytes: &[u8], args: &[Span], refusal: Option<&Refusal>) {
    let word = |at: usize| args.get(at).map(|span| span.of(bytes)).unwrap_or_default();
    let mut buffer = flags::KeyBuffer::default();
    let key = match (refusal, word(0)) {
        (Some(Refusal::Binary(failure)), _) if failure.status != Status::TooLarge => return,
        (Some(Refusal::Binary(failure)), _) if sets(failure.echo.opcode) => Some(word(1)),
        (Some(Refusal::Binary(_)), _) => None,
        (_, b"set") if is_large(context, word(4), refusal) => Some(word(1)),
        (_, b"ms") if is_large(context, word(2), refusal) => {
            let coded = args.iter().skip(3).any(|span| span.of(bytes) == b"b");
            if coded { buffer.decode(word(1)) } else { Some(word(1)) }
        }
        _ => return,
    };
    context.counters.add(PoolMetric::StoresTooLarge, 1);
    let (now, Some(key)) = (context.now.time, key.filter(|key| !key.is_empty())) else { return };
    let key = context.cache.store.key(key);
    context.cache.store.lock(key, now).remove(key, now);
}

/// Whether a line with this length of its data was refused for that.
fn is_large(context: &Context<'_>, length: &[u8], refusal: Option<&Refusal>) -> bool {
    match refusal {
        Some(Refusal::Server(_)) => true,
        Some(_) => false,
        // Of a `noreply` command: it may have been refused for another reason.
        None => words::unsigned(length).is_some_and(|len| len > context.cache.value_max as u64),
    }
}
