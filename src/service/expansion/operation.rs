//! One operation on a key that moves: what it is, and the request as a server gets it.

use crate::protocol::{Expect, Op, Request, Span, memcache};

/// An operation, with bytes of its own: its request's buffer is gone before it ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operation {
    pub(super) verb: Verb,
    /// Its key as it is written; `binary`: as base64.
    pub(super) key: Vec<u8>,
    pub(super) binary: bool,
    /// The words of its line, one space between them, without `noreply`.
    pub(super) line: Vec<u8>,
    /// The data block with its line end, if there is one.
    pub(super) data: Vec<u8>,
    /// A server may pass it over in silence.
    pub(super) quiet: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    /// get; gets.
    Get {
        token: bool,
    },
    /// gat; gats.
    GetAndTouch {
        token: bool,
    },
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    /// cas with this token.
    Cas(u64),
    /// incr; decr.
    Count {
        down: bool,
    },
    Touch,
    Delete,
    Meta(Meta),
}

/// What is to be done by a meta command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Meta {
    /// mg that changes nothing; `token`: it asks for the CAS.
    Get {
        token: bool,
    },
    /// mg that creates, touches or wins.
    Refresh,
    Set,
    /// ms in the mode that adds.
    Add,
    /// ms in another mode.
    Modify,
    /// ms, md or ma that names the CAS which the item must have; `None`: the server compares.
    Cas(Option<u64>),
    Count,
    Delete,
    /// md that leaves the item, marked as stale.
    Stale,
    Debug,
}

/// Operations that are treated alike: a row of the table of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// It changes nothing; `token`: what it answers holds a CAS.
    Read {
        token: bool,
    },
    Set,
    Delete,
    Stale,
    /// What it does depends on what is there.
    Change,
    Cas(Option<u64>),
    /// For whoever looks into a server.
    Look,
}

impl Operation {
    /// The operation of a request for one key.
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let given = request.args.len() - usize::from(request.head.noreply);
        let words: Vec<&[u8]> =
            request.args[..given].iter().map(|word| word.of(request.bytes)).collect();
        let op = request.head.command.op;
        let key_at = if matches!(op, Op::Gat | Op::Gats) { 2 } else { 1 };
        let flags = words.get(if op == Op::MetaSet { 3 } else { 2 }..).unwrap_or_default();
        let is_meta = request.head.command.name.starts_with('m');
        Self {
            verb: verb(op, &words, flags),
            key: words.get(key_at).copied().unwrap_or_default().to_vec(),
            binary: is_meta && flag(flags, b'b').is_some(),
            line: words.join(&b' '),
            data: request.bytes.get(request.head.line as usize..).unwrap_or_default().to_vec(),
            quiet: memcache::is_quiet(request),
        }
    }

    /// The operation on one key of a request for several: `before` are the words before the keys.
    pub(crate) fn on(before: &[u8], key: &[u8]) -> Self {
        let words: Vec<&[u8]> = before.split(|byte| *byte == b' ').collect();
        let verb = match words.first() {
            Some(&b"get") => Verb::Get { token: false },
            Some(&b"gets") => Verb::Get { token: true },
            Some(&b"gat") => Verb::GetAndTouch { token: false },
            _ => Verb::GetAndTouch { token: true },
        };
        let line = [before, b" ", key].concat();
        Self { verb, key: key.to_vec(), binary: false, line, data: Vec::new(), quiet: false }
    }

    /// How it is treated.
    pub(super) fn row(&self) -> Row {
        match self.verb {
            Verb::Get { token } | Verb::Meta(Meta::Get { token }) => Row::Read { token },
            Verb::Set | Verb::Meta(Meta::Set) => Row::Set,
            Verb::Delete | Verb::Meta(Meta::Delete) => Row::Delete,
            Verb::Meta(Meta::Stale) => Row::Stale,
            Verb::Cas(token) => Row::Cas(Some(token)),
            Verb::Meta(Meta::Cas(token)) => Row::Cas(token),
            Verb::Meta(Meta::Debug) => Row::Look,
            _ => Row::Change,
        }
    }

    /// Whether it changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.row(), Row::Read { .. } | Row::Look)
    }

    /// Whether its answer holds a CAS.
    pub(crate) fn asks_token(&self) -> bool {
        self.row() == (Row::Read { token: true })
    }

    /// Whether it is a read whose finding is counted as a hit or a miss.
    pub(crate) fn is_lookup(&self) -> bool {
        matches!(self.verb, Verb::Get { .. })
    }

    /// Whether it succeeds only where nothing is.
    pub(super) fn adds(&self) -> bool {
        matches!(self.verb, Verb::Add | Verb::Meta(Meta::Add))
    }

    /// Whether its reply has the form of a meta command's.
    pub(super) fn is_meta(&self) -> bool {
        matches!(self.verb, Verb::Meta(_))
    }

    /// Where its key stands in its line.
    pub(super) fn key_span(&self) -> Span {
        let at = if matches!(self.verb, Verb::GetAndTouch { .. }) { 2 } else { 1 };
        let start = self.line.split(|byte| *byte == b' ').take(at).map(|word| word.len() + 1);
        let start = start.sum::<usize>() as u32;
        Span { start, end: start + self.key.len() as u32 }
    }

    /// What the reply to it looks like.
    pub(super) fn expect(&self) -> Expect {
        match self.verb {
            _ if self.quiet => Expect::MetaQuiet,
            Verb::Meta(_) => Expect::Meta,
            Verb::Get { .. } | Verb::GetAndTouch { .. } => Expect::Value,
            Verb::Count { .. } => Expect::Number,
            Verb::Touch => Expect::Touched,
            Verb::Delete => Expect::Deleted,
            _ => Expect::Stored,
        }
    }

    /// The words behind the key, and of ms behind the length.
    pub(super) fn flags(&self) -> impl Iterator<Item = &[u8]> {
        let sets = self.line.starts_with(b"ms ");
        self.line.split(|byte| *byte == b' ').skip(if sets { 3 } else { 2 })
    }

    /// The word at an index of its line; empty if there is none.
    pub(super) fn word(&self, at: usize) -> &[u8] {
        self.line.split(|byte| *byte == b' ').nth(at).unwrap_or_default()
    }
}

fn verb(op: Op, words: &[&[u8]], flags: &[&[u8]]) -> Verb {
    match op {
        Op::Get => Verb::Get { token: false },
        Op::Gets => Verb::Get { token: true },
        Op::Gat => Verb::GetAndTouch { token: false },
        Op::Gats => Verb::GetAndTouch { token: true },
        Op::Add => Verb::Add,
        Op::Replace => Verb::Replace,
        Op::Append => Verb::Append,
        Op::Prepend => Verb::Prepend,
        Op::Cas => Verb::Cas(words.get(5).and_then(|word| number(word)).unwrap_or(0)),
        Op::Incr => Verb::Count { down: false },
        Op::Decr => Verb::Count { down: true },
        Op::Touch => Verb::Touch,
        Op::Delete => Verb::Delete,
        Op::MetaGet => Verb::Meta(meta_get(flags)),
        Op::MetaSet => Verb::Meta(meta_set(flags)),
        Op::MetaDelete => Verb::Meta(meta_delete(flags)),
        Op::MetaArithmetic => {
            Verb::Meta(flag(flags, b'C').map_or(Meta::Count, |token| Meta::Cas(number(token))))
        }
        Op::MetaDebug => Verb::Meta(Meta::Debug),
        _ => Verb::Set,
    }
}

fn meta_get(flags: &[&[u8]]) -> Meta {
    if [b'T', b'N', b'R', b'E'].into_iter().any(|known| flag(flags, known).is_some()) {
        return Meta::Refresh;
    }
    Meta::Get { token: flag(flags, b'c').is_some() }
}

fn meta_set(flags: &[&[u8]]) -> Meta {
    if flag(flags, b'I').is_some() {
        // An item with a higher CAS is marked as stale: the server's to compare.
        return Meta::Cas(None);
    }
    if let Some(token) = flag(flags, b'C') {
        return Meta::Cas(number(token));
    }
    match flag(flags, b'M').and_then(<[u8]>::first) {
        None | Some(b'S' | b's') => Meta::Set,
        Some(b'E' | b'e') => Meta::Add,
        Some(_) => Meta::Modify,
    }
}

fn meta_delete(flags: &[&[u8]]) -> Meta {
    if let Some(token) = flag(flags, b'C') {
        return Meta::Cas(number(token));
    }
    let stale = flag(flags, b'I').is_some() || flag(flags, b'x').is_some();
    if stale { Meta::Stale } else { Meta::Delete }
}

/// What stands behind a flag's letter, if the flag is there.
fn flag<'a>(flags: &[&'a [u8]], letter: u8) -> Option<&'a [u8]> {
    flags.iter().find_map(|word| word.strip_prefix(&[letter]))
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}
