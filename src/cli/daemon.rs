//! What a daemon does to itself: detach, leave a pid file, ask for descriptors.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, setsid, umask};

use super::{FAILED, complain};

/// Set in the environment of the process that goes on in the background.
const DETACHED: &str = "TWINRING_DETACHED";

/// True in the process that goes on in the background; makes it the leader of a session of its
/// own, so that no terminal's hang-up reaches it.
pub(super) fn is_detached() -> bool {
    let detached = std::env::var_os(DETACHED).is_some();
    if detached {
        // It fails only for a process that leads a session already.
        let _ = setsid();
        // As twemproxy: anybody may connect to a unix socket whose mode the file does not set.
        umask(Mode::empty());
    }
    detached
}

/// Goes on in the background: a copy of this process with the same arguments, since a program
/// that may have threads cannot be forked. Returns this one's exit code.
pub(super) fn detach() -> u8 {
    let mut argv = std::env::args_os();
    let name = argv.next().unwrap_or_default();
    let started = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .arg0(name)
            .args(argv)
            .env(DETACHED, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    });
    match started {
        Ok(_) => 0,
        Err(error) => {
            complain(&format!("nutcracker: cannot go on in the background: {error}\n"));
            FAILED
        }
    }
}

/// A file that holds the process's id while it runs.
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file.
    pub(super) fn write(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o644).open(path);
        file?.write_all(std::process::id().to_string().as_bytes())?;
        Ok(Self(path.to_path_buf()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = fs::remove_file(&self.0);
    }
}

/// Asks for as many file descriptors as this process may have.
pub(super) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer the process serves all the same; connections beyond them wait.
    let _ = setrlimit(Resource::Nofile, limit);
}
