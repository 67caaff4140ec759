//! One child process: started, waited for, stopped, continued, killed by its own id.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::ports::Scratch;
use super::wait::{LONG, wait_until};

/// A running program. Dropping it kills it; if the test failed, what it wrote is printed.
pub(crate) struct Process {
    program: String,
    child: Child,
    scratch: Scratch,
}

impl Process {
    /// Starts `command` with its output caught in a scratch file.
    pub(crate) fn start(mut command: Command) -> Self {
        let scratch = Scratch::new();
        let output = File::create(scratch.path().join("output")).expect("an output file");
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error} (tests/run installs what is missing)")
            });
        Self { program, child, scratch }
    }

    /// Waits until something accepts on `port`; panics if the process ends or takes too long.
    pub(crate) fn wait_for(&mut self, port: u16) {
        let mut ended = None;
        let ready = wait_until(LONG, || {
            ended = self.child.try_wait().expect("wait for a child");
            ended.is_some() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        if let Some(status) = ended {
            panic!("{} ended with {status}:\n{}", self.program, self.output());
        }
        assert!(ready, "{} does not accept on port {port}:\n{}", self.program, self.output());
    }

    /// What it has written so far, standard output and error together.
    pub(crate) fn output(&self) -> String {
        let bytes = std::fs::read(self.scratch.path().join("output")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process id"), signal).expect("signal a child");
    }

    /// SIGSTOP: its sockets stay open, nothing is read or answered.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        // The signal is on its way when kill(2) returns; the state tells when it has arrived.
        assert!(wait_until(LONG, || self.state() == Some('T')), "{} did not stop", self.program);
    }

    /// SIGCONT after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it at once and waits for its end.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut ended = None;
        wait_until(limit, || {
            ended = self.child.try_wait().expect("wait for a child");
            ended.is_some()
        });
        ended
    }

    /// Resident memory in KiB, from /proc.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status_figure("VmRSS:")
    }

    /// The most resident memory that it ever had, in KiB.
    pub(crate) fn resident_peak_kib(&self) -> u64 {
        self.status_figure("VmHWM:")
    }

    /// File descriptors open now.
    pub(crate) fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).map(Iterator::count).expect("the process lives")
    }

    /// CPU time spent so far, in clock ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let fields = self.stat_fields();
        // utime and stime: the fields 14 and 15 of proc(5), counted from the state (field 3).
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn state(&self) -> Option<char> {
        self.stat_fields().first().and_then(|field| field.chars().next())
    }

    /// The fields of /proc/PID/stat from the state on.
    fn stat_fields(&self) -> Vec<String> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let text = text.expect("the process lives");
        let (_, rest) = text.rsplit_once(") ").expect("a stat line");
        rest.split(' ').map(str::to_owned).collect()
    }

    fn status_figure(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = text.expect("the process lives");
        let line = text.lines().find(|line| line.starts_with(name)).expect("a known field");
        line.split_whitespace().nth(1).and_then(|figure| figure.parse().ok()).expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- output of {} ---\n{}", self.program, self.output());
        }
    }
}
