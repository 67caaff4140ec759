//! What a Redis client asks: an array of bulk strings, or words on a line.
//!
//! ```text
//!  '*' ─▶ array: header, then a bulk an argument ─┐
//!  else ─▶ inline: split the line ────────────────┴▶ finish: row, arity, keys ─▶ Parsed
//! ```
//! The start of a request is looked at again each time more of it has come in, but not before as
//! much as it must still need at least. Nothing is allocated by what a header declares.

use memchr::memchr;

use crate::protocol::digits::integer;
use crate::protocol::redis::{commands, inline};
use crate::protocol::{Command, Head, Keys, Parsed, Plan, Refusal, Rules, Span};

/// Requests up to this many bytes are waited for whole.
const WHOLE_BYTES: u64 = 64 * 1024;
/// An argument of so many bytes is worth being passed on as it comes.
const LARGE_ARGUMENT: u64 = 32 * 1024;
/// Bytes of a request that is held in memory: Redis's own bound on a client's input.
const REQUEST_BYTES: u64 = 1 << 30;
/// Bytes of the shortest argument, `$0\r\n\r\n`.
const ARGUMENT_BYTES: u64 = 6;

/// Parses what stands at the start of `bytes`; `args` is filled with the spans of the arguments.
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
        Some(b'*') => array(bytes, rules, args),
        Some(_) if rules.compat => lost("ERR Protocol error: expected an array"),
        Some(_) => match inline::split(bytes, rules.args_per_request, args) {
            Ok(len) => Request { bytes, rules, args, len }.finish(true),
            Err(parsed) => parsed,
        },
    }
}

/// The end of a client nobody can follow any more.
pub(super) fn lost(text: &str) -> Parsed {
    Parsed::Lost(Refusal::Redis(text.to_owned()))
}

/// What stands after a type byte up to the line end.
pub(super) enum Number {
    /// The number, and the offset after the line end.
    Value(i64, usize),
    /// The line is cut.
    Cut,
    /// Not a number as Redis writes it.
    Bad,
}

/// Reads the number at `at`.
pub(super) fn number(bytes: &[u8], at: usize) -> Number {
    /// Of `-9223372036854775808`.
    const LONGEST: usize = 20;
    let rest = bytes.get(at..).unwrap_or_default();
    // By far the most are of one or two digits.
    match rest {
        [digit @ b'0'..=b'9', b'\r', b'\n', ..] => {
            return Number::Value(i64::from(digit - b'0'), at + 3);
        }
        [ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] => {
            return Number::Value(i64::from(ten - b'0') * 10 + i64::from(one - b'0'), at + 4);
        }
        _ => {}
    }
    let plain = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    let len = rest.iter().take(LONGEST + 1).take_while(|byte| plain(byte)).count();
    match rest.get(len..).unwrap_or_default() {
        [] | [b'\r'] if len <= LONGEST => Number::Cut,
        [b'\r', b'\n', ..] => match rest.get(..len).and_then(integer) {
            Some(number) => Number::Value(number, at + len + 2),
            None => Number::Bad,
        },
        _ => Number::Bad,
    }
}

fn array(bytes: &[u8], rules: &Rules, args: &mut Vec<Span>) -> Parsed {
    let (count, mut at) = match number(bytes, 1) {
        Number::Value(count, at) => (count, at),
        Number::Cut => return Parsed::Incomplete { need: bytes.len() + 1 },
        Number::Bad => return lost("ERR Protocol error: invalid multibulk length"),
    };
    if count <= 0 && !rules.compat {
        return Parsed::Skip { len: at };
    }
    let count = match usize::try_from(count) {
        Ok(count) if count > 0 && count <= rules.args_per_request => count,
        _ => return lost("ERR Protocol error: invalid multibulk length"),
    };
    let mut array = Array { bytes, rules, args, count };
    while array.args.len() < count {
        at = match array.bulk(at) {
            Ok(next) => next,
            Err(parsed) => return parsed,
        };
    }
    Request { bytes, rules, args, len: at }.finish(false)
}

/// An array request that is being read.
struct Array<'a> {
    bytes: &'a [u8],
    rules: &'a Rules,
    args: &'a mut Vec<Span>,
    count: usize,
}

impl Array<'_> {
    /// Reads the bulk at `at`; returns where the next begins.
    #[inline]
    fn bulk(&mut self, at: usize) -> Result<usize, Parsed> {
        let (len, start) = match self.bytes.get(at) {
            None => return Err(self.incomplete(at)),
            Some(b'$') => match number(self.bytes, at + 1) {
                Number::Value(len, start) => (len, start),
                Number::Cut => return Err(self.incomplete(at)),
                Number::Bad => return Err(lost("ERR Protocol error: invalid bulk length")),
            },
            Some(other) => return Err(lost(&unexpected(*other))),
        };
        let Ok(len) = u64::try_from(len) else {
            return Err(lost("ERR Protocol error: invalid bulk length"));
        };
        let end = start as u64 + len;
        if len > self.rules.value_bytes || end > REQUEST_BYTES {
            return Err(self.too_large(end));
        }
        let end = end as usize;
        match self.bytes.get(end..).unwrap_or_default() {
            [b'\r', b'\n', ..] => {
                self.args.push(Span { start: start as u32, end: end as u32 });
                Ok(end + 2)
            }
            [] | [b'\r'] => Err(self.cut(len, end)),
            _ => Err(lost("ERR Protocol error: expected CRLF after a bulk")),
        }
    }

    /// Bytes that the arguments after the current one need at least.
    fn later(&self) -> u64 {
        (self.count - self.args.len() - 1) as u64 * ARGUMENT_BYTES
    }

    /// The header of the argument at `at` is not all there.
    #[cold]
    fn incomplete(&self, at: usize) -> Parsed {
        let least = (at as u64 + ARGUMENT_BYTES + self.later()) as usize;
        Parsed::Incomplete { need: least.max(self.bytes.len() + 1) }
    }

    /// The argument of `len` bytes that ends at `end` is not all there.
    #[cold]
    fn cut(&self, len: u64, end: usize) -> Parsed {
        let least = end as u64 + 2 + self.later();
        if len >= LARGE_ARGUMENT
            && least > WHOLE_BYTES
            && let Some(command) = self.begun()
        {
            return Parsed::Begun(head(command, least, false));
        }
        Parsed::Incomplete { need: least as usize }
    }

    /// The command, if what is there says where the request goes and that it may go there.
    fn begun(&self) -> Option<&'static Command> {
        let name = self.args.first()?.of(self.bytes);
        let command = commands::find(name, self.rules.compat)?;
        if command.plan != Plan::Forward || !takes(command, self.count, self.rules) {
            return None;
        }
        let key = match command.keys {
            Keys::At(at) => usize::from(at),
            Keys::Counted(at) => {
                let stated = self.args.get(usize::from(at))?.of(self.bytes);
                let room = self.count - usize::from(at) - 1;
                let stated = usize::try_from(integer(stated)?).ok()?;
                (1..=room).contains(&stated).then_some(usize::from(at) + 1)?
            }
            Keys::None | Keys::Every { .. } => return None,
        };
        let key = self.args.get(key)?;
        (key.len() <= self.rules.key_bytes).then_some(command)
    }

    /// The argument that ends at `end` is beyond the limit. Its end is the request's if it is the
    /// last; otherwise what follows would have to be read to be thrown away.
    #[cold]
    fn too_large(&self, end: u64) -> Parsed {
        if self.args.is_empty() || self.args.len() + 1 < self.count {
            return lost("ERR Protocol error: invalid bulk length");
        }
        let refusal = Refusal::Redis("ERR value is larger than the limit".to_owned());
        Parsed::Refused { len: end + 2, refusal: Some(refusal) }
    }
}

#[cold]
fn unexpected(byte: u8) -> String {
    let shown = if byte.is_ascii_graphic() { char::from(byte) } else { '?' };
    format!("ERR Protocol error: expected '$', got '{shown}'")
}

fn head(command: &'static Command, len: u64, rewrite: bool) -> Head {
    Head { command, len, noreply: false, bare_lf: false, line: 0, rewrite }
}

/// Whether `command` may have `count` arguments, its name included.
fn takes(command: &Command, count: usize, rules: &Rules) -> bool {
    let arity = if rules.compat { command.compat } else { command.arity };
    let stated = usize::from(arity.unsigned_abs());
    let fits = if arity < 0 { count >= stated } else { count == stated };
    match command.keys {
        Keys::Every { first, step } => {
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
        let Some(command) = commands::find(name, self.rules.compat) else {
            return Err(commands::refused(name).map_or_else(|| self.unknown(), str::to_owned));
        };
        if !takes(command, self.args.len(), self.rules) {
            let name = command.name.to_ascii_lowercase();
            return Err(format!("ERR wrong number of arguments for '{name}' command"));
        }
        self.keys(command)?;
        Ok(command)
    }

    fn arg(&self, at: usize) -> &[u8] {
        self.args.get(at).map(|arg| arg.of(self.bytes)).unwrap_or_default()
    }

    fn keys(&self, command: &Command) -> Result<(), String> {
        let fits = |key: &Span| key.len() <= self.rules.key_bytes;
        let fit = match command.keys {
            Keys::None => true,
            Keys::At(at) => self.args.get(usize::from(at)).is_none_or(fits),
            Keys::Every { first, step } => {
                let keys = || self.args.iter().skip(first.into()).step_by(step.into());
                if keys().len() > self.rules.keys_per_request {
                    return Err("ERR too many keys in one request".to_owned());
                }
                keys().all(fits)
            }
            Keys::Counted(at) => {
                self.counted(command, at.into())?;
                self.args.get(usize::from(at) + 1).is_none_or(fits)
            }
        };
        if fit { Ok(()) } else { Err("ERR key is longer than the limit".to_owned()) }
    }

    /// Checks that the argument at `at` counts at least one key, and no more than follow.
    fn counted(&self, command: &Command, at: usize) -> Result<(), String> {
        let Some(stated) = integer(self.arg(at)) else {
            return Err("ERR value is not an integer or out of range".to_owned());
        };
        let room = (self.args.len() - at - 1) as i64;
        let text = match command.name {
            "EVAL" | "EVALSHA" if stated < 0 => "ERR Number of keys can't be negative",
            "EVAL" | "EVALSHA" if stated == 0 => "ERR a script without keys cannot be routed",
            "EVAL" | "EVALSHA" if stated > room => {
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
        format!("ERR unknown command '{name}', with args beginning with: {quoted}")
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
    for arg in args {
        write_header(b'$', arg.len(), out);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_header(kind: u8, number: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}
