//! COMMAND DOCS: what each command is for, for `redis-cli help` and its like.

use crate::cache::strings::Task;

/// What is told of a command.
struct Doc {
    name: &'static str,
    group: &'static str,
    /// The version of Redis that had it first.
    since: &'static str,
    summary: &'static str,
}

const fn doc(
    group: &'static str,
    name: &'static str,
    since: &'static str,
    summary: &'static str,
) -> Doc {
    Doc { name, group, since, summary }
}

/// All commands of a cache.
#[rustfmt::skip]
const DOCS: [Doc; 66] = [
    doc("bitmap", "bitcount", "2.6.0", "Counts the bits of a string that are 1."),
    doc("bitmap", "getbit", "2.2.0", "Reads one bit of a string."),
    doc("bitmap", "setbit", "2.2.0", "Writes one bit of a string and returns what it was."),
    doc("connection", "auth", "1.0.0", "Gives the password."),
    doc("connection", "client", "2.4.0", "Tells of connections, names them, has keys tracked."),
    doc("connection", "echo", "1.0.0", "Returns its argument."),
    doc("connection", "hello", "6.0.0", "Chooses the protocol version; may give password and name."),
    doc("connection", "ping", "1.0.0", "Answers PONG, or its argument."),
    doc("connection", "quit", "1.0.0", "Closes the connection."),
    doc("connection", "reset", "6.2.0", "Makes the connection as new."),
    doc("connection", "select", "1.0.0", "Chooses a database: there is number 0 alone."),
    doc("generic", "copy", "6.2.0", "Copies an item to another key."),
    doc("generic", "del", "1.0.0", "Deletes keys and returns how many there were."),
    doc("generic", "exists", "1.0.0", "Counts the keys that are there."),
    doc("generic", "expire", "1.0.0", "Gives a key so many seconds to live."),
    doc("generic", "expireat", "1.2.0", "Has a key expire at a Unix time in seconds."),
    doc("generic", "expiretime", "7.0.0", "Returns the Unix time in seconds at which a key expires."),
    doc("generic", "keys", "1.0.0", "Lists the keys that match a pattern."),
    doc("generic", "object", "2.2.3", "Tells how an item is stored and used."),
    doc("generic", "persist", "2.2.0", "Takes the expiry of a key away."),
    doc("generic", "pexpire", "2.6.0", "Gives a key so many milliseconds to live."),
    doc("generic", "pexpireat", "2.6.0", "Has a key expire at a Unix time in milliseconds."),
    doc("generic", "pexpiretime", "7.0.0", "Returns the Unix time in milliseconds at which a key expires."),
    doc("generic", "pttl", "2.6.0", "Returns how many milliseconds a key has to live."),
    doc("generic", "randomkey", "1.0.0", "Returns any key."),
    doc("generic", "rename", "1.0.0", "Gives an item another key, over what is there."),
    doc("generic", "renamenx", "1.0.0", "Gives an item another key if nothing is there."),
    doc("generic", "scan", "2.8.0", "Walks through all keys, some at a time."),
    doc("generic", "touch", "3.2.1", "Counts the keys that are there as used."),
    doc("generic", "ttl", "1.0.0", "Returns how many seconds a key has to live."),
    doc("generic", "type", "1.0.0", "Tells the type of an item: string, or none."),
    doc("generic", "unlink", "4.0.0", "Deletes keys, as DEL does."),
    doc("server", "command", "2.8.13", "Tells which commands there are."),
    doc("server", "config", "2.0.0", "Reads settings; changes none."),
    doc("server", "dbsize", "1.0.0", "Returns how many keys there are."),
    doc("server", "flushall", "1.0.0", "Deletes everything."),
    doc("server", "flushdb", "1.0.0", "Deletes everything: there is one database."),
    doc("server", "info", "1.0.0", "Tells of the server, section by section."),
    doc("server", "time", "2.6.0", "Returns the time, in seconds and microseconds."),
    doc("string", "append", "2.0.0", "Appends to a string, which may be new."),
    doc("string", "decr", "1.0.0", "Takes 1 from a number."),
    doc("string", "decrby", "1.0.0", "Takes an integer from a number."),
    doc("string", "get", "1.0.0", "Returns the value of a key."),
    doc("string", "getdel", "6.2.0", "Returns the value of a key and deletes it."),
    doc("string", "getex", "6.2.0", "Returns the value of a key and changes its expiry."),
    doc("string", "getrange", "2.4.0", "Returns a part of a string."),
    doc("string", "getset", "1.0.0", "Sets a value and returns the one before."),
    doc("string", "incr", "1.0.0", "Adds 1 to a number."),
    doc("string", "incrby", "1.0.0", "Adds an integer to a number."),
    doc("string", "incrbyfloat", "2.6.0", "Adds a decimal to a number."),
    doc("string", "lcs", "7.0.0", "Finds the longest common subsequence of two strings."),
    doc("string", "mget", "1.0.0", "Returns the values of several keys."),
    doc("string", "mset", "1.0.1", "Sets several keys at once."),
    doc("string", "msetnx", "1.0.1", "Sets several keys if none of them is there."),
    doc("string", "psetex", "2.6.0", "Sets a value with so many milliseconds to live."),
    doc("string", "set", "1.0.0", "Sets a value, with conditions and an expiry if wanted."),
    doc("string", "setex", "2.0.0", "Sets a value with so many seconds to live."),
    doc("string", "setnx", "1.0.0", "Sets a value if the key is not there."),
    doc("string", "setrange", "2.2.0", "Overwrites a part of a string."),
    doc("string", "strlen", "2.2.0", "Returns the length of a string."),
    doc("string", "substr", "1.0.0", "Returns a part of a string, as GETRANGE does."),
    doc("transactions", "discard", "2.0.0", "Gives a transaction up."),
    doc("transactions", "exec", "1.2.0", "Executes a transaction."),
    doc("transactions", "multi", "1.2.0", "Begins a transaction."),
    doc("transactions", "unwatch", "2.2.0", "Forgets the keys that are watched."),
    doc("transactions", "watch", "2.2.0", "Has the next transaction fail if keys change before it."),
];

/// Answers `COMMAND DOCS [name…]`; names that nobody knows are passed over.
pub(super) fn reply(task: &mut Task<'_, '_>) {
    let told: Vec<&Doc> = match task.count() {
        2 => DOCS.iter().collect(),
        count => (2..count)
            .filter_map(|at| {
                DOCS.iter().find(|doc| doc.name.as_bytes().eq_ignore_ascii_case(task.arg(at)))
            })
            .collect(),
    };
    task.reply.map(told.len());
    for doc in told {
        task.reply.bulk(doc.name.as_bytes());
        let facts = [("summary", doc.summary), ("since", doc.since), ("group", doc.group)];
        task.reply.map(facts.len());
        for text in facts.iter().flat_map(|(what, text)| [what, text]) {
            task.reply.bulk(text.as_bytes());
        }
    }
}
