//! How the replies of all parts become one.

use super::gather::{Gather, Part};
use crate::backend::Failure;
use crate::protocol::{Outcome, memcache, redis};

/// How the replies of the parts become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// memcache retrieval: `VALUE` blocks in key order.
    Values,
    /// MGET: one element for each key, in key order.
    Array,
    /// Integers added up.
    Sum,
    /// All say the same; the first says it for all.
    Same,
    /// The same; when all old servers have done it, the new ones are asked.
    Old,
    /// memcache `STAT` lines one after the other.
    Stats,
    /// Arrays of as many integers: the least of each place.
    Least,
    /// Integers: the largest.
    Most,
    /// PUBSUB NUMSUB: names, each with a number; the numbers added up.
    Counts,
    /// Arrays one after the other.
    Concat,
    /// The same without what stands in it already.
    Union,
    /// One of those that are not nil; the number says which to look at first.
    AnyOne(u32),
    /// The cursor and the keys of one of so many servers.
    Scan(usize, usize),
}

/// What came of merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Keys that were found and that were not, if the request is a read.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// A server answered what was not asked: its index.
    pub(crate) foreign: Option<usize>,
    /// A part failed and the reply is the error line for it.
    pub(crate) failure: Option<Failure>,
}

/// How failed parts and errors are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Keys of failed parts count as missing, and so do those of parts answered with an error.
    pub(crate) partial: bool,
    /// Keys of parts that failed, but not those of parts answered with an error, count as
    /// missing.
    pub(crate) dead_misses: bool,
    /// As twemproxy words it.
    pub(crate) compat: bool,
}

impl Gather {
    /// Puts the reply together at the end of `out`. Error lines are the caller's if
    /// [`Merged::failure`] says so. `name_of` gives the node name of a server.
    pub(crate) fn merge<'a>(
        &mut self,
        manner: Manner,
        name_of: impl Fn(usize) -> &'a [u8],
        out: &mut Vec<u8>,
    ) -> Merged {
        let lookup = matches!(self.merge, Merge::Values | Merge::Array);
        let fenced = |part: &Part| part.answer == Some(Err(Failure::OutOfSight));
        if self.parts[..self.used_parts].iter().any(fenced) {
            // Not a server has failed: nobody knows where the key is.
            let failure = Some(Failure::OutOfSight);
            return Merged { failure, ..Merged::default() };
        }
        let partial = manner.partial && lookup;
        let manner = Manner { dead_misses: manner.dead_misses && lookup, ..manner };
        if !partial && let Some(failed) = self.first_error(manner, out) {
            return failed;
        }
        match self.merge {
            Merge::Values => self.merge_values(out),
            Merge::Array => self.merge_array(out),
            Merge::Sum => self.merge_integers(i64::saturating_add, out),
            Merge::Most => self.merge_integers(i64::max, out),
            Merge::Stats => self.merge_stats(name_of, out),
            Merge::Same | Merge::Old => self.merge_same(out),
            Merge::Least => self.merge_least(out),
            Merge::Counts => self.merge_counts(out),
            Merge::Concat => self.merge_lists(false, out),
            Merge::Union => self.merge_lists(true, out),
            Merge::AnyOne(from) => self.merge_any(from, out),
            Merge::Scan(servers, place) => self.merge_scan((servers, place), out),
        }
    }

    /// The first part that failed or was answered with an error line, if any: the whole
    /// request's answer is then that error.
    fn first_error(&self, manner: Manner, out: &mut Vec<u8>) -> Option<Merged> {
        for part in &self.parts[..self.used_parts] {
            match part.answer {
                Some(Ok(Outcome::Hit | Outcome::Miss | Outcome::Done)) => {}
                Some(Ok(_)) if manner.compat => {
                    let failure = Some(Failure::Trailing);
                    return Some(Merged { failure, ..Merged::default() });
                }
                Some(Ok(_)) => {
                    out.extend_from_slice(&part.reply);
                    return Some(Merged::default());
                }
                Some(Err(_)) if manner.dead_misses => {}
                Some(Err(failure)) => {
                    return Some(Merged { failure: Some(failure), ..Merged::default() });
                }
                None => {}
            }
        }
        None
    }

    /// memcache: a part's next block belongs to the key if it carries its name; otherwise the
    /// key was not found.
    fn merge_values(&mut self, out: &mut Vec<u8>) -> Merged {
        let mut merged = Merged::default();
        for key in &self.keys {
            let part = &mut self.parts[key.part as usize];
            let name = key.name.of(&part.wire);
            let block =
                part.answered_well().then(|| memcache::block(&part.reply, part.cursor, name));
            if let Some(block) = block.flatten() {
                out.extend_from_slice(block);
                part.cursor += block.len();
                merged.hits += 1;
            } else {
                merged.misses += 1;
            }
        }
        out.extend_from_slice(b"END\r\n");
        let over = |part: &Part| memcache::is_block(&part.reply, part.cursor);
        merged.foreign = self.parts[..self.used_parts]
            .iter()
            .find(|part| part.answered_well() && over(part))
            .map(|part| part.server);
        merged
    }

    /// MGET: each part is an array with as many elements as it was asked for keys.
    fn merge_array(&self, out: &mut Vec<u8>) -> Merged {
        let mut merged = Merged::default();
        let nil = self.nil();
        redis::write_header(b'*', self.keys.len(), out);
        let parts = &self.parts[..self.used_parts];
        let mut elements: Vec<_> = parts
            .iter()
            .map(|part| part.answered_well().then(|| redis::elements(&part.reply)).flatten())
            .collect();
        for key in &self.keys {
            let part = &parts[key.part as usize];
            let found = elements[key.part as usize].as_mut().and_then(Iterator::next);
            match found {
                Some(span) => {
                    let element = span.of(&part.reply);
                    out.extend_from_slice(element);
                    merged.hits += u64::from(element != nil);
                    merged.misses += u64::from(element == nil);
                }
                None => {
                    out.extend_from_slice(nil);
                    merged.misses += 1;
                    if part.answered_well() {
                        merged.foreign = Some(part.server);
                    }
                }
            }
        }
        let mut rest = elements.into_iter().zip(parts);
        let more = rest.find_map(|(left, part)| left?.next().map(|_| part.server));
        merged.foreign = merged.foreign.or(more);
        merged
    }

    /// Nothing, in the version of the protocol that is spoken.
    pub(super) const fn nil(&self) -> &'static [u8] {
        if self.lane.resp3 { b"_\r\n" } else { b"$-1\r\n" }
    }

    /// One integer of those that the servers gave; none is negative.
    fn merge_integers(&self, both: fn(i64, i64) -> i64, out: &mut Vec<u8>) -> Merged {
        let mut one: i64 = 0;
        for part in &self.parts[..self.used_parts] {
            match redis::integer(&part.reply) {
                Some(n) => one = both(one, n),
                None => return Merged { foreign: Some(part.server), ..Merged::default() },
            }
        }
        out.extend_from_slice(format!(":{one}\r\n").as_bytes());
        Merged::default()
    }

    /// All servers said the same thing; the first says it for all.
    fn merge_same(&self, out: &mut Vec<u8>) -> Merged {
        if let Some(part) = self.parts.first() {
            out.extend_from_slice(&part.reply);
        }
        Merged::default()
    }

    /// `STAT name value` of each server, the name led by the node name where there are several.
    fn merge_stats<'a>(&self, name_of: impl Fn(usize) -> &'a [u8], out: &mut Vec<u8>) -> Merged {
        const LAST: [&[u8]; 3] = [b"END\r\n", b"RESET\r\n", b"OK\r\n"];
        let several = self.used_parts > 1;
        let mut end: &[u8] = LAST[0];
        for part in &self.parts[..self.used_parts] {
            for line in part.reply.split_inclusive(|&b| b == b'\n') {
                match line.strip_prefix(b"STAT ") {
                    Some(rest) if several => {
                        out.extend_from_slice(b"STAT ");
                        out.extend_from_slice(name_of(part.server));
                        out.push(b':');
                        out.extend_from_slice(rest);
                    }
                    Some(_) => out.extend_from_slice(line),
                    None if LAST.contains(&line) => end = line,
                    None => out.extend_from_slice(line),
                }
            }
        }
        out.extend_from_slice(end);
        Merged::default()
    }
}
