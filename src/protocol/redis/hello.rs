//! HELLO: which RESP a client wants, who it is, and what it is told.

use crate::protocol::digits::digits;
use crate::protocol::redis::{Reply, VERSION};
use crate::protocol::{Request, integer};

/// The error text for a name that a client may not have.
pub const BAD_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";

/// The error text for HELLO of somebody who has not given the password and does not now.
pub const STRANGER: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
     HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select \
     the RESP protocol version at the same time";

/// What `HELLO [2 | 3 [AUTH user password] [SETNAME name]]` asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// RESP3.
    pub resp3: bool,
    /// User and password.
    pub given: Option<(&'a [u8], &'a [u8])>,
    /// Its name; empty for none.
    pub name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    /// Reads a request by somebody who speaks RESP3 already, or not.
    ///
    /// # Errors
    /// The error text, as Redis words it.
    pub fn read(request: Request<'a>, resp3: bool) -> Result<Self, String> {
        let count = request.args.len();
        let resp3 = match (count, integer(request.arg(1))) {
            (1, _) => resp3,
            (_, Some(version @ 2..=3)) => version == 3,
            (_, Some(_)) => return Err("NOPROTO unsupported protocol version".to_owned()),
            _ => return Err("ERR Protocol version is not an integer or out of range".to_owned()),
        };
        let mut hello = Self { resp3, given: None, name: None };
        let mut at = 2;
        while at < count {
            let (word, more) = (request.arg(at), count - at - 1);
            if word.eq_ignore_ascii_case(b"AUTH") && more >= 2 {
                hello.given = Some((request.arg(at + 1), request.arg(at + 2)));
                at += 3;
            } else if word.eq_ignore_ascii_case(b"SETNAME") && more >= 1 {
                let name = request.arg(at + 1);
                hello.name = Some(name).filter(|name| is_client_name(name));
                hello.name.ok_or(BAD_NAME)?;
                at += 2;
            } else {
                let word = String::from_utf8_lossy(word).into_owned();
                return Err(format!("ERR Syntax error in HELLO option '{word}'"));
            }
        }
        Ok(hello)
    }
}

/// Answers it to the client with this number, in the version that `reply` writes by now.
pub fn greet(reply: &mut Reply<'_>, id: u64) {
    let pairs = |reply: &mut Reply<'_>, pairs: [(&str, &str); 2]| {
        for word in pairs.into_iter().flat_map(|(key, value)| [key, value]) {
            reply.bulk(word.as_bytes());
        }
    };
    reply.map(7);
    pairs(reply, [("server", "redis"), ("version", VERSION)]);
    reply.bulk(b"proto");
    reply.integer(if reply.is_resp3() { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(id as i64);
    pairs(reply, [("mode", "standalone"), ("role", "master")]);
    reply.bulk(b"modules");
    reply.array(0);
}

/// Whether a client may call itself so: nothing that would break a line of CLIENT LIST.
pub fn is_client_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Whether a server that answers so to HELLO gives fields of hashes a time to live of their own:
/// Redis 7.4 and later; whoever does not say its version may.
pub fn has_field_times(answer: &[u8]) -> bool {
    let start = memchr::memmem::find(answer, b"$7\r\nversion\r\n").map(|at| at + 13);
    let version = start.and_then(|at| super::bulk_text(answer.get(at..)?));
    let Some(version) = version else { return true };
    let mut parts = version.split(|byte| *byte == b'.').map(digits);
    let version = (parts.next().flatten(), parts.next().flatten());
    version >= (Some(7), Some(4)) || version.0.is_none()
}
