//! What a server's reply to a fill says: to whoever waits for it, and to the near cache.

use super::fills::Question;
use super::forms::{self, Answer, Form};
use crate::cache::near::{Fill, Kind};
use crate::protocol::memcache::{self, MetaReply};
use crate::protocol::{Outcome, Span, redis};

/// What a waiter gets of a reply.
pub(super) enum Shown {
    /// This, which is in the buffer.
    Reply(Outcome),
    /// Nothing: it must ask for itself.
    Again,
}

/// A server clock of whole seconds: an item that says so many has at least one less.
const SECOND: u64 = 1000;

pub(super) const fn is_error(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Error | Outcome::Auth | Outcome::Unavailable)
}

/// What a waiter for a memcache fill gets.
pub(super) fn show_meta(
    rank: usize,
    form: &Form,
    (key, reply): (&[u8], &[u8]),
    out: &mut Vec<u8>,
) -> Shown {
    // An item of the same key in the other way of writing it is shown by the server alone.
    let found = memcache::meta_reply(reply).filter(|it| is_key(it, key));
    if found.is_none() && !says_absent(reply) {
        return Shown::Again;
    }
    let value = found.and_then(|it| Some((it.value?, it.flags)));
    let outcome = if value.is_some() { Outcome::Hit } else { Outcome::Miss };
    let won = found.is_some_and(|it| it.won);
    match form {
        // Whoever is told that there is nothing makes the value anew, as the server wants.
        Form::Get if won && rank == 0 => {
            forms::write_get(key, None, out);
            return Shown::Reply(Outcome::Miss);
        }
        Form::Get => forms::write_get(key, value, out),
        Form::Meta(_) if won && rank > 0 => return Shown::Again,
        Form::Meta(line) => {
            let args = words(line);
            let marks = marks_of(reply);
            let answer = match value {
                Some((value, client)) => Answer::Item { value, client, marks: &marks },
                None => Answer::Absent { says_more: says_more(reply) },
            };
            forms::write_meta((line, &args), &answer, out);
        }
        Form::Redis { .. } | Form::Field { .. } | Form::Element { .. } => return Shown::Again,
    }
    Shown::Reply(outcome)
}

/// The beginning of what a waiter gets of a long reply, of which `reply` is the beginning: what
/// follows the line that was made anew.
pub(super) fn begin_of<'r>(
    question: Question,
    key: &[u8],
    form: &Form,
    reply: &'r [u8],
    out: &mut Vec<u8>,
) -> &'r [u8] {
    let Some(end) = memchr::memchr(b'\n', reply).map(|at| at + 1) else { return reply };
    if question != Question::Meta {
        return match (form, forms::pairs(reply)) {
            (Form::Redis { resp3 }, Some((count, _))) if question == Question::Hash => {
                forms::write_hash(count, &[], *resp3, out);
                &reply[end..]
            }
            (Form::Element { .. }, _) => {
                out.extend_from_slice(b"*1\r\n");
                reply
            }
            // One of them, without the array around it.
            (Form::Field { .. }, _) => &reply[end..],
            _ => reply,
        };
    }
    let Some((len, client)) = long_header(&reply[..end]) else { return reply };
    match form {
        Form::Meta(line) => {
            let args = words(line);
            forms::write_meta_header((line, &args), (len, client), &marks_of(reply), out);
        }
        _ => forms::write_block_header(key, client, len, out),
    }
    &reply[end..]
}

/// Length and client's bits in the line of a value that has not come in yet.
fn long_header(line: &[u8]) -> Option<(usize, u32)> {
    let text = std::str::from_utf8(line).ok()?.trim_end();
    let mut words = text.split(' ').skip(1);
    let len = words.next()?.parse().ok()?;
    let client = words.find_map(|word| word.strip_prefix('f'))?.parse().ok()?;
    Some((len, client))
}

/// What a server adds for whoever has asked by mg, in its order.
fn marks_of(reply: &[u8]) -> Vec<u8> {
    let end = memchr::memchr(b'\r', reply).unwrap_or(0);
    let words = reply[..end].split(|byte| *byte == b' ');
    words
        .filter(|word| matches!(*word, b"W" | b"X" | b"Z"))
        .flat_map(|word| [b' ', word[0]])
        .collect()
}

/// The words of a meta request's line.
pub(super) fn words(line: &[u8]) -> Vec<Span> {
    let (mut spans, mut start) = (Vec::new(), 0);
    let end = line.iter().position(|byte| *byte == b'\r' || *byte == b'\n').unwrap_or(line.len());
    for word in line[..end].split(|byte| *byte == b' ') {
        if !word.is_empty() {
            spans.push(Span { start: start as u32, end: (start + word.len()) as u32 });
        }
        start += word.len() + 1;
    }
    spans
}

/// Whether a server has answered for this key, written as it was asked for.
pub(super) fn is_key(reply: &MetaReply<'_>, key: &[u8]) -> bool {
    let mut expected = Vec::new();
    forms::write_meta_key(key, &mut expected);
    reply.key == expected && reply.binary != memcache::is_plain_key(key)
}

/// Whether a server says that there is nothing.
fn says_absent(reply: &[u8]) -> bool {
    reply == b"EN\r\n" || says_more(reply)
}

/// Whether it says so with the key, as it is asked.
fn says_more(reply: &[u8]) -> bool {
    reply.starts_with(b"EN ")
}

/// Milliseconds left at least.
pub(super) fn left(reply: &MetaReply<'_>) -> Option<u64> {
    reply.left.map(|seconds| seconds.saturating_sub(1) * SECOND)
}

/// What is to be stored, its value apart; `None` if that must not be.
pub(super) fn fill_of<'r>(
    question: Question,
    key: &[u8],
    reply: &'r [u8],
    millis: Option<i64>,
) -> Option<(&'r [u8], Fill<'static>)> {
    let (absent, bare) = (bare(Kind::Absent, 0), bare(Kind::Plain, 0));
    match question {
        Question::Version(_) => None,
        Question::Meta if says_absent(reply) => {
            Some((&[], Fill { flags: says_more(reply).into(), ..absent }))
        }
        Question::Meta => {
            let it = memcache::meta_reply(reply).filter(|it| is_key(it, key))?;
            if it.won || it.stale {
                return None;
            }
            let fill = Fill { flags: it.flags, cas: it.cas, left: left(&it), ..bare };
            Some((it.value?, fill))
        }
        Question::Value | Question::Hash | Question::Fields => {
            let left = match millis? {
                -1 => None,
                millis => Some(u64::try_from(millis).ok()),
            };
            // It was there, and is not any more, or the other way round, if these do not agree.
            let (value, fill) = match question {
                Question::Hash => hash_of(reply)?,
                Question::Fields => fields_of(reply)?,
                _ => redis::bulk_text(reply).map_or((&[][..], absent), |value| (value, bare)),
            };
            match (fill.kind, left) {
                (Kind::Absent, Some(None)) => Some((value, fill)),
                // Of fields that are not there only the key says whether it is.
                (Kind::Fields, Some(None)) if lacks_all(reply) => Some((&[], absent)),
                (Kind::Absent, _) | (_, Some(None)) => None,
                (_, left) => Some((value, Fill { left: left.flatten(), ..fill })),
            }
        }
    }
}

const fn bare(kind: Kind, flags: u32) -> Fill<'static> {
    Fill { kind, value: &[], flags, cas: 0, left: None, tracked: false }
}

/// What HGETALL has brought.
fn hash_of(reply: &[u8]) -> Option<(&[u8], Fill<'static>)> {
    let (count, pairs) = forms::pairs(reply)?;
    let kind = if count == 0 { Kind::Absent } else { Kind::Hash };
    Some((pairs, bare(kind, u32::try_from(count).ok()?)))
}

/// What HMGET has brought: all of it.
fn fields_of(reply: &[u8]) -> Option<(&[u8], Fill<'static>)> {
    redis::elements(reply).map(|_| (reply, bare(Kind::Fields, 0)))
}

fn lacks_all(reply: &[u8]) -> bool {
    let mut elements = redis::elements(reply).into_iter().flatten();
    elements.all(|it| redis::bulk_text(it.of(reply)).is_none())
}
