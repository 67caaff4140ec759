//! The usual form of a Redis request: an array of bulk strings.
//!
//! How much of it is missing at least is known from the headers that are there, so that a client
//! who sends it in small pieces does not have it read again for each of them. Nothing is
//! allocated by what a header declares.

use crate::protocol::digits::{integer, leading_digits};
use crate::protocol::redis::commands;
use crate::protocol::redis::request::{head, lost, takes};
use crate::protocol::{Command, Keys, Op, Parsed, Plan, Refusal, Rules, Span};

/// An argument of so many bytes is worth being passed on as it comes.
const LARGE_ARGUMENT: u64 = 32 * 1024;
/// Bytes of a request that is held in memory: Redis's own bound on a client's input.
const REQUEST_BYTES: u64 = 1 << 30;
/// Bytes of the shortest argument, `$0\r\n\r\n`.
const ARGUMENT_BYTES: u64 = 6;

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
#[inline]
pub(super) fn number(bytes: &[u8], at: usize) -> Number {
    const CRLF: u32 = u16::from_le_bytes(*b"\r\n") as u32;
    let rest = bytes.get(at..).unwrap_or_default();
    // By far the most are of one or two digits.
    if let Some(four) = rest.first_chunk() {
        let four = u32::from_le_bytes(*four);
        let first = (four & 0xff).wrapping_sub(b'0'.into());
        if (four >> 8) & 0xffff == CRLF && first < 10 {
            return Number::Value(first.into(), at + 3);
        }
        let second = ((four >> 8) & 0xff).wrapping_sub(b'0'.into());
        if four >> 16 == CRLF && (1..10).contains(&first) && second < 10 {
            return Number::Value((first * 10 + second).into(), at + 4);
        }
    }
    long_number(rest, at)
}

/// As [`number`] of `rest`, which stands at `at`.
fn long_number(rest: &[u8], at: usize) -> Number {
    if let Some((number, len)) = leading_digits(rest)
        && (len == 1 || rest.first() != Some(&b'0'))
        && rest.get(len..).unwrap_or_default().starts_with(b"\r\n")
        && let Ok(number) = i64::try_from(number)
    {
        return Number::Value(number, at + len + 2);
    }
    if rest.starts_with(b"-1\r\n") {
        return Number::Value(-1, at + 4);
    }
    any_number(rest, at)
}

/// The same, be it wrong or cut.
#[cold]
fn any_number(rest: &[u8], at: usize) -> Number {
    /// Of `-9223372036854775808`.
    const LONGEST: usize = 20;
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

/// Reads the array at the start of `bytes` into `args`; returns its length.
#[inline]
pub(super) fn read(bytes: &[u8], rules: &Rules, args: &mut Vec<Span>) -> Result<usize, Parsed> {
    let (count, mut at) = match number(bytes, 1) {
        Number::Value(count, at) => (count, at),
        Number::Cut => return Err(Parsed::Incomplete { need: bytes.len() + 1 }),
        Number::Bad => return Err(lost("ERR Protocol error: invalid multibulk length")),
    };
    if count <= 0 && !rules.compat {
        return Err(Parsed::Skip { len: at });
    }
    let count = match usize::try_from(count) {
        Ok(count) if count > 0 && count <= rules.args_per_request => count,
        _ => return Err(lost("ERR Protocol error: invalid multibulk length")),
    };
    let mut array = Array { bytes, rules, args, count };
    while array.args.len() < count {
        at = array.bulk(at)?;
    }
    Ok(at)
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
            None => return Err(self.incomplete()),
            Some(b'$') => match number(self.bytes, at + 1) {
                Number::Value(len, start) => (len, start),
                Number::Cut => return Err(self.incomplete()),
                Number::Bad => return Err(lost("ERR Protocol error: invalid bulk length")),
            },
            Some(other) => return Err(lost(&unexpected(*other))),
        };
        let Ok(len) = u64::try_from(len) else {
            return Err(lost("ERR Protocol error: invalid bulk length"));
        };
        let end = start as u64 + len;
        if len > self.rules.value_bytes || (end > REQUEST_BYTES && self.begun().is_none()) {
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

    /// The header of an argument is not all there. The next byte may show it to be wrong, and a
    /// wrong request must be refused wherever it is cut.
    #[cold]
    fn incomplete(&self) -> Parsed {
        Parsed::Incomplete { need: self.bytes.len() + 1 }
    }

    /// The argument of `len` bytes that ends at `end` is not all there.
    #[cold]
    fn cut(&self, len: u64, end: usize) -> Parsed {
        let least = end as u64 + 2 + self.later();
        if len >= LARGE_ARGUMENT
            && least > Parsed::WHOLE_BYTES
            && let Some(command) = self.begun()
        {
            return Parsed::Begun(head(command, least, false));
        }
        Parsed::Incomplete { need: (end + 1).max(self.bytes.len() + 1) }
    }

    /// The command, if what is there says where the request goes and that it may go there.
    fn begun(&self) -> Option<&'static Command> {
        let name = self.args.first()?.of(self.bytes);
        let command = commands::find(name, self.rules)?;
        if self.rules.cache && Some(self.args.len()) != value_at(command.op) {
            return None;
        }
        if command.plan != Plan::Forward || !takes(command, self.count, self.rules) {
            return None;
        }
        let keys = match command.keys {
            Keys::At(_) => command.keys.positions(self.bytes, self.args, self.count),
            Keys::Counted(at) | Keys::CountedInto(at) => {
                let at = usize::from(at);
                let stated = integer(self.args.get(at)?.of(self.bytes))?;
                let room = self.count - at - 1;
                usize::try_from(stated).ok().filter(|stated| (1..=room).contains(stated))?;
                command.keys.positions(self.bytes, self.args, self.count)
            }
            // Their last key may be their last argument.
            _ => return None,
        };
        let mut keys = keys.map(|at| self.args.get(at));
        keys.all(|key| key.is_some_and(|key| key.len() <= self.rules.key_bytes)).then_some(command)
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

/// Which argument is the value that a command stores as it is; `None` if it makes another of it.
fn value_at(op: Op) -> Option<usize> {
    match op {
        Op::Set | Op::SetNx | Op::GetSet => Some(2),
        Op::SetEx | Op::PSetEx => Some(3),
        _ => None,
    }
}

#[cold]
fn unexpected(byte: u8) -> String {
    let shown = if byte.is_ascii_graphic() { char::from(byte) } else { '?' };
    format!("ERR Protocol error: expected '$', got '{shown}'")
}
