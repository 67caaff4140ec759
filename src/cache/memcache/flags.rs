//! The flags of a meta command, and the parts of a reply that they ask for.
//!
//! A flag is a letter, some with a value right after it. Each may stand once. Those that ask for
//! something back are answered in the order in which they stand.

use crate::cache::Now;
use crate::cache::memcache::Failure;
use crate::cache::memcache::words::{expiry, seconds_until, signed, unsigned, write_number};
use crate::protocol::memcache::{KEY_BYTES, decode_base64, write_base64};
use crate::protocol::{Request, Span};
use crate::storage::{Marks, Time};

/// Bytes of an opaque flag, its letter included.
const OPAQUE_BYTES: usize = 32;

const BAD_TOKEN: Failure = "CLIENT_ERROR bad token in command line format";

/// Room for a key that came as base64.
#[derive(Debug)]
pub(super) struct KeyBuffer([u8; KEY_BYTES]);

impl Default for KeyBuffer {
    fn default() -> Self {
        Self([0; KEY_BYTES])
    }
}

impl KeyBuffer {
    /// The key that `text` stands for.
    pub(super) fn decode(&mut self, text: &[u8]) -> Option<&[u8]> {
        let len = decode_base64(text, &mut self.0)?;
        self.0.get(..len)
    }
}

/// What the flags say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags<'a> {
    words: &'a [Span],
    bytes: &'a [u8],
    /// `b`: the key is base64.
    pub(super) binary: bool,
    /// `q`: the usual answer is not wanted.
    pub(super) quiet: bool,
    /// `v`: the value is.
    pub(super) value: bool,
    /// `u`: this is not to count as an access.
    pub(super) unseen: bool,
    /// `I`: invalidate.
    pub(super) invalidate: bool,
    /// `x`: remove the value, not the item.
    pub(super) remove_value: bool,
    /// `N`: make an item where there is none, with this time.
    pub(super) vivify: Option<i64>,
    /// `T`: the item's time.
    pub(super) exptime: Option<i64>,
    /// `R`: recache if less time is left.
    pub(super) recache: i64,
    /// `F`: the client's 32 bits.
    pub(super) client: u32,
    /// `C`: the version that must be there.
    pub(super) compare: Option<u64>,
    /// `E`: the version it is to get.
    pub(super) cas: Option<u64>,
    /// `M`: the mode; 0 for none.
    pub(super) mode: u8,
    /// `J`: what a number begins with.
    pub(super) initial: u64,
    /// `D`: by how much a number changes.
    pub(super) delta: u64,
}

impl<'a> Flags<'a> {
    /// Reads the flags of `request`, which begin at word `from`.
    pub(super) fn of(request: Request<'a>, from: usize) -> Result<Self, Failure> {
        let mut flags = Self {
            words: request.args.get(from..).unwrap_or_default(),
            bytes: request.bytes,
            binary: false,
            quiet: false,
            value: false,
            unseen: false,
            invalidate: false,
            remove_value: false,
            vivify: None,
            exptime: None,
            recache: 0,
            client: 0,
            compare: None,
            cas: None,
            mode: 0,
            initial: 0,
            delta: 1,
        };
        // One bit for each letter that has been seen.
        let mut seen = 0u128;
        let mut failure = None;
        for word in flags.words {
            let (letter, value) = split(word.of(request.bytes));
            let bit = 1u128.checked_shl(u32::from(letter)).unwrap_or(0);
            if bit == 0 || letter == 127 || seen & bit != 0 {
                return Err("CLIENT_ERROR duplicate flag");
            }
            seen |= bit;
            match flags.take(letter, value) {
                Ok(true) => {}
                Ok(false) => return Err("CLIENT_ERROR invalid flag"),
                Err(what) => failure = Some(what),
            }
        }
        failure.map_or(Ok(flags), Err)
    }

    /// Notes one flag; `false` if there is none of this letter.
    fn take(&mut self, letter: u8, value: &[u8]) -> Result<bool, Failure> {
        match letter {
            b'b' => self.binary = true,
            b'q' => self.quiet = true,
            b'v' => self.value = true,
            b'u' => self.unseen = true,
            b'I' => self.invalidate = true,
            b'x' => self.remove_value = true,
            b'k' | b's' | b't' | b'c' | b'f' | b'l' | b'h' => {}
            // Hints for proxies.
            b'P' | b'L' => {}
            b'O' if value.len() < OPAQUE_BYTES => {}
            b'O' => return Err("CLIENT_ERROR opaque token too long"),
            b'N' => self.vivify = Some(signed(value).ok_or(BAD_TOKEN)?),
            b'T' => self.exptime = Some(signed(value).ok_or(BAD_TOKEN)?),
            b'R' => self.recache = signed(value).ok_or(BAD_TOKEN)?,
            b'C' => self.compare = Some(unsigned(value).ok_or(BAD_TOKEN)?),
            b'E' => self.cas = Some(unsigned(value).ok_or(BAD_TOKEN)?),
            b'F' => {
                let number = unsigned(value).and_then(|number| number.try_into().ok());
                self.client = number.ok_or("CLIENT_ERROR bad command line format")?;
            }
            b'M' => match value {
                [mode] => self.mode = *mode,
                _ => return Err("CLIENT_ERROR incorrect length for M token"),
            },
            b'J' => {
                self.initial =
                    unsigned(value).ok_or("CLIENT_ERROR invalid numeric initial value")?;
            }
            b'D' => {
                self.delta = unsigned(value).ok_or("CLIENT_ERROR invalid numeric delta value")?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The key meant by `word`: itself, or decoded into `buffer`.
    pub(super) fn key<'k>(
        &self,
        word: &'k [u8],
        buffer: &'k mut KeyBuffer,
    ) -> Result<&'k [u8], Failure> {
        if !self.binary {
            return Ok(word);
        }
        buffer.decode(word).ok_or("CLIENT_ERROR error decoding key")
    }

    /// Letter and value of each flag, in order.
    pub(super) fn each(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let bytes = self.bytes;
        self.words.iter().map(move |word| split(word.of(bytes)))
    }

    /// Appends the parts of a reply that are known without an item: the opaque and the key.
    pub(super) fn write_echo(&self, key: &[u8], out: &mut Vec<u8>) {
        for (letter, value) in self.each() {
            self.write_echo_of(letter, value, key, out);
        }
    }

    /// As [`write_echo`](Self::write_echo), for one flag.
    pub(super) fn write_echo_of(&self, letter: u8, value: &[u8], key: &[u8], out: &mut Vec<u8>) {
        match letter {
            b'O' => {
                out.extend_from_slice(b" O");
                out.extend_from_slice(value);
            }
            b'k' => {
                out.extend_from_slice(b" k");
                self.write_key(key, out);
                if self.binary {
                    out.extend_from_slice(b" b");
                }
            }
            _ => {}
        }
    }

    /// Appends the key as it came.
    fn write_key(&self, key: &[u8], out: &mut Vec<u8>) {
        if self.binary { write_base64(key, out) } else { out.extend_from_slice(key) }
    }
}

/// A flag's letter and the value right after it.
fn split(word: &[u8]) -> (u8, &[u8]) {
    word.split_first().map_or((0, &[]), |(letter, value)| (*letter, value))
}

/// What a reply tells of an item.
pub(super) struct Told {
    pub(super) len: u64,
    pub(super) client: u32,
    pub(super) cas: u64,
    pub(super) expiry: Option<Time>,
    pub(super) marks: Marks,
    pub(super) accessed: Time,
}

impl Told {
    /// Appends what `letter` asks for.
    pub(super) fn write(&self, letter: u8, now: Now, out: &mut Vec<u8>) {
        let number = match letter {
            b's' => self.len,
            b'c' => self.cas,
            b'f' => u64::from(self.client),
            b'h' => u64::from(self.marks.fetched),
            b'l' => now.time.since(self.accessed).as_secs(),
            b't' => match self.expiry {
                Some(expiry) => seconds_until(expiry, now.time),
                None => {
                    out.extend_from_slice(b" t-1");
                    return;
                }
            },
            _ => return,
        };
        out.extend_from_slice(&[b' ', letter]);
        write_number(number, out);
    }

    /// Whether less time is left than `seconds`.
    pub(super) fn is_due(&self, seconds: i64, now: Now) -> bool {
        let (Some(until), Some(due)) = (self.expiry, expiry(seconds, now)) else { return false };
        seconds_until(until, now.time) < seconds_until(due, now.time)
    }
}
