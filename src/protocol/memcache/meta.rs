//! Meta commands on their way to a server: where they go, and what of them comes back.
//!
//! A server passes over in silence what a quiet request (`q`) asks for or not, by rules of its own
//! and its version. So that nobody has to know these, `mn` is sent behind such a request: all that
//! comes before its `MN` is the reply, be it nothing.

use super::base64::decode_base64;
use crate::protocol::{Command, Op, Request};

/// Bytes of the longest key.
pub const KEY_BYTES: usize = 250;

/// What is sent behind a quiet request.
pub const NOOP: &[u8] = b"mn\r\n";

/// The line that answers [`NOOP`].
pub const NOOP_REPLY: &[u8] = b"MN\r\n";

/// Whether a command is a meta command that a server executes.
fn is_meta(command: &Command) -> bool {
    matches!(
        command.op,
        Op::MetaGet | Op::MetaSet | Op::MetaDelete | Op::MetaArithmetic | Op::MetaDebug
    )
}

/// Whether a request is one that may get no reply.
pub fn is_quiet(request: &Request<'_>) -> bool {
    request.head.command.op != Op::MetaDebug && has_flag(request, b'q')
}

/// The key that a request has `written` as base64, as its server will know it; `None` if it is
/// written as it is, or is no base64: that the server is going to refuse, whichever it is.
pub fn binary_key(request: &Request<'_>, written: &[u8]) -> Option<Vec<u8>> {
    if !has_flag(request, b'b') {
        return None;
    }
    let mut key = vec![0; KEY_BYTES];
    let len = decode_base64(written, &mut key)?;
    key.truncate(len);
    Some(key)
}

fn has_flag(request: &Request<'_>, flag: u8) -> bool {
    let first = if request.head.command.op == Op::MetaSet { 3 } else { 2 };
    let flags = request.args.get(first..).unwrap_or_default();
    is_meta(request.head.command)
        && flags.iter().any(|word| word.of(request.bytes).first() == Some(&flag))
}
