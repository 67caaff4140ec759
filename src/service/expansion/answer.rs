//! What the client of an operation is told, in the words of its own command.

use super::operation::{Meta, Operation, Verb};
use super::wire::{Answer, Code, NO_CAS};
use crate::backend::OUT_OF_SIGHT;

/// Of a key that moves, while it may be that others have gone on without us.
pub(in crate::service) const FENCED: &str = OUT_OF_SIGHT;

/// What the client reads where nothing was found, stored or changed.
pub(super) fn missing(op: &Operation) -> Vec<u8> {
    match op.verb {
        Verb::Get { .. } | Verb::GetAndTouch { .. } => b"END\r\n".to_vec(),
        Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend => b"NOT_STORED\r\n".to_vec(),
        Verb::Meta(_) if op.quiet && !op.line.starts_with(b"ms ") => Vec::new(),
        Verb::Meta(_) if op.line.starts_with(b"mg ") => meta("EN", op),
        Verb::Meta(_) => meta("NF", op),
        _ => b"NOT_FOUND\r\n".to_vec(),
    }
}

/// What a client that adds is told if there is something.
pub(super) fn present(op: &Operation) -> Vec<u8> {
    if op.is_meta() { meta("NS", op) } else { b"NOT_STORED\r\n".to_vec() }
}

/// What a client is told whose CAS is not that of the item.
pub(super) fn exists(op: &Operation) -> Vec<u8> {
    if op.is_meta() { meta("EX", op) } else { b"EXISTS\r\n".to_vec() }
}

/// What the client is told while keys that move must not be touched.
pub(super) fn fenced(op: &Operation) -> Vec<u8> {
    if op.is_read() { missing(op) } else { error(FENCED) }
}

/// An error of ours.
pub(super) fn error(text: &str) -> Vec<u8> {
    format!("SERVER_ERROR {text}\r\n").into_bytes()
}

/// What was deleted is deleted, whichever server had it: the new server's reply, unless it had
/// nothing and the old one had.
pub(super) fn deleted(op: &Operation, reply: &[u8], old_had_it: bool) -> Vec<u8> {
    match reply.strip_prefix(b"NF") {
        Some(flags) if old_had_it && op.is_meta() => [b"HD", flags].concat(),
        None if old_had_it && reply.starts_with(b"NOT_FOUND") => b"DELETED\r\n".to_vec(),
        _ => reply.to_vec(),
    }
}

/// A value that was found, as get, gets, gat and gats show it.
pub(super) fn value(op: &Operation, found: &Answer<'_>, cas: Option<u64>) -> Vec<u8> {
    let flags = found.flag(b'f').unwrap_or(b"0");
    let len = found.value.len().to_string();
    let mut text = [b"VALUE ", &op.key[..], b" ", flags, b" ", len.as_bytes()].concat();
    let shows_cas =
        matches!(op.verb, Verb::Get { token: true } | Verb::GetAndTouch { token: true });
    if let Some(cas) = cas.filter(|_| shows_cas) {
        text.extend_from_slice(format!(" {cas}").as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(found.value);
    text.extend_from_slice(b"\r\nEND\r\n");
    text
}

/// The reply to a guarded request in the client's words; `None` if the item is not the one any
/// more that the guard was for.
pub(super) fn translated(op: &Operation, reply: &[u8]) -> Option<Vec<u8>> {
    let answer = Answer::of(reply);
    if op.is_meta() {
        // Without the CAS, what replaces nothing is not stored.
        let replaces = op.verb == Verb::Meta(Meta::Modify);
        let reply = match reply.strip_prefix(b"NF").filter(|_| replaces) {
            Some(flags) => [b"NS", flags].concat(),
            None => reply.to_vec(),
        };
        return (answer.code != Code::Exists).then_some(reply);
    }
    match (op.verb, answer.code) {
        (_, Code::Error) => Some(reply.to_vec()),
        (Verb::Count { .. }, Code::Value) => Some([answer.value, b"\r\n"].concat()),
        (Verb::Touch, Code::Done) => Some(b"TOUCHED\r\n".to_vec()),
        (Verb::GetAndTouch { .. }, Code::Value) => Some(value(op, &answer, answer.number(b'c'))),
        (Verb::Touch | Verb::GetAndTouch { .. }, _) => Some(missing(op)),
        (_, Code::Done) => Some(b"STORED\r\n".to_vec()),
        _ => None,
    }
}

/// A reply of the old server with a CAS in it that no item has.
pub(super) fn without_token(op: &Operation, reply: &[u8]) -> Vec<u8> {
    let end = reply.iter().position(|byte| *byte == b'\r').unwrap_or(reply.len());
    let (line, rest) = reply.split_at(end);
    let words = line.split(|byte| *byte == b' ').enumerate().map(|(at, word)| {
        let token = match word {
            [b'c', digits @ ..] if op.is_meta() => digits.iter().all(u8::is_ascii_digit),
            _ => !op.is_meta() && line.starts_with(b"VALUE ") && at == 4,
        };
        let no_cas = format!("{}{NO_CAS}", if op.is_meta() { "c" } else { "" });
        if token { no_cas.into_bytes() } else { word.to_vec() }
    });
    let words: Vec<Vec<u8>> = words.collect();
    [words.join(&b' '), rest.to_vec()].concat()
}

/// The line of a meta command, with what the client wanted to see again.
fn meta(code: &str, op: &Operation) -> Vec<u8> {
    let mut line = code.as_bytes().to_vec();
    for word in op.flags() {
        match word {
            [b'O', ..] => line.extend_from_slice(&[b" ", word].concat()),
            b"k" => line.extend_from_slice(&[b" k", &op.key[..]].concat()),
            b"b" => line.extend_from_slice(b" b"),
            _ => {}
        }
    }
    line.extend_from_slice(b"\r\n");
    line
}
