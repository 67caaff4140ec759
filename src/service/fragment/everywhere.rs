//! How what all servers say about themselves becomes one reply: keys, scripts, functions,
//! listeners.

use std::collections::HashSet;

use super::gather::{Gather, Part};
use super::merge::Merged;
use crate::protocol::redis;

/// What a scan that begins is asked with, and what a finished one answers.
const START: u64 = 0;

/// Where a scan over several servers stands: which server (by its place in the order in which they
/// are asked), and what cursor that server gave.
///
/// As one number, `cursor × servers + server`: for a pool of one server that is the server's own.
/// The cursor 0 of any server but the first means that its turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanAt {
    /// The server's place.
    pub(crate) server: usize,
    /// Its cursor.
    pub(crate) cursor: u64,
}

impl ScanAt {
    /// From the cursor that a client sends; `servers` is at least 1.
    pub(crate) fn of(cursor: u64, servers: usize) -> Self {
        Self { server: (cursor % servers as u64) as usize, cursor: cursor / servers as u64 }
    }

    /// The cursor that the client gets when the server has answered with `cursor`; `None` if no
    /// number holds it.
    pub(crate) fn next(self, cursor: u64, servers: usize) -> Option<u64> {
        match cursor {
            START if self.server + 1 == servers => Some(START),
            START => Some(self.server as u64 + 1),
            _ => cursor.checked_mul(servers as u64)?.checked_add(self.server as u64),
        }
    }
}

impl Gather {
    /// SCRIPT EXISTS: what is missing anywhere must be loaded.
    pub(super) fn merge_least(&self, out: &mut Vec<u8>) -> Merged {
        let mut least: Option<Vec<i64>> = None;
        for part in self.used() {
            let Some(numbers) = integers(part) else { return foreign(part) };
            least = match least {
                None => Some(numbers),
                Some(least) if least.len() != numbers.len() => return foreign(part),
                Some(least) => {
                    Some(least.into_iter().zip(numbers).map(|(a, b)| a.min(b)).collect())
                }
            };
        }
        let least = least.unwrap_or_default();
        redis::write_header(b'*', least.len(), out);
        least.iter().for_each(|number| out.extend_from_slice(format!(":{number}\r\n").as_bytes()));
        Merged::default()
    }

    /// PUBSUB NUMSUB: every server names the channels that were asked for, in their order.
    pub(super) fn merge_counts(&self, out: &mut Vec<u8>) -> Merged {
        let mut all: Option<Vec<(&[u8], i64)>> = None;
        for part in self.used() {
            let Some(counts) = counts(part) else { return foreign(part) };
            let Some(all) = &mut all else {
                all = Some(counts);
                continue;
            };
            if !all.iter().map(|(name, _)| name).eq(counts.iter().map(|(name, _)| name)) {
                return foreign(part);
            }
            for ((_, sum), (_, count)) in all.iter_mut().zip(counts) {
                *sum = sum.saturating_add(count);
            }
        }
        let all = all.unwrap_or_default();
        redis::write_header(b'*', 2 * all.len(), out);
        for (name, count) in all {
            out.extend_from_slice(name);
            out.extend_from_slice(format!(":{count}\r\n").as_bytes());
        }
        Merged::default()
    }

    /// KEYS; and, each only once (`distinct`), FUNCTION LIST, which all servers should answer
    /// alike, and PUBSUB CHANNELS.
    pub(super) fn merge_lists(&self, distinct: bool, out: &mut Vec<u8>) -> Merged {
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for part in self.used() {
            let Some(elements) = redis::elements(&part.reply) else { return foreign(part) };
            for element in elements.map(|span| span.of(&part.reply)) {
                if !distinct || seen.insert(element) {
                    all.push(element);
                }
            }
        }
        redis::write_header(b'*', all.len(), out);
        all.iter().for_each(|element| out.extend_from_slice(element));
        Merged::default()
    }

    /// RANDOMKEY.
    pub(super) fn merge_any(&self, from: u32, out: &mut Vec<u8>) -> Merged {
        let nil = self.nil();
        let full: Vec<&Part> = self.used().filter(|part| part.reply != nil).collect();
        let one = from.checked_rem(full.len() as u32).and_then(|at| full.get(at as usize));
        out.extend_from_slice(one.map_or(nil, |part| &part.reply));
        Merged::default()
    }

    /// SCAN: the server's reply with another cursor in it.
    pub(super) fn merge_scan(&self, (servers, place): (usize, usize), out: &mut Vec<u8>) -> Merged {
        let Some(part) = self.used().next() else { return Merged::default() };
        let mut elements = redis::elements(&part.reply).into_iter().flatten();
        let cursor = elements.next().and_then(|span| redis::bulk_text(span.of(&part.reply)));
        let cursor = cursor.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let (Some(cursor), Some(keys)) = (cursor, elements.next()) else { return foreign(part) };
        let at = ScanAt { server: place, cursor };
        let Some(next) = at.next(cursor, servers) else {
            out.extend_from_slice(
                b"-ERR the server's cursor is beyond what the proxy can carry\r\n",
            );
            return Merged::default();
        };
        redis::write_header(b'*', 2, out);
        redis::write_bulk(next.to_string().as_bytes(), out);
        out.extend_from_slice(keys.of(&part.reply));
        Merged::default()
    }

    fn used(&self) -> impl Iterator<Item = &Part> {
        self.parts[..self.used_parts].iter()
    }
}

fn integers(part: &Part) -> Option<Vec<i64>> {
    redis::elements(&part.reply)?.map(|span| redis::integer(span.of(&part.reply))).collect()
}

/// Names, each with a number behind it.
fn counts(part: &Part) -> Option<Vec<(&[u8], i64)>> {
    let mut elements = redis::elements(&part.reply)?.map(|span| span.of(&part.reply));
    let mut counts = Vec::new();
    while let Some(name) = elements.next() {
        counts.push((name, redis::integer(elements.next()?)?));
    }
    Some(counts)
}

fn foreign(part: &Part) -> Merged {
    Merged { foreign: Some(part.server), ..Merged::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_passes_all_servers_and_ends() {
        for servers in [1, 2, 7] {
            let (mut cursor, mut seen) = (START, Vec::new());
            loop {
                let at = ScanAt::of(cursor, servers);
                seen.push((at.server, at.cursor));
                // Each server's keys come in three steps, as with cursors 0, 5 and 3.
                let answer = match at.cursor {
                    0 => 5,
                    5 => 3,
                    _ => 0,
                };
                cursor = at.next(answer, servers).unwrap();
                if cursor == START {
                    break;
                }
            }
            let wanted: Vec<(usize, u64)> =
                (0..servers).flat_map(|server| [(server, 0), (server, 5), (server, 3)]).collect();
            assert_eq!(seen, wanted);
        }
    }

    #[test]
    fn one_server_keeps_its_cursors_and_too_large_ones_are_noticed() {
        let at = ScanAt::of(u64::MAX, 1);
        assert_eq!(at.next(u64::MAX, 1), Some(u64::MAX));
        assert_eq!(ScanAt { server: 1, cursor: 0 }.next(u64::MAX / 2, 3), None);
    }
}
