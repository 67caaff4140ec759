//! What a Redis client asks: an array of bulk strings, or words on a line.
//!
//! ```text
//!  '*' ─▶ array: header, then a bulk an argument ─┐
//!  else ─▶ inline: the line's words, written anew ┴▶ finish: row, arity, keys ─▶ Parsed
//! ```

use memchr::memchr;

use crate::protocol::digits::integer;
use crate::protocol::redis::inline::{self, Words};
use crate::protocol::redis::{array, commands};
use crate::protocol::{Command, Head, Inline, Keys, Parsed, Plan, Refusal, Rules, Span};

/// Parses what stands at the start of `bytes`; `args` is filled with the spans of the arguments:
/// in `bytes`, or in the text of a [`Parsed::Inline`].
///
/// The same bytes give the same answer however they are cut, but for a request with a large
/// argument that a single server gets: while that is incomplete the request is [`Parsed::Begun`],
/// `args` holds the arguments before it (the name and the key among them) and [`Head::len`] is a
/// lower bound: what the arguments that are not there yet need at least. [`Rest`] finds the end.
///
/// [`Rest`]: crate::protocol::redis::Rest
pub fn parse(bytes: &[u8], rules: &Rules, args: &mut Vec<Span>) -> Parsed {
    args.clear();
    match bytes.first() {
        None => Parsed::Incomplete { need: 1 },
        Some(b'*') => match array::read(bytes, rules, args) {
            Ok(len) => Request { bytes, rules, args, len }.finish(false),
            Err(parsed) => parsed,
        },
        Some(_) if rules.compat => lost("ERR Protocol error: expected an array"),
        Some(_) => match inline::split(bytes, rules.args_per_request, args) {
            Ok(Words { len, text }) => {
                match (Request { bytes: &text, rules, args, len }).finish(true) {
                    Parsed::Request(head) => Parsed::Inline(Box::new(Inline { head, text })),
                    refused => refused,
                }
            }
            Err(parsed) => parsed,
        },
    }
}

/// The end of a client nobody can follow any more.
pub(super) fn lost(text: &str) -> Parsed {
    Parsed::Lost(Refusal::Redis(text.to_owned()))
}

pub(super) fn head(command: &'static Command, len: u64, rewrite: bool) -> Head {
    Head { command, len, noreply: false, bare_lf: false, line: 0, rewrite }
}

/// Whether `command` may have `count` arguments, its name included.
pub(super) fn takes(command: &Command, count: usize, rules: &Rules) -> bool {
    let arity = if rules.compat { command.compat } else { command.arity };
    let stated = usize::from(arity.unsigned_abs());
    let fits = if arity < 0 { count >= stated } else { count == stated };
    match command.keys {
        // A cache says so when it executes the command, as Redis does.
        Keys::Every { first, step, .. } if !rules.cache => {
            fits && (count - usize::from(first)).is_multiple_of(usize::from(step))
        }
        _ => fits,
    }
}

/// A request whose arguments are all there.
struct Request<'a> {
    bytes: &'a [u8],
    rules: &'a Rules,
    args: &'a [Span],
    len: usize,
}

impl Request<'_> {
    fn finish(&self, rewrite: bool) -> Parsed {
        match self.check() {
            Ok(command) => Parsed::Request(head(command, self.len as u64, rewrite)),
            Err(text) => {
                Parsed::Refused { len: self.len as u64, refusal: Some(Refusal::Redis(text)) }
            }
        }
    }

    fn check(&self) -> Result<&'static Command, String> {
        let name = self.arg(0);
        let Some(command) = commands::find(name, self.rules) else {
            let refused = commands::refused(name).filter(|_| !self.rules.cache);
            return Err(refused.unwrap_or_else(|| self.unknown()));
        };
        if !takes(command, self.args.len(), self.rules) {
            let name = command.name.to_ascii_lowercase();
            return Err(format!("ERR wrong number of arguments for '{name}' command"));
        }
        if command.name == "MEMORY" && !self.is_word(1, b"USAGE") && !self.is_word(1, b"HELP") {
            return Err("ERR MEMORY is not supported but for USAGE: it concerns one server".into());
        }
        self.keys(command)?;
        Ok(command)
    }

    fn arg(&self, at: usize) -> &[u8] {
        self.args.get(at).map(|arg| arg.of(self.bytes)).unwrap_or_default()
    }

    fn is_word(&self, at: usize, word: &[u8]) -> bool {
        self.arg(at).eq_ignore_ascii_case(word)
    }

    fn keys(&self, command: &Command) -> Result<(), String> {
        let fits = |key: &Span| key.len() <= self.rules.key_bytes;
        let fit = match command.keys {
            Keys::None => true,
            Keys::At(at) => self.args.get(usize::from(at)).is_none_or(fits),
            keys => {
                // twemproxy looks at the first key of those that it does not split.
                let first_alone = self.rules.compat && command.plan == Plan::Forward;
                match keys {
                    Keys::Counted(at) => self.counted(command, at.into())?,
                    Keys::CountedInto(at) if !first_alone => self.counted(command, at.into())?,
                    _ => {}
                }
                let positions = keys.positions(self.bytes, self.args, self.args.len());
                if positions.len() > self.rules.keys_per_request && !first_alone {
                    return Err("ERR too many keys in one request".to_owned());
                }
                let looked_at = if first_alone { 1 } else { usize::MAX };
                positions.take(looked_at).filter_map(|at| self.args.get(at)).all(fits)
            }
        };
        if fit { Ok(()) } else { Err("ERR key is longer than the limit".to_owned()) }
    }

    /// Checks that the argument at `at` counts at least one key, and no more than follow; a script
    /// may have none.
    fn counted(&self, command: &Command, at: usize) -> Result<(), String> {
        let pops_or_counts =
            matches!(command.name, "LMPOP" | "ZMPOP" | "BLMPOP" | "BZMPOP" | "SINTERCARD");
        let stated = match integer(self.arg(at)) {
            None | Some(..=0) if pops_or_counts => {
                return Err("ERR numkeys should be greater than 0".to_owned());
            }
            None if command.name.starts_with("FCALL") => {
                return Err("ERR Bad number of keys provided".to_owned());
            }
            None => return Err("ERR value is not an integer or out of range".to_owned()),
            Some(stated) => stated,
        };
        // twemproxy leaves it to the server to notice keys that are not there.
        let room = if self.rules.compat { i64::MAX } else { (self.args.len() - at - 1) as i64 };
        let is_script = command.name.starts_with('E') || command.name.starts_with('F');
        let text = match () {
            _ if is_script && stated < 0 => "ERR Number of keys can't be negative",
            // Where there is but one server it goes there.
            _ if is_script && stated == 0 && !self.rules.compat => return Ok(()),
            _ if is_script && stated == 0 => "ERR a script without keys cannot be routed",
            _ if (is_script || command.name == "SINTERCARD") && stated > room => {
                "ERR Number of keys can't be greater than number of args"
            }
            _ if stated < 1 => {
                let name = command.name.to_ascii_lowercase();
                return Err(format!("ERR at least 1 input key is needed for '{name}' command"));
            }
            _ if stated > room => "ERR syntax error",
            _ => return Ok(()),
        };
        Err(text.to_owned())
    }

    /// Redis's words for a command it does not know, with the same bounds on what is quoted.
    #[cold]
    fn unknown(&self) -> String {
        const QUOTED: usize = 128;
        let name = printable(self.arg(0), QUOTED);
        let mut quoted = String::new();
        for at in 1..self.args.len() {
            if quoted.len() >= QUOTED {
                break;
            }
            let arg = printable(self.arg(at), QUOTED - quoted.len());
            quoted.push_str(&format!("'{arg}' "));
        }
        let why = if self.rules.cache && commands::is_foreign(self.arg(0)) {
            "(not among the commands of this server, which holds strings only)"
        } else {
            ""
        };
        format!("ERR unknown command '{name}', with args beginning with: {quoted}{why}")
    }
}

/// `arg` as far as `most` bytes, fit to stand on an error line.
fn printable(arg: &[u8], most: usize) -> String {
    let arg = arg.get(..most).unwrap_or(arg);
    let arg = memchr(0, arg).and_then(|end| arg.get(..end)).unwrap_or(arg);
    String::from_utf8_lossy(arg).replace(['\r', '\n'], " ")
}

/// Appends `args` as an array of bulk strings: a request for a server.
pub fn write_command<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    write_header(b'*', args.len(), out);
    args.for_each(|arg| write_bulk(arg, out));
}

/// Appends a bulk string.
pub fn write_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    write_header(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the first line of an array (`*`) or a bulk string (`$`). A formatter would cost more
/// than the copying.
pub fn write_header(kind: u8, number: usize, out: &mut Vec<u8>) {
    let mut line = *b"$18446744073709551615\r\n";
    let mut at = line.len() - 2;
    let mut left = number;
    loop {
        at -= 1;
        line[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    line[at - 1] = kind;
    out.extend_from_slice(&line[at - 1..]);
}
