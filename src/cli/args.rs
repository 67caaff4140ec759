//! The native arguments, and what each of them calls.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use super::cache::CacheArgs;
use super::{allocator, complain, demo, expand, look, nanny, print, reload, run, topology};

/// A memcached and Redis proxy in the manner of twemproxy, and a cache server.
///
/// With a configuration, clients connect to a pool's listener as to a server; each key goes to one
/// server of the pool, chosen by consistent hashing. A nutcracker.yml is a valid configuration as
/// it stands. Without one, this is the cache: memcache on 127.0.0.1:11211, Redis on 127.0.0.1:6379.
#[derive(Debug, Parser)]
#[command(name = "twinring", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed at run time, 2 wrong usage, 78 bad \
                        configuration.\nSignals: TERM and INT drain and end, HUP reopens the \
                        log and reads the configuration again, TTIN and TTOU turn the log level up and down.\nCalled nutcracker, \
                        or with --compat twemproxy, it takes nutcracker's flags and behaves as \
                        nutcracker does.")]
struct Args {
    /// Configuration: YAML, native or a nutcracker.yml.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and exit.
    #[arg(short = 't', long = "test-conf", requires = "config")]
    test: bool,
    /// Behave as twemproxy where that differs, and take its flags.
    #[arg(long, value_name = "PROGRAM", value_parser = ["twemproxy"])]
    compat: Option<String>,
    #[command(flatten)]
    cache: CacheArgs,
    /// What to do instead of serving.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve two pools over cache servers started for the occasion, and say what to try.
    Demo,
    /// Check a configuration: all errors at once, then warnings.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Have a running process read its configuration again, and say what has changed.
    Reload {
        /// Its configuration, which says where its admin listener is.
        #[arg(short, long, value_name = "FILE", required_unless_present = "admin")]
        config: Option<PathBuf>,
        /// Where its admin listener is: host:port.
        #[arg(long, value_name = "ADDRESS")]
        admin: Option<String>,
    },
    /// Say which server each key goes to.
    Locate {
        /// The keys.
        #[arg(required = true)]
        keys: Vec<OsString>,
        /// Configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
    },
    /// Show the rings of a configuration.
    Ring {
        #[command(subcommand)]
        what: Ring,
    },
    /// Servers of pools that come from a file or ZooKeeper.
    Topology {
        #[command(subcommand)]
        what: topology::Topology,
    },
    /// Take a pool to other servers on two rings, phase by phase.
    Expand {
        #[command(subcommand)]
        what: expand::Expand,
    },
    /// Look after the servers of a pool: mark those down that fail, and up when they are back.
    Nanny(nanny::NannyArgs),
    /// Print a completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

#[derive(Debug, Subcommand)]
enum Ring {
    /// Every point: pool, value, server.
    Dump {
        /// Configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
    },
    /// Each server's points and share of the keys.
    Balance {
        /// Configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Only this pool.
        #[arg(long)]
        pool: Option<String>,
    },
}

/// Does what the arguments say; the exit code.
pub(super) fn dispatch(argv: Vec<OsString>) -> u8 {
    let args = match Args::try_parse_from(argv) {
        Ok(args) => args,
        Err(error) => {
            // clap writes help and version to standard output, errors to standard error.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    if !args.test && matches!(args.command, None | Some(Command::Demo)) {
        allocator::settle();
    }
    match (args.command, args.config) {
        (None, Some(_)) if args.cache.given() => {
            complain("twinring: with a configuration, the cache is set up there\n");
            2
        }
        (None, Some(file)) if args.test => look::check(&file),
        (None, Some(file)) => run::serve(&file),
        (None, None) => args.cache.serve(),
        (Some(command), _) => run_command(command),
    }
}

fn run_command(command: Command) -> u8 {
    match command {
        Command::Demo => demo::run(),
        Command::Check { file } => look::check(&file),
        Command::Reload { config, admin } => reload::reload(config.as_deref(), admin.as_deref()),
        Command::Locate { keys, config, pool } => look::locate(&keys, &config, pool.as_deref()),
        Command::Ring { what: Ring::Dump { config, pool } } => look::dump(&config, pool.as_deref()),
        Command::Ring { what: Ring::Balance { config, pool } } => {
            look::balance(&config, pool.as_deref())
        }
        Command::Nanny(args) => nanny::run(&args),
        Command::Expand { what } => expand::run(what),
        Command::Topology { what } => topology::run(what),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "twinring", &mut script);
            print(&String::from_utf8_lossy(&script));
            0
        }
        Command::Man => {
            let mut page = Vec::new();
            if let Err(error) = clap_mangen::Man::new(Args::command()).render(&mut page) {
                complain(&format!("twinring: {error}\n"));
                return super::FAILED;
            }
            print(&String::from_utf8_lossy(&page));
            0
        }
    }
}
