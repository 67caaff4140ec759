//! Tables and properties of the memcache protocol.

mod replies;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

use crate::protocol::memcache::commands;
use crate::protocol::memcache::{binary_key, is_quiet, parse, write_refusal};
use crate::protocol::support::{cache, compat, events, native, once};
use crate::protocol::{Keys, Parsed, Plan, Refusal, Request, Rules};
use replies::{REPLIES, scan};

/// What twemproxy's own tests take as good requests.
const GOOD: [&str; 26] = [
    "add key 0 600 5\r\nvalue\r\n",
    "add key 0 0 1 noreply\r\n\n\r\n",
    "append key 0 600 5\r\nvalue\r\n",
    "append key 0 1 0 noreply\r\n\r\n",
    "cas key 0 600 5 123456\r\nvalue\r\n",
    "cas key 0 1 1 1 noreply\r\nx\r\n",
    "decr key 0\r\n",
    "decr key 0 noreply\r\n",
    "delete a noreply\r\n",
    "delete key\r\n",
    "get key\r\n",
    "gets u\r\n",
    "incr key 1\r\n",
    "incr key 9223372036854775807 noreply\r\n",
    "prepend key 0 600 5\r\nvalue\r\n",
    "prepend key 0 600 0 noreply\r\n\r\n",
    "quit\r\n",
    "replace key 0 600 5\r\nvalue\r\n",
    "replace key 0 9 0 noreply\r\n\r\n",
    "set key 0 5 10 noreply\r\nvalue12345\r\n",
    "set key 0 600 5\r\nvalue\r\n",
    "touch key 12345\r\n",
    "touch key 12345 noreply\r\n",
    "version\r\n",
    "  get   a  b \r\n",
    "touch key -1\r\n",
];

/// What twemproxy's own tests take as bad requests; some are here with the end of the line.
const BAD: [&str; 20] = [
    "add\r\n",
    "get\r\n",
    "get \r\n",
    "get key\r\r\n",
    "append key 0 600\r\n",
    "cas key 0 600 5 \r\n",
    "decr key 0 extra\r\n",
    "decr key\r\n",
    "delete \r\n",
    "DELETE key\r\n",
    "gets\r\n",
    "incr\r\n",
    "incr key 0notanint\r\n",
    "prepend key 0 600 5\r\nvalueextra\r\n",
    "prepend key 0 600 0 noreply\r\r\n\r\n",
    "replace key 0 9 ?\r\n\r\n",
    "set key 0 5 10 noreply\r\nvalue12345\r\r",
    "set key 0 600 5\r\nvaluee\r\n",
    "touch missingarg\r\n",
    "foo\r\n",
];

/// What twemproxy does not take, while a native pool does.
const NATIVE_ONLY: [&str; 14] = [
    "get key\n",
    "set key 0 -1 1\r\nx\r\n",
    "set key 0 0 1\nx\r\n",
    "delete key 0\r\n",
    "delete key 0 noreply\r\n",
    "gat 10 a b\r\n",
    "gats -1 a\r\n",
    "version extra\r\n",
    "verbosity 1\r\n",
    "verbosity 1 noreply\r\n",
    "stats\r\n",
    "stats items\r\n",
    "flush_all\r\n",
    "flush_all 10 noreply\r\n",
];

/// What only a cache of our own takes.
const META: [&str; 8] = [
    "mg key v t\r\n",
    "ms key 5 T0 q\r\nvalue\r\n",
    "ms key S5\r\n",
    "ms key 5\r\nvaluex\r\n",
    "md key q\r\n",
    "ma key N0 J1\r\n",
    "me key\r\n",
    "mn\r\n",
];

#[test]
fn meta_commands_are_taken_but_in_nutcrackers_place() {
    for text in META.into_iter().filter(|text| !text.contains('x') && !text.contains('S')) {
        for rules in [native(), cache()] {
            let (parsed, args) = once(parse, text.as_bytes(), &rules);
            let Parsed::Request(head) = parsed else { panic!("{text:?}: {parsed:?}") };
            assert_eq!((head.len, head.noreply), (text.len() as u64, false));
            assert_eq!(args[0], head.command.name.as_bytes());
        }
        let parsed = once(parse, text.as_bytes(), &compat()).0;
        assert!(matches!(parsed, Parsed::Refused { refusal: Some(Refusal::Unknown), .. }));
    }
}

#[test]
fn the_key_and_the_quiet_of_a_meta_command_are_those_that_its_flags_say() {
    for (text, key, quiet) in [
        ("mg Zm9v\r\n", "Zm9v", false),
        ("mg Zm9v v b q\r\n", "foo", true),
        ("mg b q\r\n", "b", true),
        ("mg q b1\r\n", "q", false),
        ("ms Zm9v 1 b\r\nx\r\n", "foo", false),
        ("ms k 1 q\r\nx\r\n", "k", true),
        ("md Zm9v Ob Oq\r\n", "Zm9v", false),
        ("me Zm9v b q\r\n", "foo", false),
        ("mg !!!! b\r\n", "!!!!", false),
        ("get k q b\r\n", "k", false),
    ] {
        let mut args = Vec::new();
        let Parsed::Request(head) = parse(text.as_bytes(), &native(), &mut args) else {
            panic!("{text:?}")
        };
        let request = Request { head: &head, bytes: text.as_bytes(), args: &args };
        let binary = binary_key(&request, request.arg(1));
        let found = binary.as_deref().unwrap_or_else(|| request.arg(1));
        assert_eq!(found, key.as_bytes(), "{text:?}");
        assert_eq!(is_quiet(&request), quiet, "{text:?}");
    }
}

#[test]
fn good_requests_are_taken_in_both_modes() {
    let longest = format!("get a b {}\r\n", "x".repeat(250));
    for rules in [native(), compat()] {
        for text in GOOD.into_iter().chain([longest.as_str()]) {
            let (parsed, args) = once(parse, text.as_bytes(), &rules);
            let Parsed::Request(head) = parsed else { panic!("{text:?}: {parsed:?}") };
            assert_eq!(head.len, text.len() as u64, "{text:?}");
            assert_eq!(head.noreply, text.contains("noreply"), "{text:?}");
            assert_eq!(head.line as usize, text.find("\r\n").unwrap() + 2);
            assert!(!head.bare_lf && !head.rewrite);
            assert_eq!(args[0], head.command.name.as_bytes());
            let words: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
            assert_eq!(args, words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn bad_requests_are_refused_in_both_modes() {
    let long = format!("add {} 0 600 5\r\nvalue\r\n", "x".repeat(251));
    for rules in [native(), compat()] {
        for text in BAD.into_iter().chain([long.as_str()]) {
            let (parsed, _) = once(parse, text.as_bytes(), &rules);
            assert!(matches!(parsed, Parsed::Refused { .. } | Parsed::Lost(_)), "{text:?}");
        }
    }
}

#[test]
fn what_twemproxy_refuses_a_native_pool_takes() {
    for text in NATIVE_ONLY {
        let (parsed, _) = once(parse, text.as_bytes(), &native());
        let Parsed::Request(head) = parsed else { panic!("{text:?}: {parsed:?}") };
        assert_eq!(head.len, text.len() as u64);
        let bare = !text.lines().next().is_some_and(|line| text[line.len()..].starts_with("\r\n"));
        assert_eq!((head.bare_lf, head.rewrite), (bare, bare), "{text:?}");
        let (parsed, _) = once(parse, text.as_bytes(), &compat());
        assert!(matches!(parsed, Parsed::Refused { .. } | Parsed::Lost(_)), "{text:?}");
    }
}

/// Answers to bad requests, as memcached 1.6 gives them: request, reply, whether the next line is
/// served.
const REFUSALS: [(&str, &str, bool); 36] = [
    ("get\r\n", "ERROR\r\n", true),
    ("\r\n", "ERROR\r\n", true),
    ("foo\r\n", "ERROR\r\n", true),
    ("GET k\r\n", "ERROR\r\n", true),
    ("foo noreply\r\n", "ERROR\r\n", true),
    ("set k 0 0\r\n", "ERROR\r\n", true),
    ("cas k 0 0 1\r\nx\r\n", "ERROR\r\n", true),
    ("set k a 0 1\r\nx\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("set k -1 0 1\r\nx\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("set k 0 a 1\r\nx\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("set k 0 0 1 no\r\nx\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("set k\x01 0 0 1\r\nx\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("set k a 0 1 noreply\r\nx\r\n", "", true),
    ("set k 0 0 a\r\nx\r\n", "CLIENT_ERROR bad command line format\r\n", false),
    ("set k 0 0 -1\r\nx\r\n", "CLIENT_ERROR bad command line format\r\n", false),
    ("set k 0 0 99999999999999999999\r\n", "CLIENT_ERROR bad command line format\r\n", false),
    ("set k 0 0 18446744073709551615\r\n", "CLIENT_ERROR bad command line format\r\n", false),
    ("set k 0 0 1\r\nxy\r\n", "CLIENT_ERROR bad data chunk\r\n", false),
    ("cas k 0 0 1 a\r\nx\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("incr k\r\n", "ERROR\r\n", true),
    ("incr k a\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n", true),
    ("incr k -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n", true),
    ("incr k a noreply\r\n", "", true),
    ("delete\r\n", "ERROR\r\n", true),
    (
        "delete k 1\r\n",
        "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
        true,
    ),
    ("delete k 1 noreply\r\n", "", true),
    ("touch k\r\n", "ERROR\r\n", true),
    ("touch k a\r\n", "CLIENT_ERROR invalid exptime argument\r\n", true),
    ("gat a k\r\n", "CLIENT_ERROR invalid exptime argument\r\n", true),
    ("verbosity\r\n", "ERROR\r\n", true),
    ("verbosity a\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("flush_all a\r\n", "CLIENT_ERROR invalid exptime argument\r\n", true),
    ("get a\0b\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("get a\rb\r\n", "CLIENT_ERROR bad command line format\r\n", true),
    ("GET / HTTP/1.1\r\n", "ERROR\r\n", false),
    ("Host: localhost\r\n", "ERROR\r\n", false),
];

/// What a client reads for `text`, and whether it is served on.
fn answer(text: &[u8], rules: &Rules) -> (String, bool, u64) {
    let (refusal, served, len) = match once(parse, text, rules).0 {
        Parsed::Refused { len, refusal } => (refusal, true, len),
        Parsed::Lost(refusal) => (Some(refusal), false, 0),
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(text)),
    };
    let mut out = Vec::new();
    if let Some(refusal) = refusal {
        write_refusal(&refusal, &mut out);
    }
    (String::from_utf8(out).unwrap(), served, len)
}

#[test]
fn refusals_are_worded_as_memcached_words_them() {
    for (text, reply, served) in REFUSALS {
        let found = answer(text.as_bytes(), &native());
        let len = if served { text.len() as u64 } else { 0 };
        assert_eq!(found, (reply.to_owned(), served, len), "{text:?}");
    }
}

#[test]
fn f26_a_long_key_is_refused_and_its_data_swallowed() {
    let key = "k".repeat(251);
    let format = "CLIENT_ERROR bad command line format\r\n".to_owned();
    for line in [format!("get {key}\r\n"), format!("get a {key}\r\n"), format!("incr {key} 1\r\n")]
    {
        assert_eq!(answer(line.as_bytes(), &native()), (format.clone(), true, line.len() as u64));
    }
    // The data need not be there yet.
    let line = format!("set {key} 0 0 9\r\n");
    assert_eq!(answer(line.as_bytes(), &native()), (format, true, line.len() as u64 + 11));
    let line = format!("set {key} 0 0 9 noreply\r\n");
    assert_eq!(answer(line.as_bytes(), &native()), (String::new(), true, line.len() as u64 + 11));
}

#[test]
fn f27_too_many_keys_are_refused() {
    let keys = " k".repeat(20);
    let line = format!("get{keys}\r\n");
    assert!(matches!(once(parse, line.as_bytes(), &native()).0, Parsed::Request(_)));
    let line = format!("gat 0{keys}\r\n");
    assert!(matches!(once(parse, line.as_bytes(), &native()).0, Parsed::Request(_)));
    for line in [format!("get{keys} k\r\n"), format!("gat 0{keys} k k k k k\r\n")] {
        let reply = "CLIENT_ERROR too many keys\r\n".to_owned();
        assert_eq!(answer(line.as_bytes(), &native()), (reply, true, line.len() as u64));
    }
}

#[test]
fn a_value_beyond_the_limit_is_swallowed() {
    let line = "set k 0 0 200001\r\n";
    let reply = "SERVER_ERROR object too large for cache\r\n".to_owned();
    let len = line.len() as u64 + 200_003;
    assert_eq!(answer(line.as_bytes(), &native()), (reply, true, len));
    assert_eq!(answer(b"set k 0 0 200001 noreply\r\n", &native()).0, "");
}

#[test]
fn bytes_that_are_no_text_lose_the_client_at_once() {
    for text in [&b"\x16\x03\x01"[..], b"\x80\x01", b"\0", b"\xff"] {
        assert_eq!(answer(text, &native()), ("ERROR\r\n".to_owned(), false, 0));
    }
}

#[test]
fn a_line_has_an_end_or_the_client_is_lost() {
    let reply = "CLIENT_ERROR line too long\r\n".to_owned();
    let words = "x".repeat(2047);
    assert!(matches!(
        once(parse, words.as_bytes(), &native()).0,
        Parsed::Incomplete { need: 2048 }
    ));
    for tail in ["x", "x\n", "xxx"] {
        let line = format!("{words}{tail}");
        assert_eq!(answer(line.as_bytes(), &native()), (reply.clone(), false, 0));
    }
    // Lists of keys may be longer: 4096 bytes by these rules.
    let keys = format!("get {}", "k ".repeat(2045));
    assert!(matches!(once(parse, keys.as_bytes(), &native()).0, Parsed::Incomplete { need: 4095 }));
    assert_eq!(
        answer(format!("{keys}\r\n").as_bytes(), &native()).0,
        "CLIENT_ERROR too many keys\r\n"
    );
    assert_eq!(answer(format!("{keys} k\n").as_bytes(), &native()), (reply, false, 0));
}

#[test]
fn spaces_in_a_row_are_bounded() {
    let few = format!("get{}k\r\n", " ".repeat(100));
    assert!(matches!(once(parse, few.as_bytes(), &native()).0, Parsed::Request(_)));
    let many = format!("get{}k\r\n", " ".repeat(101));
    assert_eq!(answer(many.as_bytes(), &native()).0, "CLIENT_ERROR bad command line format\r\n");
}

#[test]
fn a_bare_lf_ends_a_line_only_where_that_is_allowed() {
    let strict = Rules { lenient_lf: false, ..native() };
    let reply = "CLIENT_ERROR line must end with CRLF\r\n".to_owned();
    assert_eq!(answer(b"get k\n", &strict), (reply.clone(), false, 0));
    assert_eq!(answer(b"get k\n", &compat()), (reply, false, 0));
    let (parsed, args) = once(parse, b"get k\n", &native());
    assert!(matches!(parsed, Parsed::Request(head) if head.bare_lf && head.rewrite));
    assert_eq!(args, [b"get".to_vec(), b"k".to_vec()]);
}

#[test]
fn a_large_value_is_begun_and_a_small_one_waited_for() {
    let (parsed, args) = once(parse, b"set k 0 0 70000\r\nabc", &native());
    let Parsed::Begun(head) = parsed else { panic!("{parsed:?}") };
    assert_eq!((head.len, head.line, args.len()), (70_019, 17, 5));
    let (parsed, _) = once(parse, b"set k 0 0 7000\r\nabc", &native());
    assert!(matches!(parsed, Parsed::Incomplete { need: 7017 }), "{parsed:?}");
    let (parsed, _) = once(parse, b"set k 0 0 3\r\nabc\r", &native());
    assert!(matches!(parsed, Parsed::Incomplete { need: 18 }), "{parsed:?}");
    let (parsed, _) = once(parse, b"set k 0 0 3\r\nabcd", &native());
    assert!(matches!(parsed, Parsed::Lost(_)), "{parsed:?}");
}

#[test]
fn the_table_finds_each_row_by_its_lower_case_name_alone() {
    for row in commands::all() {
        let name = row.command.name;
        let found = commands::find(name.as_bytes(), &cache()).unwrap();
        assert_eq!(found.command.name, name);
        assert!(commands::find(name.to_ascii_uppercase().as_bytes(), &cache()).is_none());
        assert!(commands::find(name.as_bytes(), &native()).is_some(), "{name}");
        let taken = commands::find(name.as_bytes(), &compat()).is_some();
        assert_eq!(taken, row.command.compat != 0, "{name}");
        assert_eq!(
            row.command.plan == Plan::Values,
            matches!(row.command.keys, Keys::Every { .. })
        );
    }
}

/// Requests good and bad, now and then a large one or noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let large = (60_000usize..70_000, any::<bool>()).prop_map(|(len, sound)| {
        let tail = if sound { "\r\n" } else { "\rx" };
        format!("set big 0 0 {len}\r\n{}{tail}", "v".repeat(len)).into_bytes()
    });
    let text =
        |list: &'static [&'static str]| (0..list.len()).prop_map(|at| list[at].as_bytes().to_vec());
    prop_oneof![
        8 => text(&GOOD),
        2 => text(&BAD),
        4 => text(&NATIVE_ONLY),
        4 => (0..REFUSALS.len()).prop_map(|at| REFUSALS[at].0.as_bytes().to_vec()),
        1 => large,
        1 => vec(any::<u8>(), 0..20),
        1 => Just(format!("get {}\r\n", "key ".repeat(600)).into_bytes()),
        1 => Just(format!("set {} 0 0 5\r\nhello\r\n", "k".repeat(300)).into_bytes()),
        4 => text(&META),
    ]
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 20] = [
        "get",
        "gets",
        "set",
        "cas",
        "gat",
        "incr",
        "delete",
        "VALUE ",
        "END\r\n",
        "STAT ",
        "noreply",
        " ",
        " ",
        "\r\n",
        "\n",
        "\r",
        "0",
        "18446744073709551615",
        "7",
        "key",
    ];
    let word = (0..WORDS.len()).prop_map(|at| WORDS[at].as_bytes().to_vec());
    vec(prop_oneof![8 => word, 1 => vec(any::<u8>(), 0..6)], 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn requests_cut_anywhere_are_the_same(
        pieces in vec(piece(), 1..8),
        mut cuts in vec(0usize..2000, 0..12),
        which in 0usize..3,
    ) {
        let stream = pieces.concat();
        let rules = [native(), compat(), cache()][which];
        let whole = events(parse, &rules, &stream, &[]);
        // Some cuts of small steps, the rest of the stream in large ones.
        cuts.sort_unstable();
        cuts.extend((1..40).map(|step| step * 7919));
        cuts.sort_unstable();
        prop_assert_eq!(&events(parse, &rules, &stream, &cuts), &whole);
    }

    #[test]
    fn noise_cut_anywhere_is_the_same(stream in noise(), which in 0usize..3) {
        let rules = [native(), compat(), cache()][which];
        let each: Vec<usize> = (0..stream.len()).collect();
        let whole = events(parse, &rules, &stream, &[]);
        prop_assert_eq!(events(parse, &rules, &stream, &each), whole);
    }

    #[test]
    fn replies_cut_anywhere_are_the_same(
        reply in noise(),
        which in 0..REPLIES.len(),
        prefix in any::<bool>(),
        mut cuts in vec(0usize..60, 0..6),
    ) {
        let (expect, start, _) = REPLIES[which];
        let start = if prefix { start.as_bytes() } else { b"" };
        let stream = [start, &reply].concat();
        cuts.sort_unstable();
        prop_assert_eq!(scan(expect, &stream, &cuts), scan(expect, &stream, &[]));
    }
}
