//! Which units are run, and what of them is left out for which reason.

/// A unit, how many of its tests pass at least, and what is left out of it.
pub(super) type Unit = (&'static str, usize, &'static [Without]);

/// A test that is left out, by its name or a pattern behind a slash, with the reason.
pub(super) type Without = (&'static str, &'static str);

const QUEUED: &str = "it queues a command without a key";
const KILL: &str = "SCRIPT KILL and FUNCTION KILL concern one server";
const LONG: &str = "it takes long, and nothing of it is the proxy's";
const LIMIT: &str = "a limit of the proxy comes first";
const COUNTED: &str = "connections are counted, which sessions share";
const CLIENT: &str = "the proxy does not have that CLIENT subcommand";
const COMMAND: &str = "the proxy does not have COMMAND GETKEYS";

pub(super) const UNITS: [Unit; 22] = [
    (
        "unit/scripting",
        150,
        &[
            ("/kill", KILL),
            ("/[Tt]imedout|timeout|BUSY", KILL),
            ("Script return recursive object", LIMIT),
            ("Script ACL check", "users are the proxy's"),
        ],
    ),
    (
        "unit/functions",
        70,
        &[
            ("/kill", KILL),
            ("/function stats", "FUNCTION STATS concerns one server"),
            ("FUNCTION - test wrong subcommand", "the proxy has words of its own for it"),
            ("/command get keys", COMMAND),
        ],
    ),
    (
        "unit/multi",
        20,
        &[
            ("EXEC fails if there are errors while queueing commands #2", QUEUED),
            ("/OOM", QUEUED),
            ("EXEC with at least one use-memory command should fail", QUEUED),
            ("/MULTI with", QUEUED),
            ("/script timeout", KILL),
        ],
    ),
    (
        "unit/pubsub",
        8,
        &[
            ("/two clients", COUNTED),
            ("/PUBLISH.SUBSCRIBE after UNSUBSCRIBE", COUNTED),
            ("/NUMPAT", "its clients unsubscribe without being waited for"),
            ("/REPLY OFF", CLIENT),
            ("/eyspace notif", "what concerns one key's server is published on every server alike"),
        ],
    ),
    ("unit/type/list", 200, &[("/client unblock", CLIENT)]),
    ("unit/type/zset", 250, &[("/ZDIFF fuzzing", LONG)]),
    ("unit/type/stream", 50, &[("XRANGE fuzzing", LONG)]),
    ("unit/type/stream-cgroups", 40, &[]),
    ("unit/type/set", 85, &[("SDIFF fuzzing", LONG)]),
    ("unit/type/hash", 60, &[("/fuzzing #. - 512|Stress test the hash", LONG)]),
    ("unit/type/string", 60, &[("/fuzzing", LONG)]),
    ("unit/type/incr", 20, &[]),
    ("unit/expire", 45, &[]),
    ("unit/keyspace", 35, &[]),
    ("unit/scan", 14, &[("/4906", LONG)]),
    ("unit/sort", 35, &[("/get keys|correctly", COMMAND)]),
    ("unit/bitops", 40, &[]),
    ("unit/bitfield", 14, &[]),
    ("unit/geo", 50, &[("/fuzzy", LONG)]),
    ("unit/protocol", 15, &[("Out of range multibulk payload length", LIMIT)]),
    ("unit/other", 5, &[("/PIPELINING", LONG)]),
    ("unit/quit", 3, &[]),
];

/// What is left out of Valkey's tests, of any unit.
pub(super) const VALKEY: [Without; 21] = [
    ("/SCRIPT SHOW", "SCRIPT SHOW concerns one server"),
    ("/Import mode|import-source", CLIENT),
    ("HELLO and availability-zone", "HELLO is answered by the proxy"),
    ("Coverage: HELP commands", "it asks for the help of what concerns one server"),
    ("Nested MULTI are not allowed", "the proxy has Redis's way: the transaction goes on"),
    ("/publish to self", "a message comes when its server has sent it"),
    ("BRPOPLPUSH does not affect WATCH while still blocked", CLIENT),
    ("Blocking command accounted only once in commandstats after timeout", CLIENT),
    ("WATCH inside MULTI is not allowed", "the proxy has Redis's way: the transaction goes on"),
    ("/MSETEX", "the proxy does not have MSETEX: its keys may be on several servers"),
    ("memoryusage of string", LIMIT),
    ("/COMMAND GETKEYS", COMMAND),
    ("Mixing quoted and unquoted strings", "the proxy reads inline requests as Redis does"),
    ("Check CRLF when parsing the querybuf", "the proxy has Redis's words"),
    ("Partial command after blocking command is completed on unblock", CLIENT),
    ("Blocking timeout following PAUSE should honor the timeout", CLIENT),
    ("/NO-TOUCH", CLIENT),
    ("/CLIENT REPLY", CLIENT),
    ("AUTH errored inside MULTI will add the reply", "users are the proxy's"),
    ("WATCH same key multiple times should be fine", CLIENT),
    ("WATCH with large number of keys", LIMIT),
];
