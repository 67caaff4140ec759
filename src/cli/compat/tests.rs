//! The command line as twemproxy reads it.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::compat::{Action, Flags, parse};

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
    for line in
        ["--s 1", "--st 1", "--stats- 1", "--d", "--ver", "--v", "--foo", "--stats-portx 1", "--=1"]
    {
        assert_eq!(of(line), Err("nutcracker: invalid option -- '\0'".to_owned()), "{line}");
    }
}

#[test]
fn what_is_no_option_is_passed_over_and_two_dashes_end_options() {
    assert_eq!(of("a -V b"), Ok(Action::Version));
    assert_eq!(of("- -s 4 -- -x"), Ok(Action::Run(Flags { stats_port: 4, ..Flags::default() })));
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
