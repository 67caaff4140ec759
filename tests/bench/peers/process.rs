//! Children: started on given cores, found ready, killed by their pid.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

use crate::peers::Failure;

/// How long a child may take until it accepts connections.
const START: Duration = Duration::from_secs(10);
/// Between two looks at a child.
const LOOK: Duration = Duration::from_millis(5);

/// A child process; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    /// Where it says what is wrong: a file that has no name any more.
    log: File,
}

impl Process {
    /// Runs `program` with `arguments` on `cpus`; its standard output is a pipe if `piped`.
    ///
    /// # Errors
    /// What keeps it from being started; a missing program only shows when it is waited for.
    pub(crate) fn start(
        program: &Path,
        arguments: &[OsString],
        cpus: &[usize],
        stdout: Stdio,
    ) -> Result<Self, Failure> {
        let path = scratch("log");
        let (log_in, log) = (File::create(&path)?, File::open(&path)?);
        fs::remove_file(&path)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["child", "--parent", &std::process::id().to_string(), "--cpus"])
            .arg(cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
            .arg("--")
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log_in)
            .spawn()?;
        Ok(Self { child, log })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipe from its standard output, once.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits until something listens on `port`.
    ///
    /// # Errors
    /// With the end of its log if it ended, or took longer than [`START`].
    pub(crate) fn wait_listening(&mut self, port: u16) -> Result<(), Failure> {
        self.wait_until(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    /// Waits until `ready` says so of its pid.
    ///
    /// # Errors
    /// As [`Process::wait_listening`].
    pub(crate) fn wait_until(&mut self, ready: impl Fn(u32) -> bool) -> Result<(), Failure> {
        let end = Instant::now() + START;
        while !ready(self.pid()) {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > end {
                return Err(format!("not ready ({ended:?}): {}", self.log_end()).into());
            }
            pause(LOOK);
        }
        Ok(())
    }

    /// Interrupts it as Ctrl-C would, waits for its end and gives what it wrote to its log.
    ///
    /// # Errors
    /// Those of the system, and an end that does not come.
    pub(crate) fn interrupt(mut self) -> Result<String, Failure> {
        if let Some(pid) = Pid::from_raw(self.pid().cast_signed()) {
            rustix::process::kill_process(pid, Signal::INT)?;
        }
        let end = Instant::now() + START;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err("does not end when interrupted".into());
            }
            pause(LOOK);
        }
        let mut text = String::new();
        self.log.read_to_string(&mut text)?;
        Ok(text)
    }

    fn log_end(&mut self) -> String {
        let mut text = String::new();
        _ = self.log.read_to_string(&mut text); // what can't be read is not shown
        text.lines().rev().take(3).collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Lets some time pass while another process gets on.
#[expect(clippy::disallowed_methods, reason = "nothing tells when another process has come so far")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A path of our own for a file, in the build's directory for such things.
pub(crate) fn scratch(kind: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("bench-{}-{number}.{kind}", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A port that nothing listens on at the moment.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The `child` role: takes its place on `cpus`, dies with `parent`, and becomes `command`.
///
/// # Errors
/// Always when it returns: the command could not be run.
pub(crate) fn become_child(
    parent: u32,
    cpus: &[usize],
    command: &[OsString],
) -> Result<Infallible, Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let ours = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if ours != Some(parent.cast_signed()) {
        return Err("the bench has ended".into());
    }
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    rustix::thread::sched_setaffinity(None, &set)?;
    raise_file_limit()?;
    let (program, arguments) = command.split_first().ok_or("no command")?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// Allows as many open files as the system lets us; how many those are.
///
/// # Errors
/// The system's.
pub(crate) fn raise_file_limit() -> Result<u64, Failure> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
