//! Has the allocator give memory back to the system soon after it is freed.
//!
//! mimalloc keeps what was freed for a second before the system gets it, which at a gigabyte a
//! second of large values is more than a cache's tolerance. It reads its options before `main`, from the
//! environment, so a program that will serve sets the option there and executes itself again:
//! the same process, arguments, files and standard streams, before anything was read or opened.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::thread::set_name;

/// Milliseconds for which mimalloc keeps freed memory: its option `purge_delay`. What an operator
/// has set stays as it is.
const OPTION: &str = "MIMALLOC_PURGE_DELAY";
/// Long enough that a buffer freed by one request serves the next: 0 costs a tenth to a third more
/// CPU with values of 1 MiB.
const DELAY: &str = "10";

/// Bytes of a thread's name, as the system keeps it.
const NAME: usize = 15;

/// Returns with the option set; where the program cannot be executed again, without it: memory
/// then comes down a second later, and nothing else differs.
pub(super) fn settle() {
    if env::var_os(OPTION).is_some() {
        keep_name();
    } else if let Ok(program) = env::current_exe() {
        let mut argv = env::args_os();
        let name = argv.next().unwrap_or_default();
        let _ = Command::new(program).arg0(name).args(argv).env(OPTION, DELAY).exec();
    }
}

/// The program may have been called by a link, `nutcracker` for one; whoever looks for that name
/// (`pkill`, `top`) finds the process by it still.
fn keep_name() {
    let called: OsString = env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_else(|| OsStr::new("twinring"));
    let bytes = &name.as_encoded_bytes()[..name.len().min(NAME)];
    // A name with a zero byte cannot come from the command line.
    if let Ok(name) = std::ffi::CString::new(bytes) {
        let _ = set_name(&name);
    }
}
