//! The command line: what to do, said by arguments; how it went, said by the exit code.
//!
//! ```text
//!  argv ─┬─ called nutcracker, or --compat twemproxy ─▶ compat: its flags, texts and codes
//!        └─ otherwise ─▶ args ─▶ run │ cache │ demo │ check │ reload │ locate │ ring │ topology │ expand │ …
//! ```
//! Exit codes: 0, 1 failed at run time, 2 usage, 78 bad configuration.

mod allocator;
mod args;
mod cache;
pub mod compat;
mod daemon;
mod demo;
mod door;
mod expand;
mod look;
mod nanny;
mod reload;
mod run;
mod servers;
mod topology;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// A failure at run time.
const FAILED: u8 = 1;

/// Arguments that do not fit together.
const USAGE: u8 = 2;

/// A configuration that is not valid (sysexits.h: EX_CONFIG).
const BAD_CONFIG: u8 = 78;

/// The whole program.
pub fn main() -> ExitCode {
    let mut argv: Vec<OsString> = std::env::args_os().collect();
    let called = argv.first().and_then(|name| Path::new(name).file_name().map(OsString::from));
    let code = if called.is_some_and(|name| name == "nutcracker") || takes_compat(&mut argv) {
        run::as_nutcracker(argv.into_iter().skip(1).collect())
    } else {
        args::dispatch(argv)
    };
    ExitCode::from(code)
}

/// Takes `--compat twemproxy` out of the arguments; true if it was there.
fn takes_compat(argv: &mut Vec<OsString>) -> bool {
    if let Some(at) = argv.iter().position(|arg| arg == "--compat=twemproxy") {
        argv.remove(at);
        return true;
    }
    let pair = |two: &[OsString]| two[0] == "--compat" && two[1] == "twemproxy";
    let Some(at) = argv.windows(2).position(pair) else { return false };
    argv.drain(at..at + 2);
    true
}

/// Writes `text` to standard output; a reader that has gone is no failure.
fn print(text: &str) {
    let _ = write(text);
}

/// The same; an error if nobody reads it any more.
fn write(text: &str) -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())
}

/// Writes `text` to standard error.
fn complain(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}
