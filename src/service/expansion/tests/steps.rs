//! Single operations, step by step.

use super::model::CONTEXT;
use crate::protocol::{Parsed, Request, Rules, memcache};
use crate::routing::Phase::{self, Drain, Fence, Prepare, Warm};
use crate::service::expansion::machine::Machine;
use crate::service::expansion::operation::Operation;
use crate::service::expansion::step::{Context, Lost, Side, Step};

pub(super) const RULES: Rules = Rules {
    compat: false,
    cache: false,
    lenient_lf: true,
    key_bytes: 250,
    value_bytes: 1 << 20,
    keys_per_request: 100,
    args_per_request: 100,
    line_bytes: 8192,
};

/// The operation that a client asks for with these bytes.
pub(super) fn operation(request: &str) -> Operation {
    let mut args = Vec::new();
    let Parsed::Request(head) = memcache::parse(request.as_bytes(), &RULES, &mut args) else {
        panic!("{request:?}");
    };
    Operation::of(&Request { head: &head, bytes: request.as_bytes(), args: &args })
}

/// Plays an operation: each reply answers the request that stands before it; what the client gets.
pub(super) fn play(
    request: &str,
    phase: Phase,
    talk: &[(Side, &str, &str)],
    context: &Context,
) -> String {
    let (mut machine, mut step) = Machine::start(operation(request), phase, context);
    for (side, wanted, reply) in talk {
        let Step::Send(send) = &step else { panic!("{request:?}: {step:?}, not {wanted:?}") };
        let found = String::from_utf8(send.bytes.clone()).unwrap();
        assert_eq!((send.side, found.as_str()), (*side, *wanted), "{request:?}");
        // What names a CAS may not go to a server that has been restarted since.
        assert_eq!(send.bound, wanted.starts_with("ms ") || wanted.contains(" C"), "{wanted}");
        step = machine.reply(reply.as_bytes(), context);
    }
    let Step::Answer(answer) = step else { panic!("{request:?}: {step:?}") };
    String::from_utf8(answer).unwrap()
}

const LEASE: &str = "mg k v f c t N5\r\n";
const LOOK: &str = "mg k v f c t\r\n";
const WON: &str = "VA 0 f0 c7 t-1 W\r\n\r\n";
use Side::{New, Old};

#[test]
fn a_copy_has_the_flags_of_the_old_value_and_what_is_left_of_its_time() {
    let fill = [
        (New, LEASE, WON),
        (Old, LOOK, "VA 2 f9 c3 t33\r\nab\r\n"),
        (New, "ms k 2 C7 F9 T33 c\r\nab\r\n", "HD c8\r\n"),
    ];
    assert_eq!(play("get k\r\n", Warm, &fill, &CONTEXT), "VALUE k 9 2\r\nab\r\nEND\r\n");
    let month = 60 * 60 * 24 * 30;
    let context = Context { unix: 1000, ..CONTEXT };
    for (left, shown) in [
        ("t-1", String::new()),
        (&format!("t{month}"), format!(" T{month}")),
        (&format!("t{}", month + 1), format!(" T{}", month + 1001)),
    ] {
        let found = format!("VA 1 f0 {left}\r\na\r\n");
        let copy = format!("ms k 1 C7 F0{shown} c\r\na\r\n");
        let talk = [(New, LEASE, WON), (Old, LOOK, &found), (New, &copy, "HD c8\r\n")];
        assert_eq!(play("get k\r\n", Warm, &talk, &context), "VALUE k 0 1\r\na\r\nEND\r\n");
    }
}

#[test]
fn what_must_not_be_copied_is_not() {
    let miss = (New, "md k C7\r\n", "HD\r\n");
    // Stale items, other clients' stubs.
    for found in [
        "VA 1 f0 c3 t9 W X\r\na\r\n",
        "VA 1 f0 c3 t9 X Z\r\na\r\n",
        "VA 0 f0 c3 t9 Z\r\n\r\n",
        "EN\r\n",
    ] {
        let talk = [(New, LEASE, WON), (Old, LOOK, found), miss];
        assert_eq!(play("get k\r\n", Warm, &talk, &CONTEXT), "END\r\n");
    }
    // In its last second a copy could not be given less.
    let talk = [(New, LEASE, WON), (Old, LOOK, "VA 1 f0 c3 t0\r\na\r\n"), miss];
    assert_eq!(play("get k\r\n", Warm, &talk, &CONTEXT), "VALUE k 0 1\r\na\r\nEND\r\n");
    // The token to renew a stale item, which the question has taken, is the client's.
    let talk = [(New, LEASE, "VA 1 f0 c3 t9 W X\r\na\r\n")];
    assert_eq!(play("get k\r\n", Warm, &talk, &CONTEXT), "END\r\n");
}

#[test]
fn what_is_too_large_for_the_new_server_is_served() {
    let talk = [
        (New, LEASE, WON),
        (Old, LOOK, "VA 1 f0 c3 t9\r\na\r\n"),
        (New, "ms k 1 C7 F0 T9 c\r\na\r\n", "SERVER_ERROR object too large for cache\r\n"),
    ];
    assert_eq!(play("get k\r\n", Warm, &talk, &CONTEXT), "VALUE k 0 1\r\na\r\nEND\r\n");
}

#[test]
fn a_failure_at_the_old_server_leaves_the_new_one_alone() {
    for request in ["set k 0 0 1\r\na\r\n", "delete k\r\n"] {
        for phase in [Warm, Drain] {
            let (mut machine, _) = Machine::start(operation(request), phase, &CONTEXT);
            let step = machine.failed(Lost::Unknown, "timed out", &CONTEXT);
            assert_eq!(step, Step::Answer(b"SERVER_ERROR timed out\r\n".to_vec()));
        }
    }
    let (mut machine, _) = Machine::start(operation("set k 0 0 1\r\na\r\n"), Prepare, &CONTEXT);
    let step = machine.failed(Lost::Unknown, "timed out", &CONTEXT);
    assert_eq!(step, Step::Answer(b"SERVER_ERROR timed out\r\n".to_vec()));
}

#[test]
fn behind_the_fence_changes_wait_and_tokens_hold_nowhere() {
    for request in [
        "incr k 1\r\n",
        "add k 0 0 1\r\na\r\n",
        "cas k 0 0 1 5\r\na\r\n",
        "ma k\r\n",
        "mg k T9\r\n",
    ] {
        let (mut machine, step) = Machine::start(operation(request), Fence, &CONTEXT);
        assert_eq!(step, Step::Park, "{request}");
        assert!(matches!(machine.begin(Warm, &CONTEXT), Step::Send(_)), "{request}");
    }
    let talk = [(Old, "gets k\r\n", "VALUE k 0 1 5\r\na\r\nEND\r\n")];
    let answer = format!("VALUE k 0 1 {}\r\na\r\nEND\r\n", u64::MAX);
    assert_eq!(play("gets k\r\n", Fence, &talk, &CONTEXT), answer);
    let talk = [(Old, "mg k c v\r\n", "VA 1 c5\r\nc\r\n")];
    assert_eq!(
        play("mg k c v\r\n", Fence, &talk, &CONTEXT),
        format!("VA 1 c{}\r\nc\r\n", u64::MAX)
    );
    let quarantine = Context { quarantine: true, ..CONTEXT };
    for phase in [Prepare, Warm, Drain] {
        assert_eq!(play("cas k 0 0 1 5\r\na\r\n", phase, &[], &quarantine), "EXISTS\r\n");
        assert_eq!(play("ms k 1 C5 O7 k\r\na\r\n", phase, &[], &quarantine), "EX O7 kk\r\n");
    }
}
