//! twemproxy's command line, read as its getopt_long(3) reads it.
//!
//! ```text
//!  arguments ─▶ one option at a time (clustered, abbreviated, `--opt=value`) ─▶ Flags ─▶ Action
//!                                                    └─▶ UsageError, the first one, in its words
//! ```
//! Pure: nothing is printed or opened here. Arguments that are no options are passed over, wherever
//! they stand. Sources: nc.c:54-71 (options), 312-440 (checks).

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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
    takes: Option<&'static str>,
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

/// What has been read so far.
#[derive(Default)]
struct Read {
    flags: Flags,
    help: bool,
    version: bool,
    describe: bool,
    test: bool,
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

impl Read {
    fn set(&mut self, letter: u8) {
        match letter {
            b'h' => self.help = true,
            b'V' => self.version = true,
            b'D' => self.describe = true,
            b't' => self.test = true,
            _ => self.flags.daemonize = true,
        }
    }

    fn assign(&mut self, option: &Opt, value: Vec<u8>) -> Result<(), UsageError> {
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

    fn action(self) -> Action {
        match self {
            Self { help: true, .. } => Action::Help,
            Self { describe: true, .. } => Action::DescribeStats,
            Self { version: true, .. } => Action::Version,
            Self { test: true, flags, .. } => Action::TestConf(flags.conf_file),
            Self { flags, .. } => Action::Run(flags),
        }
    }
}

/// The option of that name, or the only one that begins with it.
fn named(name: &[u8]) -> Option<&'static Opt> {
    let exact = OPTIONS.iter().find(|option| option.name.as_bytes() == name);
    let mut begin = OPTIONS.iter().filter(|option| option.name.as_bytes().starts_with(name));
    exact.or_else(|| begin.next().filter(|_| begin.next().is_none()))
}

fn invalid(letter: u8) -> UsageError {
    UsageError(format!("invalid option -- '{}'", char::from(letter)))
}

fn requires(option: &Opt, what: &str) -> UsageError {
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::{Action, Flags, parse};

    fn of(line: &str) -> Result<Action, String> {
        parse(line.split(' ').filter(|arg| !arg.is_empty()).map(|arg| {
            // `~` stands for an empty argument.
            if arg == "~" { "".into() } else { arg.into() }
        }))
        .map_err(|error| error.to_string())
    }

    fn run(line: &str) -> Flags {
        match of(line) {
            Ok(Action::Run(flags)) => flags,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn nothing_given_is_twemproxys_defaults() {
        let flags = run("");
        assert_eq!(flags.conf_file, PathBuf::from("conf/nutcracker.yml"));
        assert_eq!((flags.stats_port, flags.stats_addr.as_str()), (22222, "0.0.0.0"));
        assert_eq!((flags.verbosity, flags.mbuf_size), (5, 16384));
        assert_eq!(flags.interval, Duration::from_millis(30000));
        assert!(!flags.daemonize && flags.output.is_none() && flags.pid_file.is_none());
    }

    #[test]
    fn every_option_has_a_short_and_a_long_form() {
        let short = run("-d -v 6 -o o.log -c c.yml -s 1 -a ::1 -i 7 -p p.pid -m 512");
        let long = run("--daemonize --verbose=6 --output o.log --conf-file c.yml --stats-port 1 \
                        --stats-addr=::1 --stats-interval=7 --pid-file=p.pid --mbuf-size 512");
        let want = Flags {
            daemonize: true,
            verbosity: 6,
            output: Some("o.log".into()),
            conf_file: "c.yml".into(),
            stats_port: 1,
            stats_addr: "::1".to_owned(),
            interval: Duration::from_millis(7),
            pid_file: Some("p.pid".into()),
            mbuf_size: 512,
        };
        assert_eq!(short, want);
        assert_eq!(long, want);
        assert_eq!(run("-dv6 -oo.log -cc.yml -s1 -a::1 -i7 -pp.pid -m512"), want);
    }

    #[test]
    fn long_names_may_be_cut_while_they_are_unique() {
        assert_eq!(run("--stats-p 5 --da --o x --verb 9 --m 600").stats_port, 5);
        assert_eq!(of("--t --c x"), Ok(Action::TestConf("x".into())));
        for line in [
            "--s 1",
            "--st 1",
            "--stats- 1",
            "--d",
            "--ver",
            "--v",
            "--foo",
            "--stats-portx 1",
            "--=1",
        ] {
            assert_eq!(of(line), Err("nutcracker: invalid option -- '\0'".to_owned()), "{line}");
        }
    }

    #[test]
    fn what_is_no_option_is_passed_over_and_two_dashes_end_options() {
        assert_eq!(of("a -V b"), Ok(Action::Version));
        assert_eq!(
            of("- -s 4 -- -x"),
            Ok(Action::Run(Flags { stats_port: 4, ..Flags::default() }))
        );
        assert_eq!(run("--conf -t").conf_file, PathBuf::from("-t"));
        assert_eq!(run("-c ~").conf_file, PathBuf::new());
    }

    #[test]
    fn printing_comes_before_testing_before_serving() {
        assert_eq!(of("-t -d"), Ok(Action::TestConf("conf/nutcracker.yml".into())));
        assert_eq!(of("-tV"), Ok(Action::Version));
        assert_eq!(of("-DV"), Ok(Action::DescribeStats));
        assert_eq!(of("-htD"), Ok(Action::Help));
    }

    #[test]
    fn the_first_refused_option_is_named_in_twemproxys_words() {
        let rows = [
            ("-x", "invalid option -- 'x'"),
            ("-?", "invalid option -- '?'"),
            ("-tx", "invalid option -- 'x'"),
            ("-V -x", "invalid option -- 'x'"),
            ("-t=1", "invalid option -- '='"),
            ("--help=1", "invalid option -- 'h'"),
            ("-v", "option -v requires a number"),
            ("-v x", "option -v requires a number"),
            ("-v -1", "option -v requires a number"),
            ("-v ~", "option -v requires a number"),
            ("-vt", "option -v requires a number"),
            ("-v3t", "option -v requires a number"),
            ("--verb=3x", "option -v requires a number"),
            ("-i x", "option -i requires a number"),
            ("-s", "option -s requires a number"),
            ("--stats-p=", "option -s requires a number"),
            ("-s 0", "option -s value 0 is not a valid port"),
            ("-s 70000", "option -s value 70000 is not a valid port"),
            ("-m", "option -m requires a number"),
            ("-m 0", "option -m requires a non-zero number"),
            ("-m 1x", "option -m requires a non-zero number"),
            ("-m 511", "mbuf chunk size must be between 512 and 16777216 bytes"),
            ("-m 16777217", "mbuf chunk size must be between 512 and 16777216 bytes"),
            ("-o", "option -o requires a file name"),
            ("-c", "option -c requires a file name"),
            ("-p", "option -p requires a file name"),
            ("-a", "option -a requires a string"),
        ];
        for (line, text) in rows {
            assert_eq!(of(line), Err(format!("nutcracker: {text}")), "{line}");
        }
    }

    #[test]
    fn levels_above_the_last_are_the_last() {
        assert_eq!(run("-v 99").verbosity, 11);
        assert_eq!(run("-v 99999999999999999999").verbosity, 11);
    }
}
