//! What is printed for twemproxy's flags: the same options and names, the prose our own.

use std::path::Path;

use crate::cli::compat::flags::{Flags, VERBOSITY_MAX};

/// The version of twemproxy that is answered for.
const NUTCRACKER_VERSION: &str = "0.5.0";

/// What `-V` prints on standard error: twemproxy's first line, which its tools look for, and ours.
pub fn version_text() -> String {
    format!(
        "This is nutcracker-{NUTCRACKER_VERSION}\nserved by twinring {}\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The help, printed on standard error.
pub fn help_text() -> String {
    let flags = Flags::default();
    let conf = flags.conf_file.display();
    format!(
        "Usage: nutcracker [-?hVdDt] [-v verbosity level] [-o output file]
                  [-c conf file] [-s stats port] [-a stats addr]
                  [-i stats interval] [-p pid file] [-m mbuf size]

Options:
  -h, --help             : print this help
  -V, --version          : print the version
  -t, --test-conf        : check the configuration file, do not serve
  -d, --daemonize        : serve in the background
  -D, --describe-stats   : explain the statistics
  -v, --verbose=N        : how much to log, 0 to {VERBOSITY_MAX} (default: {})
  -o, --output=S         : log to this file (default: standard error)
  -c, --conf-file=S      : configuration file (default: {conf})
  -s, --stats-port=N     : port of the statistics (default: {})
  -a, --stats-addr=S     : address of the statistics (default: {})
  -i, --stats-interval=N : milliseconds between statistics (default: {})
  -p, --pid-file=S       : write the process id to this file (default: none)
  -m, --mbuf-size=N      : accepted for twemproxy's sake (default: {})
",
        flags.verbosity,
        flags.stats_port,
        flags.stats_addr,
        flags.interval.as_millis(),
        flags.mbuf_size,
    )
}

/// What `-t` prints on standard error for a file that was read well, or was not.
pub fn test_text(conf_file: &Path, valid: bool) -> String {
    let outcome = if valid { "ok" } else { "invalid" };
    format!("nutcracker: configuration file '{}' syntax is {outcome}\n", conf_file.display())
}

/// The names in the statistics and what each counts, by pool and by server.
pub fn stats_text() -> String {
    const POOL: [(&str, &str); 6] = [
        ("client_eof", "connections that clients closed"),
        ("client_err", "client connections that failed"),
        ("client_connections", "clients connected now"),
        ("server_ejects", "servers taken out of the ring"),
        ("forward_error", "requests answered with an error of the proxy"),
        ("fragments", "parts of requests with several keys"),
    ];
    const SERVER: [(&str, &str); 13] = [
        ("server_eof", "connections that the server closed"),
        ("server_err", "connections to the server that failed"),
        ("server_timedout", "requests that the server did not answer in time"),
        ("server_connections", "connections to the server now"),
        ("server_ejected_at", "when it was last ejected, in microseconds since 1970"),
        ("requests", "requests sent"),
        ("request_bytes", "bytes of requests sent"),
        ("responses", "responses received"),
        ("response_bytes", "bytes of responses received"),
        ("in_queue", "requests that wait to be sent"),
        ("in_queue_bytes", "their bytes"),
        ("out_queue", "requests that wait for an answer"),
        ("out_queue_bytes", "their bytes"),
    ];
    let list = |rows: &[(&str, &str)]| -> String {
        rows.iter().map(|(name, text)| format!("  {name:<19} \"{text}\"\n")).collect()
    };
    format!("pool stats:\n{}\nserver stats:\n{}", list(&POOL), list(&SERVER))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{help_text, stats_text, test_text, version_text};
    use crate::cli::compat::flags::OPTIONS;

    #[test]
    fn texts_hold_what_tools_look_for() {
        assert!(version_text().starts_with("This is nutcracker-0.5.0\n"));
        let line = "nutcracker: configuration file 'a.yml' syntax is ok\n";
        assert_eq!(test_text(Path::new("a.yml"), true), line);
        assert!(test_text(Path::new("a.yml"), false).ends_with("syntax is invalid\n"));
        for option in &OPTIONS {
            let line = format!("  -{}, --{}", char::from(option.letter), option.name);
            assert!(help_text().contains(&line), "{line}");
        }
        assert_eq!(stats_text().lines().filter(|line| line.starts_with("  ")).count(), 19);
    }
}
