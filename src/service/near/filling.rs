//! What comes of a fill: its reply goes to all who wait, and into the near cache if it may.
//!
//! ```text
//!  CACHING YES ─▶ permitted? ┐
//!  GET, mg     ─▶ answered ──┼─▶ everybody's reply, in the form in which each has asked
//!  PTTL        ─▶ left ──────┴─▶ Near::settle
//! ```

use super::fills::{Question, Released, Whom};
use super::forms::{self, Answer, Form};
use crate::backend::{Flow, Io};
use crate::cache::near::{Fill, Kind, Settled};
use crate::metrics::PoolMetric;
use crate::protocol::memcache::{self, MetaReply};
use crate::protocol::{Outcome, Span, redis};
use crate::service::replies::{Clients, Sink, count_lookup};

/// The questions of a fill: that the next one's key is to be told of, the value, the time left.
pub(super) const PERMIT: u8 = 0;
pub(super) const VALUE: u8 = 1;
pub(super) const LEFT: u8 = 2;

/// Bytes of a reply that are not its value.
const FRAME: usize = 1024;

/// A server clock of whole seconds: an item that says so many has at least one less.
const SECOND: u64 = 1000;

/// What a waiter gets of a reply.
enum Shown {
    /// This, which is in the buffer.
    Reply(Outcome),
    /// Nothing: it must ask for itself.
    Again,
}

impl<C: Clients> Sink<'_, C> {
    /// Takes the next stretch of the reply to one of a fill's questions.
    pub(in crate::service) fn fill(
        &mut self,
        io: &mut Io,
        (place, serial, step): (u32, u32, u8),
        (bytes, end): (&[u8], Option<Outcome>),
    ) -> Flow {
        let Some(near) = self.nearby.nears.get(self.pool as usize).and_then(Option::as_ref) else {
            return Flow::Go;
        };
        let most = usize::try_from(near.settings().max_value).unwrap_or(usize::MAX);
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        match step {
            PERMIT => it.spoilt |= !bytes.starts_with(b"+"),
            VALUE if it.passing => return self.pass_on(io, (place, serial), bytes, end),
            VALUE => {
                it.reply.extend_from_slice(bytes);
                match end {
                    Some(outcome) => return self.answered(io, (place, serial), outcome),
                    None if it.reply.len() > most + FRAME => {
                        return self.begin_passing(io, (place, serial));
                    }
                    None => {}
                }
            }
            _ if end.is_some() => self.settle(place, serial, redis::integer(bytes)),
            _ => {}
        }
        Flow::Go
    }

    /// The value is too large to be kept: it goes on as it comes to the one whose request it is.
    fn begin_passing(&mut self, io: &mut Io, (place, serial): (u32, u32)) -> Flow {
        self.nearby.fills.release(place, 1);
        self.metrics.add(PoolMetric::FillsTooBig, 1);
        let Some(near) = self.nearby.nears.get(self.pool as usize).and_then(Option::as_ref) else {
            return Flow::Go;
        };
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        if let Some(key) = near.key(&it.key) {
            near.shun(key, near.time(self.now));
        }
        it.passing = true;
        let reply = std::mem::take(&mut it.reply);
        let mut begun = Vec::new();
        let rest = match it.waiters.first() {
            Some(waiter) => begin_of(it.question, &it.key, &waiter.form, &reply, &mut begun),
            None => &[],
        };
        begun.extend_from_slice(rest);
        self.pass_on(io, (place, serial), &begun, None)
    }

    fn pass_on(
        &mut self,
        io: &mut Io,
        (place, serial): (u32, u32),
        bytes: &[u8],
        end: Option<Outcome>,
    ) -> Flow {
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        let Some(first) = it.waiters.first() else { return Flow::Go };
        let (whom, abroad) = (first.whom, first.abroad);
        let with_end;
        let closes = end.is_some() && matches!(first.form, Form::Get);
        let bytes = if closes {
            with_end = [bytes, b"END\r\n"].concat();
            &with_end[..]
        } else {
            bytes
        };
        if end.is_some() {
            self.nearby.fills.finish(place);
        }
        self.give(io, (whom, abroad), (bytes, end))
    }

    /// The value is there: everybody who waits gets it.
    fn answered(&mut self, io: &mut Io, (place, serial): (u32, u32), outcome: Outcome) -> Flow {
        let Some(it) = self.nearby.fills.get(place, serial) else { return Flow::Go };
        it.answered = true;
        let waiters = std::mem::take(&mut it.waiters);
        let (key, reply) = (std::mem::take(&mut it.key), std::mem::take(&mut it.reply));
        if let Question::Version(cas) = it.question {
            self.renew(place, (&key, cas), &reply);
        }
        let mut flow = Flow::Go;
        let mut out = Vec::new();
        for (rank, waiter) in waiters.into_iter().enumerate() {
            out.clear();
            match self.show((place, rank), &waiter.form, (&key, &reply, outcome), &mut out) {
                Shown::Reply(shown) => {
                    if matches!(waiter.whom, Whom::Client(_)) {
                        count_lookup(self.metrics, shown);
                    }
                    let paused = self.give(io, (waiter.whom, waiter.abroad), (&out, Some(shown)));
                    flow = if paused == Flow::Pause { paused } else { flow };
                }
                Shown::Again => {
                    let (pool, key) = (self.pool, key.clone());
                    let question = self.nearby.fills.question(place);
                    let released = Released { pool, key, question, waiter };
                    self.nearby.fills.released.push(released);
                }
            }
        }
        let Some(it) = self.nearby.fills.get(place, serial) else { return flow };
        (it.key, it.reply) = (key, reply);
        match it.question {
            Question::Meta => self.settle(place, serial, None),
            Question::Version(_) => self.nearby.fills.finish(place),
            Question::Value | Question::Hash if is_error(outcome) || it.spoilt => {
                self.settle(place, serial, None);
            }
            // The time left is still to come.
            Question::Value | Question::Hash => {}
        }
        flow
    }

    /// Writes what a waiter gets.
    fn show(
        &mut self,
        (place, rank): (u32, usize),
        form: &Form,
        (key, reply, outcome): (&[u8], &[u8], Outcome),
        out: &mut Vec<u8>,
    ) -> Shown {
        let question = self.nearby.fills.question(place);
        if is_error(outcome) {
            let wrong_type =
                matches!(form, Form::Element { .. }) && reply.starts_with(b"-WRONGTYPE");
            if wrong_type {
                // MGET takes what is no string for absent.
                out.extend_from_slice(b"*1\r\n");
                forms::write_value(None, self.resp3_of(form), out);
                return Shown::Reply(Outcome::Hit);
            }
            out.extend_from_slice(reply);
            return Shown::Reply(outcome);
        }
        match (question, form) {
            (Question::Version(cas), _) => self.show_version(cas, form, (key, reply), out),
            (Question::Meta, _) => show_meta(rank, form, (key, reply), out),
            (Question::Value, Form::Element { resp3 }) => {
                out.extend_from_slice(b"*1\r\n");
                forms::write_value(redis::bulk_text(reply), *resp3, out);
                Shown::Reply(Outcome::Hit)
            }
            (Question::Value, _) => {
                let found = redis::bulk_text(reply);
                forms::write_value(found, self.resp3_of(form), out);
                Shown::Reply(if found.is_some() { Outcome::Hit } else { Outcome::Miss })
            }
            (Question::Hash, _) => {
                let Some((count, pairs)) = forms::pairs(reply) else { return Shown::Again };
                forms::write_hash(count, pairs, self.resp3_of(form), out);
                Shown::Reply(Outcome::Hit)
            }
        }
    }

    fn resp3_of(&self, form: &Form) -> bool {
        matches!(form, Form::Redis { resp3: true } | Form::Element { resp3: true })
    }

    /// The server has said whether an entry's version is still its own.
    fn show_version(
        &mut self,
        cas: u64,
        form: &Form,
        (key, reply): (&[u8], &[u8]),
        out: &mut Vec<u8>,
    ) -> Shown {
        let Some(now) = memcache::meta_reply(reply) else {
            forms::write_get(key, None, out);
            return Shown::Reply(Outcome::Miss);
        };
        if now.won {
            // Whoever is told that there is nothing makes the value anew, as the server wants.
            forms::write_get(key, None, out);
            return Shown::Reply(Outcome::Miss);
        }
        let Some(near) = self.nearby.nears[self.pool as usize].as_ref() else {
            return Shown::Again;
        };
        let (Some(stored), Form::Get) = (near.key(key), form) else { return Shown::Again };
        let shown = near.look(stored, near.time(self.now), |entry| {
            (entry.cas == cas && now.cas == cas && entry.kind == Kind::Plain)
                .then(|| forms::write_get(key, Some((entry.value, entry.flags)), out))
        });
        match shown {
            crate::cache::near::Look::Hit(()) => Shown::Reply(Outcome::Hit),
            _ => Shown::Again,
        }
    }

    /// Lets an entry live on whose version is still the server's.
    fn renew(&mut self, place: u32, (key, cas): (&[u8], u64), reply: &[u8]) {
        let Some(near) = self.nearby.nears[self.pool as usize].as_ref() else { return };
        let Some(token) = self.nearby.fills.token(place) else { return };
        let (Some(stored), Some(now)) = (near.key(key), memcache::meta_reply(reply)) else {
            return;
        };
        let good = now.cas == cas && !now.won && !now.stale && is_key(&now, key);
        if good && near.renew(stored, &token, (cas, left(&now)), near.time(self.now)) {
            self.metrics.add(PoolMetric::FillsRenewed, 1);
        } else {
            near.forget(stored, near.time(self.now));
        }
    }

    /// Stores what has come, if it may be stored, and ends the fill. Redis has said how many
    /// milliseconds are left.
    fn settle(&mut self, place: u32, serial: u32, millis: Option<i64>) {
        let Some(near) = self.nearby.nears[self.pool as usize].as_ref() else { return };
        let Some(it) = self.nearby.fills.get(place, serial) else { return };
        let mut settled = None;
        if let (Some(token), Some(key), true) = (it.token, near.key(&it.key), it.answered)
            && let Some(fill) = fill_of(it.question, &it.key, &it.reply, millis)
            && !it.spoilt
        {
            let value: [&[u8]; 1] = [fill.0];
            let fill = Fill { value: &value, tracked: it.tracked, ..fill.1 };
            near.weigh(key, value[0].len());
            if fill.kind != Kind::Absent || !near.settings().negative.is_zero() {
                settled = Some(near.settle(key, &token, &fill, near.time(self.now)));
            }
        }
        if let (None | Some(Settled::TooBig), Some(key)) = (settled, near.key(&it.key)) {
            near.shun(key, near.time(self.now));
        }
        self.metrics.add(
            match settled {
                Some(Settled::Stored) => PoolMetric::FillsStored,
                Some(Settled::Raced) => PoolMetric::FillsRaced,
                Some(Settled::TooBig) => PoolMetric::FillsTooBig,
                Some(Settled::Full) => PoolMetric::FillsFull,
                Some(Settled::Expired) | None => PoolMetric::FillsUnfit,
            },
            1,
        );
        self.nearby.fills.finish(place);
    }

    /// Hands a reply, or the next stretch of it, to one who waits.
    fn give(
        &mut self,
        io: &mut Io,
        (whom, abroad): (Whom, bool),
        (bytes, end): (&[u8], Option<Outcome>),
    ) -> Flow {
        match whom {
            Whom::Client(ticket) => {
                if abroad && end.is_some() {
                    self.nearby.come_home(ticket.session);
                }
                let flow = self.clients.reply(io, ticket, bytes, end.is_some());
                if flow == Flow::Pause {
                    self.paused = Some(ticket);
                }
                flow
            }
            Whom::Part { gather, serial, part, ticket } => {
                if let Some(ticket) = ticket.filter(|_| abroad && end.is_some()) {
                    self.nearby.come_home(ticket.session);
                }
                if self.gathers.take_in((gather, serial), part, bytes, end) {
                    self.complete.push(gather);
                }
                Flow::Go
            }
        }
    }
}

const fn is_error(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Error | Outcome::Auth | Outcome::Unavailable)
}

/// What a waiter for a memcache fill gets.
fn show_meta(rank: usize, form: &Form, (key, reply): (&[u8], &[u8]), out: &mut Vec<u8>) -> Shown {
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
        Form::Redis { .. } | Form::Element { .. } => return Shown::Again,
    }
    Shown::Reply(outcome)
}

/// The beginning of what a waiter gets of a long reply, of which `reply` is the beginning: what
/// follows the line that was made anew.
fn begin_of<'r>(
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
fn words(line: &[u8]) -> Vec<Span> {
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
fn is_key(reply: &MetaReply<'_>, key: &[u8]) -> bool {
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
fn left(reply: &MetaReply<'_>) -> Option<u64> {
    reply.left.map(|seconds| seconds.saturating_sub(1) * SECOND)
}

/// What is to be stored, its value apart; `None` if that must not be.
fn fill_of<'r>(
    question: Question,
    key: &[u8],
    reply: &'r [u8],
    millis: Option<i64>,
) -> Option<(&'r [u8], Fill<'static>)> {
    let bare = Fill { kind: Kind::Plain, value: &[], flags: 0, cas: 0, left: None, tracked: false };
    let absent = Fill { kind: Kind::Absent, ..bare };
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
        Question::Value | Question::Hash => {
            let left = match millis? {
                -1 => None,
                millis => Some(u64::try_from(millis).ok()),
            };
            if question == Question::Hash {
                let (count, pairs) = forms::pairs(reply)?;
                return match (count, left) {
                    (0, Some(None)) => Some((&[], absent)),
                    (0, _) | (_, Some(None)) => None,
                    (_, left) => {
                        let flags = u32::try_from(count).ok()?;
                        let fill = Fill { kind: Kind::Hash, flags, left: left.flatten(), ..bare };
                        Some((pairs, fill))
                    }
                };
            }
            match (redis::bulk_text(reply), left) {
                (Some(value), None) => Some((value, bare)),
                (Some(value), Some(Some(left))) => Some((value, Fill { left: Some(left), ..bare })),
                // It was there, and is not any more; or the other way round.
                (None, Some(None)) => Some((&[], absent)),
                _ => None,
            }
        }
    }
}
