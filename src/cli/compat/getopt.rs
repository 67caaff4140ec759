//! twemproxy's command line, read as its getopt_long(3) reads it.
//!
//! ```text
//!  arguments ─▶ one option at a time (clustered, abbreviated, `--opt=value`) ─▶ Flags ─▶ Action
//!                                                    └─▶ UsageError, the first one, in its words
//! ```
//! Pure: nothing is printed or opened here. Arguments that are no options are passed over, wherever
//! they stand.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::cli::compat::flags::{Action, OPTIONS, Opt, Read, UsageError, invalid, requires};

/// Reads the arguments after the program's name.
///
/// # Errors
/// The first option that twemproxy refuses.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Action, UsageError> {
    let mut reader = Reader { args: args.into_iter(), read: Read::default() };
    while let Some(arg) = reader.args.next() {
        match arg.as_bytes() {
            b"--" => break,
            [b'-', b'-', long @ ..] => reader.long(long)?,
            [b'-', letters @ ..] if !letters.is_empty() => reader.letters(letters)?,
            _ => {}
        }
    }
    Ok(reader.read.action())
}

struct Reader<I> {
    args: I,
    read: Read,
}

impl<I: Iterator<Item = OsString>> Reader<I> {
    /// `name`, `name=value` or `name value`, the name perhaps cut short.
    fn long(&mut self, long: &[u8]) -> Result<(), UsageError> {
        let equals = long.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals {
            Some(at) => (&long[..at], Some(long[at + 1..].to_vec())),
            None => (long, None),
        };
        // getopt knows no letter for an unknown name and gives 0, which twemproxy prints.
        let option = named(name).ok_or_else(|| invalid(0))?;
        match (option.takes, value) {
            (None, None) => self.read.set(option.letter),
            (None, Some(_)) => return Err(invalid(option.letter)),
            (Some(what), value) => {
                let value = value.or_else(|| self.next()).ok_or_else(|| requires(option, what))?;
                self.read.assign(option, value)?;
            }
        }
        Ok(())
    }

    /// Letters in a cluster; the first that takes a value takes the rest, or the next argument.
    fn letters(&mut self, letters: &[u8]) -> Result<(), UsageError> {
        for (at, letter) in letters.iter().enumerate() {
            let option = OPTIONS.iter().find(|option| option.letter == *letter);
            let option = option.ok_or_else(|| invalid(*letter))?;
            let Some(what) = option.takes else {
                self.read.set(option.letter);
                continue;
            };
            let rest = &letters[at + 1..];
            let value = if rest.is_empty() { self.next() } else { Some(rest.to_vec()) };
            return self.read.assign(option, value.ok_or_else(|| requires(option, what))?);
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.args.next().map(OsString::into_vec)
    }
}

/// The option of that name, or the only one that begins with it.
fn named(name: &[u8]) -> Option<&'static Opt> {
    let exact = OPTIONS.iter().find(|option| option.name.as_bytes() == name);
    let mut begin = OPTIONS.iter().filter(|option| option.name.as_bytes().starts_with(name));
    exact.or_else(|| begin.next().filter(|_| begin.next().is_none()))
}
