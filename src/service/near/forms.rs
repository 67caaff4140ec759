//! How a value is shown to whoever asked for it, be it from an entry or from a fill's reply.

use super::Wanted;
use super::brought::words;
use super::fills::Question;
use crate::cache::near::{Entry, Kind};
use crate::protocol::{Expect, Outcome, Request, Span, integer, memcache, redis};

/// What a request that waits for a fill wants of its reply.
#[derive(Debug)]
pub(super) enum Form {
    /// memcache get.
    Get,
    /// memcache mg: the request itself.
    Meta(Box<[u8]>),
    /// GET, HGETALL or HMGET, in RESP3 or RESP2.
    Redis { resp3: bool },
    /// HGET, by an HMGET of one field.
    Field { resp3: bool },
    /// One element of what MGET answers.
    Element { resp3: bool },
}

impl Form {
    /// What a reply to it looks like where its client waits for no more than it.
    pub(super) fn expects(&self) -> Expect {
        match self {
            Self::Get => Expect::Value,
            Self::Meta(line) if line.windows(2).any(|it| it == b" q") => Expect::MetaQuiet,
            Self::Meta(_) => Expect::Meta,
            Self::Redis { .. } | Self::Field { .. } | Self::Element { .. } => Expect::Resp,
        }
    }

    /// Appends what an entry gives to somebody who has waited for `question` about `key`; `None` if
    /// only the server can give it.
    pub(super) fn show(
        &self,
        (question, key): (Question, &[u8]),
        entry: &Entry<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let found = match (question, entry.kind) {
            (_, Kind::Absent) => None,
            (Question::Meta | Question::Version(_) | Question::Value, Kind::Plain)
            | (Question::Hash, Kind::Hash)
            | (Question::Fields, Kind::Fields) => Some(entry.value),
            _ => return None,
        };
        let mut outcome = if found.is_some() { Outcome::Hit } else { Outcome::Miss };
        match (self, question) {
            (Self::Get, _) => write_get(key, found.map(|value| (value, entry.flags)), out),
            (Self::Meta(line), _) => {
                let answer = match found {
                    Some(value) => Answer::Item { value, client: entry.flags, marks: b"" },
                    None => Answer::Absent { says_more: entry.flags != 0 },
                };
                write_meta((line, &words(line)), &answer, out);
            }
            (Self::Field { resp3 }, _) => {
                let value = found.map_or(Some(None), first_of)?;
                outcome = if value.is_some() { Outcome::Hit } else { Outcome::Miss };
                write_value(value, *resp3, out);
            }
            (Self::Redis { resp3 }, Question::Hash) => {
                let pairs = if found.is_some() { entry.flags as usize } else { 0 };
                write_hash(pairs, found.unwrap_or_default(), *resp3, out);
            }
            // How many are missing an entry of the whole key does not say.
            (Self::Redis { resp3 }, Question::Fields) => write_all(found?, *resp3, out)?,
            (Self::Redis { resp3 }, _) => write_value(found, *resp3, out),
            (Self::Element { resp3 }, _) => {
                out.extend_from_slice(b"*1\r\n");
                write_value(found, *resp3, out);
            }
        }
        Some(outcome)
    }

    /// Whether it is one of RESP3.
    pub(super) const fn is_resp3(&self) -> bool {
        match self {
            Self::Redis { resp3 } | Self::Field { resp3 } | Self::Element { resp3 } => *resp3,
            Self::Get | Self::Meta(_) => false,
        }
    }
}

/// One request for one key.
pub(super) struct Asked<'a> {
    pub(super) wanted: Wanted,
    pub(super) request: &'a Request<'a>,
    pub(super) resp3: bool,
}

impl Asked<'_> {
    /// Appends the reply that an entry gives; `None` if only the server can give it.
    pub(super) fn show(&self, entry: &Entry<'_>, out: &mut Vec<u8>) -> Option<()> {
        let absent = entry.kind == Kind::Absent;
        let (plain, hash) = (entry.kind == Kind::Plain, entry.kind == Kind::Hash);
        let found = plain.then_some(entry.value);
        match self.wanted {
            Wanted::Get if plain || absent => {
                let key = self.request.arg(1);
                write_get(key, found.map(|value| (value, entry.flags)), out);
            }
            Wanted::Meta if plain || absent => {
                let (bytes, args) = (self.request.bytes, self.request.args);
                let found = match found {
                    Some(value) => Answer::Item { value, client: entry.flags, marks: b"" },
                    None => Answer::Absent { says_more: entry.flags != 0 },
                };
                write_meta((bytes, args), &found, out);
            }
            Wanted::Value if plain || absent => write_value(found, self.resp3, out),
            Wanted::Length if plain || absent => {
                redis::write_header(b':', found.map_or(0, <[u8]>::len), out);
            }
            Wanted::Existence if plain || hash || absent => {
                redis::write_header(b':', usize::from(!absent), out)
            }
            Wanted::Range if plain || absent => {
                let bounds = [2, 3].map(|at| integer(self.request.arg(at)));
                let [Some(from), Some(to)] = bounds else { return None };
                redis::write_bulk(range(found.unwrap_or_default(), from, to), out);
            }
            Wanted::Hash if hash || absent => {
                let pairs = if hash { entry.flags as usize } else { 0 };
                write_hash(pairs, if hash { entry.value } else { &[] }, self.resp3, out);
            }
            Wanted::Field if entry.kind == Kind::Fields => {
                write_value(first_of(entry.value)?, self.resp3, out);
            }
            Wanted::Fields if entry.kind == Kind::Fields => {
                write_all(entry.value, self.resp3, out)?;
            }
            Wanted::Field if hash || absent => {
                write_value(field(entry, self.request.arg(2)), self.resp3, out);
            }
            Wanted::Fields if hash || absent => {
                let fields = self.request.args.get(2..)?;
                redis::write_header(b'*', fields.len(), out);
                for name in fields {
                    let found = field(entry, name.of(self.request.bytes));
                    write_value(found, self.resp3, out);
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// The first of what HMGET answers.
pub(super) fn first_of(reply: &[u8]) -> Option<Option<&[u8]>> {
    redis::elements(reply)?.next().map(|it| redis::bulk_text(it.of(reply)))
}

/// Appends what HMGET answers, which is written in either version.
pub(super) fn write_all(reply: &[u8], resp3: bool, out: &mut Vec<u8>) -> Option<()> {
    redis::write_header(b'*', redis::elements(reply)?.count(), out);
    for element in redis::elements(reply)? {
        write_value(redis::bulk_text(element.of(reply)), resp3, out);
    }
    Some(())
}

/// The value of a field of a hash.
fn field<'a>(entry: &Entry<'a>, name: &[u8]) -> Option<&'a [u8]> {
    if entry.kind != Kind::Hash {
        return None;
    }
    let mut rest = entry.value;
    for _ in 0..entry.flags {
        let (key, after) = split_bulk(rest)?;
        let (value, after) = split_bulk(after)?;
        if key == name {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// The bulk string that `bytes` begin with, and what follows it.
fn split_bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = redis::bulk_text(bytes)?;
    let start = memchr::memchr(b'\n', bytes)? + 1;
    Some((text, bytes.get(start + text.len() + 2..)?))
}

/// GETRANGE's part of a value (Redis's t_string.c): negative bounds count from the end.
fn range(value: &[u8], from: i64, to: i64) -> &[u8] {
    let len = value.len() as i64;
    if from < 0 && to < 0 && from > to {
        return &[];
    }
    let bound = |at: i64| if at < 0 { (len.saturating_add(at)).max(0) } else { at };
    let (from, to) = (bound(from), bound(to).min(len - 1));
    if from > to || len == 0 { &[] } else { &value[from as usize..=to as usize] }
}

/// Appends what memcached answers to a get of one key.
pub(super) fn write_get(key: &[u8], found: Option<(&[u8], u32)>, out: &mut Vec<u8>) {
    if let Some((value, flags)) = found {
        write_block_header(key, flags, value.len(), out);
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"END\r\n");
}

/// Appends the line before the value of a key.
pub(super) fn write_block_header(key: &[u8], flags: u32, len: usize, out: &mut Vec<u8>) {
    let mut digits = [0; redis::DIGITS];
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    out.extend_from_slice(redis::decimal(flags.into(), &mut digits));
    out.push(b' ');
    out.extend_from_slice(redis::decimal(len as i64, &mut digits));
    out.extend_from_slice(b"\r\n");
}

/// What memcached has for an mg.
pub(super) enum Answer<'a> {
    /// An item, with the client's bits and what the server says of itself behind them.
    Item { value: &'a [u8], client: u32, marks: &'a [u8] },
    /// None; `says_more`: the server, a newer one, says so with the key and what the client has
    /// written for itself, if they are asked for.
    Absent { says_more: bool },
}

/// Appends what memcached answers to an mg (`bytes`, its words at `args`) that only reads. The value
/// is left out if it does not ask for that.
pub(super) fn write_meta((bytes, args): (&[u8], &[Span]), found: &Answer<'_>, out: &mut Vec<u8>) {
    let has = |letter: u8| args.iter().skip(2).any(|it| it.of(bytes).first() == Some(&letter));
    match *found {
        Answer::Item { value, client, marks } => {
            write_meta_header((bytes, args), (value.len(), client), marks, out);
            if has(b'v') {
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
        }
        Answer::Absent { .. } if has(b'q') => {}
        Answer::Absent { says_more } => {
            out.extend_from_slice(b"EN");
            if says_more {
                write_asked((bytes, args), None, out);
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends the line of such an answer.
pub(super) fn write_meta_header(
    (bytes, args): (&[u8], &[Span]),
    (len, client): (usize, u32),
    marks: &[u8],
    out: &mut Vec<u8>,
) {
    let has = |letter: u8| args.iter().skip(2).any(|it| it.of(bytes).first() == Some(&letter));
    let mut digits = [0; redis::DIGITS];
    if has(b'v') {
        out.extend_from_slice(b"VA ");
        out.extend_from_slice(redis::decimal(len as i64, &mut digits));
    } else {
        out.extend_from_slice(b"HD");
    }
    write_asked((bytes, args), Some((len, client)), out);
    out.extend_from_slice(marks);
    out.extend_from_slice(b"\r\n");
}

/// Appends what is asked for, in the order in which it is; of an item its length and the client's
/// bits, too.
fn write_asked((bytes, args): (&[u8], &[Span]), item: Option<(usize, u32)>, out: &mut Vec<u8>) {
    let flags = || args.iter().skip(2).filter_map(|word| word.of(bytes).split_first());
    let binary = flags().any(|(letter, _)| *letter == b'b');
    let mut digits = [0; redis::DIGITS];
    for (letter, rest) in flags() {
        match letter {
            b'k' => {
                out.extend_from_slice(b" k");
                out.extend_from_slice(args.get(1).map_or(&[][..], |key| key.of(bytes)));
                if binary {
                    out.extend_from_slice(b" b");
                }
            }
            b'O' => {
                out.extend_from_slice(b" O");
                out.extend_from_slice(rest);
            }
            b'f' | b's' => {
                let Some((len, client)) = item else { continue };
                let number = if *letter == b'f' { i64::from(client) } else { len as i64 };
                out.extend_from_slice(&[b' ', *letter]);
                out.extend_from_slice(redis::decimal(number, &mut digits));
            }
            _ => {}
        }
    }
}

/// Appends a string, or that there is none.
pub(super) fn write_value(found: Option<&[u8]>, resp3: bool, out: &mut Vec<u8>) {
    match found {
        Some(value) => redis::write_bulk(value, out),
        None if resp3 => out.extend_from_slice(b"_\r\n"),
        None => out.extend_from_slice(b"$-1\r\n"),
    }
}

/// Appends a hash of so many pairs, which are written already.
pub(super) fn write_hash(pairs: usize, written: &[u8], resp3: bool, out: &mut Vec<u8>) {
    let (kind, count) = if resp3 { (b'%', pairs) } else { (b'*', pairs * 2) };
    redis::write_header(kind, count, out);
    out.extend_from_slice(written);
}

/// The pairs of a server's answer to HGETALL, and how many there are, in either version.
pub(super) fn pairs(reply: &[u8]) -> Option<(usize, &[u8])> {
    let start = memchr::memchr(b'\n', reply)? + 1;
    let count: usize = std::str::from_utf8(reply.get(1..start - 2)?).ok()?.parse().ok()?;
    let pairs = match reply.first()? {
        b'%' => count,
        b'*' => count / 2,
        _ => return None,
    };
    Some((pairs, &reply[start..]))
}

/// Whether two answers to HGETALL have the same fields and values, in whichever order; `None` if one
/// of them is no such answer.
pub(super) fn is_same_hash(a: &[u8], b: &[u8]) -> Option<bool> {
    let sorted = |reply| {
        let (count, mut rest) = pairs(reply)?;
        let mut known = Vec::new();
        for _ in 0..count {
            let (field, after) = split_bulk(rest)?;
            let (value, after) = split_bulk(after)?;
            known.push((field, value));
            rest = after;
        }
        known.sort_unstable();
        Some(known)
    };
    Some(sorted(a)? == sorted(b)?)
}

/// The wire of an mg that fills an entry; keys that cannot stand on a line go as base64.
pub(super) fn ask_meta(key: &[u8], flags: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"mg ");
    write_meta_key(key, out);
    out.extend_from_slice(if memcache::is_plain_key(key) { b" k" } else { b" b k" });
    out.extend_from_slice(flags);
    out.extend_from_slice(b"\r\n");
}

/// Appends a key as such an mg writes it, and its answer.
pub(super) fn write_meta_key(key: &[u8], out: &mut Vec<u8>) {
    if memcache::is_plain_key(key) {
        out.extend_from_slice(key);
    } else {
        memcache::write_base64(key, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_redis_s() {
        let value = b"This is a string";
        for (from, to, part) in [
            (0, 3, &b"This"[..]),
            (-3, -1, b"ing"),
            (0, -1, value),
            (10, 100, b"string"),
            (-1, -3, b""),
            (5, 3, b""),
            (-100, 2, b"Thi"),
            (16, 20, b""),
            (i64::MIN, i64::MAX, value),
        ] {
            assert_eq!(range(value, from, to), part, "{from} {to}");
        }
        assert_eq!(range(b"", 0, -1), b"");
    }

    #[test]
    fn a_hash_is_written_once_for_both_versions() {
        let written = b"$1\r\na\r\n$2\r\nbb\r\n";
        assert_eq!(pairs(b"%1\r\n$1\r\na\r\n$2\r\nbb\r\n"), Some((1, &written[..])));
        assert_eq!(pairs(b"*2\r\n$1\r\na\r\n$2\r\nbb\r\n"), Some((1, &written[..])));
        assert_eq!(pairs(b"$1\r\na\r\n"), None);
        let mut out = Vec::new();
        write_hash(1, written, true, &mut out);
        write_hash(1, written, false, &mut out);
        assert!(out.starts_with(b"%1\r\n$1") && out.ends_with(b"*2\r\n$1\r\na\r\n$2\r\nbb\r\n"));
    }

    #[test]
    fn a_hash_is_the_same_in_any_order() {
        let hash = b"%2\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n";
        let turned = b"*4\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\na\r\n$1\r\n1\r\n";
        assert_eq!(is_same_hash(hash, turned), Some(true));
        let crossed = b"%2\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n1\r\n";
        assert_eq!(is_same_hash(hash, crossed), Some(false));
        assert_eq!(is_same_hash(hash, b"%0\r\n"), Some(false));
        assert_eq!(is_same_hash(hash, b"%2\r\n$1\r\na\r\n$1"), None);
        assert_eq!(is_same_hash(hash, b"$1\r\na\r\n"), None);
    }

    #[test]
    fn keys_that_are_no_words_go_as_base64() {
        let mut out = Vec::new();
        ask_meta(b"plain", b" f t c v", &mut out);
        ask_meta(b"a b", b" c", &mut out);
        assert_eq!(out, b"mg plain k f t c v\r\nmg YSBi b k c\r\n");
    }
}
