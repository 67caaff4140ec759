//! What signals do, and what is logged of them.

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;

use crate::support::{LONG, PoolSpec, Port, Proxy, wait_until};

/// Those that end nothing.
const LIVE: [Signal; 5] = [Signal::HUP, Signal::USR1, Signal::USR2, Signal::TTIN, Signal::TTOU];
/// Those that end it, and whether there is time to log them.
const END: [(Signal, bool); 4] =
    [(Signal::INT, true), (Signal::SEGV, true), (Signal::TERM, false), (Signal::QUIT, false)];

#[test]
fn signals_are_obeyed_and_logged_as_twemproxy_does() {
    for signal in LIVE {
        let [theirs, ours] = both();
        let line = &logged(&theirs, signal);
        assert_eq!(&logged(&ours, signal), line);
        assert!(line.starts_with(&format!("signal {} (", signal.as_raw())), "{line}");
    }
    for (signal, logs) in END {
        let [theirs, ours] = both().map(|mut proxy| {
            proxy.process.signal(signal);
            let Some(end) = proxy.process.wait_end(LONG) else {
                eprintln!("{signal:?} does not end it:\n{}", proxy.log());
                return None;
            };
            Some(((end.code(), end.signal()), line_in(&proxy.log()), has_stack(&proxy.log())))
        });
        let (our_end, our_line, our_stack) = ours.expect("an end");
        assert_eq!(our_line.is_some(), logs, "{signal:?}");
        assert_eq!(our_stack, signal == Signal::SEGV, "{signal:?}");
        // twemproxy's handler of SEGV allocates, and now and then hangs in it for ever.
        if theirs.is_none() && signal == Signal::SEGV {
            continue;
        }
        let (their_end, their_line, their_stack) = theirs.expect("an end");
        assert_eq!(their_end, our_end, "{signal:?}");
        assert_eq!(their_line, our_line, "{signal:?}");
        assert_eq!(their_stack, our_stack, "{signal:?}");
    }
}

fn both() -> [Proxy; 2] {
    [Proxy::nutcracker, Proxy::twinring_as_nutcracker]
        .map(|start| start(PoolSpec::memcache(&[Port::take().number()])))
}

/// Sends a signal that ends nothing; what is logged of it.
fn logged(proxy: &Proxy, signal: Signal) -> String {
    proxy.process.signal(signal);
    let mut line = None;
    wait_until(LONG, || {
        line = line_in(&proxy.log());
        line.is_some()
    });
    line.unwrap_or_else(|| panic!("{signal:?} is not logged:\n{}", proxy.log()))
}

/// Whether the line about a signal has a stack before it: several lines `program(function)[place]`.
fn has_stack(log: &str) -> bool {
    let before = log.lines().take_while(|line| !line.contains(") received"));
    before.filter(|line| line.contains(")[")).count() > 3
}

/// The text of the line about a signal, without what its format adds.
fn line_in(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(") received"))?;
    let text = &line[line.find("signal ")?..];
    Some(text.split('"').next().unwrap_or(text).to_owned())
}
