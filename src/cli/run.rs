//! Serving: natively, or in nutcracker's place.

use std::ffi::OsString;
use std::path::Path;

use super::compat::{self, Action, Flags};
use super::{BAD_CONFIG, FAILED, allocator, complain, daemon, look};
use crate::config::{self, Config, Protocol};
use crate::control::{Source, level_of_verbosity};
use crate::process::{Process, StartError};

/// Bytes of an mbuf that its own header takes: a Redis key must fit what is left.
const MBUF_HEADER: usize = 48;

/// Serves what a file says until a signal ends it.
pub(super) fn serve(file: &Path) -> u8 {
    match look::load(file) {
        Ok(config) => {
            let source = Source { file: file.to_path_buf(), compat: false };
            serve_from(config, Some(source))
        }
        Err(code) => code,
    }
}

/// Serves a checked configuration until a signal ends it.
pub(super) fn serve_config(config: Config) -> u8 {
    serve_from(config, None)
}

/// The same of one that can be read again.
fn serve_from(config: Config, source: Option<Source>) -> u8 {
    daemon::raise_descriptor_limit();
    match Process::start(config, source) {
        Ok(process) => process.run(),
        Err(error) => {
            complain(&format!("twinring: {error}\n"));
            match error {
                StartError::Tls { .. } | StartError::NoZooKeeper(_) => BAD_CONFIG,
                StartError::Bind(_) | StartError::Io(_) => FAILED,
            }
        }
    }
}

/// Stands in for nutcracker, called with `args`.
pub(super) fn as_nutcracker(args: Vec<OsString>) -> u8 {
    match compat::parse(args) {
        Err(error) => {
            complain(&format!("{error}\n{}", compat::help_text()));
            FAILED
        }
        Ok(Action::Help) => {
            complain(&compat::version_text());
            complain(&compat::help_text());
            0
        }
        Ok(Action::Version) => {
            complain(&compat::version_text());
            0
        }
        Ok(Action::DescribeStats) => {
            complain(&compat::version_text());
            complain(&compat::stats_text());
            0
        }
        Ok(Action::TestConf(file)) => {
            let valid = load(&file).is_ok();
            complain(&compat::test_text(&file, valid));
            u8::from(!valid)
        }
        Ok(Action::Run(flags)) => run_as_nutcracker(&flags),
    }
}

fn load(file: &Path) -> Result<Config, ()> {
    config::load(file, true).map_err(|errors| complain(&format!("{errors}\n")))
}

fn run_as_nutcracker(flags: &Flags) -> u8 {
    allocator::settle();
    let Ok(mut config) = load(&flags.conf_file) else {
        complain(&compat::test_text(&flags.conf_file, false));
        return FAILED;
    };
    config.stats = Some(format!("{}:{}", flags.stats_addr, flags.stats_port));
    config.log.level = level_of_verbosity(flags.verbosity).to_owned();
    config.log.file.clone_from(&flags.output);
    for pool in config.pools.iter_mut().filter(|pool| pool.protocol == Protocol::Redis) {
        pool.limits.key_bytes = flags.mbuf_size - MBUF_HEADER - 1;
    }
    if flags.daemonize && !daemon::is_detached() {
        return daemon::detach();
    }
    let _pid_file = match flags.pid_file.as_deref().map(daemon::PidFile::write).transpose() {
        Ok(file) => file,
        Err(error) => {
            complain(&format!("nutcracker: pid file: {error}\n"));
            return FAILED;
        }
    };
    match serve_config(config) {
        0 => FAILED,
        code => code,
    }
}
