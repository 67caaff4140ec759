//! The requests of parts, as their servers get them.

use super::gather::{Gather, Part};
use crate::protocol::Request;
use crate::protocol::{Span, redis};

/// Bytes of a CRLF.
const LINE_END: u32 = 2;

/// Ends the request of one memcache part: the command, with what stands before the keys, and the
/// keys were added as they came.
pub(crate) fn end_line(part: &mut Part) {
    part.wire.extend_from_slice(b"\r\n");
}

/// Writes the parts of a Redis request: the command, then every key with the arguments that
/// belong to it (`step` of them, the key included). The keys begin with argument `first`.
pub(crate) fn write_redis_parts(
    gather: &mut Gather,
    request: &Request<'_>,
    first: usize,
    step: usize,
) {
    for part in gather.parts() {
        redis::write_header(b'*', part.keys as usize * step + 1, &mut part.wire);
        redis::write_bulk(request.head.command.name.as_bytes(), &mut part.wire);
    }
    let (before, units) = request.args.split_at(first.min(request.args.len()));
    let mut start = before.last().map_or(0, |arg| arg.end + LINE_END);
    for (unit, key) in units.chunks_exact(step).zip(&gather.keys) {
        let wire = &mut gather.parts[key.part as usize].wire;
        if request.head.rewrite {
            unit.iter().for_each(|arg| redis::write_bulk(arg.of(request.bytes), wire));
            continue;
        }
        // In an array the header of the key to the line end of its last argument are one piece.
        let end = unit.last().map_or(start, |arg| arg.end + LINE_END);
        wire.extend_from_slice(Span { start, end }.of(request.bytes));
        start = end;
    }
}
