//! twemproxy's options: what each sets, what each must be followed by, which values pass.
//!
//! Sources: nc.c:54-71 (options), 312-440 (checks).

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// twemproxy's log levels end here; above it, it clamps (nc_log.c:32).
pub(super) const VERBOSITY_MAX: u8 = 11;
/// nc.c:33-50, as are the defaults of [`Flags`].
const MBUF_BYTES: std::ops::RangeInclusive<i32> = 512..=16_777_216;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Print the version and the help, exit 0.
    Help,
    /// Print the version, exit 0.
    Version,
    /// Print the version and what the statistics mean, exit 0.
    DescribeStats,
    /// Read the file, print the outcome, exit 0 or 1.
    TestConf(PathBuf),
    /// Serve.
    Run(Flags),
}

/// How to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// `-d`: leave the terminal.
    pub daemonize: bool,
    /// `-v`: 0 (emergencies only) to 11 (everything).
    pub verbosity: u8,
    /// `-o`: log file instead of standard error.
    pub output: Option<PathBuf>,
    /// `-c`.
    pub conf_file: PathBuf,
    /// `-s`: port of the statistics listener.
    pub stats_port: u16,
    /// `-a`: its address.
    pub stats_addr: String,
    /// `-i`: how old statistics may be.
    pub interval: Duration,
    /// `-p`.
    pub pid_file: Option<PathBuf>,
    /// `-m`: bytes of a buffer; checked and otherwise without meaning here.
    pub mbuf_size: usize,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            daemonize: false,
            verbosity: 5,
            output: None,
            conf_file: PathBuf::from("conf/nutcracker.yml"),
            stats_port: 22222,
            stats_addr: "0.0.0.0".to_owned(),
            interval: Duration::from_secs(30),
            pid_file: None,
            mbuf_size: 16_384,
        }
    }
}

/// Why the command line was refused. twemproxy prints it, then the help, and exits with 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl std::error::Error for UsageError {}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nutcracker: {}", self.0)
    }
}

/// An option: its letter, its long name, and what it must be followed by.
pub(super) struct Opt {
    pub(super) letter: u8,
    pub(super) name: &'static str,
    pub(super) takes: Option<&'static str>,
}

const fn opt(letter: u8, name: &'static str, takes: Option<&'static str>) -> Opt {
    Opt { letter, name, takes }
}

/// Every option.
pub(super) const OPTIONS: [Opt; 13] = [
    opt(b'h', "help", None),
    opt(b'V', "version", None),
    opt(b't', "test-conf", None),
    opt(b'd', "daemonize", None),
    opt(b'D', "describe-stats", None),
    opt(b'v', "verbose", Some("number")),
    opt(b'o', "output", Some("file name")),
    opt(b'c', "conf-file", Some("file name")),
    opt(b's', "stats-port", Some("number")),
    opt(b'i', "stats-interval", Some("number")),
    opt(b'a', "stats-addr", Some("string")),
    opt(b'p', "pid-file", Some("file name")),
    opt(b'm', "mbuf-size", Some("number")),
];

/// What has been read so far.
#[derive(Default)]
pub(super) struct Read {
    flags: Flags,
    help: bool,
    version: bool,
    describe: bool,
    test: bool,
}

impl Read {
    pub(super) fn set(&mut self, letter: u8) {
        match letter {
            b'h' => self.help = true,
            b'V' => self.version = true,
            b'D' => self.describe = true,
            b't' => self.test = true,
            _ => self.flags.daemonize = true,
        }
    }

    pub(super) fn assign(&mut self, option: &Opt, value: Vec<u8>) -> Result<(), UsageError> {
        let flags = &mut self.flags;
        let digits = || number(&value).ok_or_else(|| requires(option, "number"));
        match option.letter {
            b'v' => {
                let level = u8::try_from(digits()?).unwrap_or(VERBOSITY_MAX);
                flags.verbosity = level.min(VERBOSITY_MAX);
            }
            b's' => flags.stats_port = port(digits()?)?,
            b'i' => flags.interval = Duration::from_millis(digits()?.unsigned_abs().into()),
            b'm' => flags.mbuf_size = mbuf_size(number(&value))?,
            b'a' => flags.stats_addr = String::from_utf8_lossy(&value).into_owned(),
            b'o' => flags.output = Some(path(value)),
            b'p' => flags.pid_file = Some(path(value)),
            _ => flags.conf_file = path(value),
        }
        Ok(())
    }

    pub(super) fn action(self) -> Action {
        match self {
            Self { help: true, .. } => Action::Help,
            Self { describe: true, .. } => Action::DescribeStats,
            Self { version: true, .. } => Action::Version,
            Self { test: true, flags, .. } => Action::TestConf(flags.conf_file),
            Self { flags, .. } => Action::Run(flags),
        }
    }
}

pub(super) fn invalid(letter: u8) -> UsageError {
    UsageError(format!("invalid option -- '{}'", char::from(letter)))
}

pub(super) fn requires(option: &Opt, what: &str) -> UsageError {
    UsageError(format!("option -{} requires a {what}", char::from(option.letter)))
}

fn port(number: i32) -> Result<u16, UsageError> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| UsageError(format!("option -s value {number} is not a valid port")))
}

fn mbuf_size(number: Option<i32>) -> Result<usize, UsageError> {
    let bytes = number.filter(|bytes| *bytes != 0);
    let bytes =
        bytes.ok_or_else(|| UsageError("option -m requires a non-zero number".to_owned()))?;
    if !MBUF_BYTES.contains(&bytes) {
        let (min, max) = (MBUF_BYTES.start(), MBUF_BYTES.end());
        let text = format!("mbuf chunk size must be between {min} and {max} bytes");
        return Err(UsageError(text));
    }
    usize::try_from(bytes).map_err(|error| UsageError(error.to_string()))
}

/// Digits only; what does not fit C's `int` counts as its greatest.
fn number(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(String::from_utf8_lossy(digits).parse().unwrap_or(i32::MAX))
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}
