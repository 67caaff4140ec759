//! The table of memcache commands: name, arguments, keys, and what becomes of them.

use crate::protocol::names::Names;
use crate::protocol::{Access, Command, Expect, Keys, Local, Op, Plan, Rules};

/// A command and how its line is written.
pub(super) struct Row {
    pub(super) command: Command,
    pub(super) shape: Shape,
}

/// What stands on a command's line, the name and `noreply` left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `key flags exptime bytes`, then `cas` if `true`; a data block follows the line.
    Storage(bool),
    /// `key delta`.
    Delta,
    /// `key exptime`.
    Touch,
    /// `key`, and natively a `0` that means "at once" to old clients.
    Delete,
    /// `key…`.
    Get,
    /// `exptime key…`.
    GetAndTouch,
    /// Anything.
    Free,
    /// `level`.
    Verbosity,
    /// Nothing or `exptime`.
    Flush,
    /// `key flag…`; the executor reads the flags.
    Meta,
    /// `key bytes flag…`; a data block follows the line.
    MetaSet,
    /// `key`, and natively no more than that counts.
    MetaDebug,
}

impl Shape {
    /// The first place where the word `noreply` means that; before it, or elsewhere, it is a key.
    pub(super) const fn noreply_from(self) -> usize {
        match self {
            Self::Get | Self::GetAndTouch | Self::Free => usize::MAX,
            // These have a flag for it.
            Self::Meta | Self::MetaSet | Self::MetaDebug => usize::MAX,
            Self::Flush | Self::Verbosity => 1,
            _ => 2,
        }
    }

    /// The word that says how many bytes of data follow the line.
    pub(super) const fn length_at(self) -> Option<usize> {
        match self {
            Self::Storage(_) => Some(4),
            Self::MetaSet => Some(2),
            _ => None,
        }
    }
}

const fn row(name: &'static str, arity: i16, plan: Plan, op: Op, shape: Shape) -> Row {
    let (keys, access, compat) = match shape {
        Shape::Storage(_) | Shape::Delta | Shape::Touch | Shape::Delete => {
            (Keys::At(1), Access::Write, arity)
        }
        Shape::Get => (Keys::Every { first: 1, last: -1, step: 1 }, Access::Read, arity),
        // Touching is writing: a second try could revive what was meant to expire.
        Shape::GetAndTouch => (Keys::Every { first: 2, last: -1, step: 1 }, Access::Write, 0),
        // A get may create, touch and win: no second try either.
        Shape::Meta | Shape::MetaSet => (Keys::At(1), Access::Write, 0),
        Shape::MetaDebug => (Keys::At(1), Access::Read, 0),
        Shape::Flush => (Keys::None, Access::Write, 0),
        Shape::Verbosity => (Keys::None, Access::None, 0),
        Shape::Free if matches!(plan, Plan::Stats | Plan::Local(Local::MetaNoop)) => {
            (Keys::None, Access::None, 0)
        }
        // twemproxy has version and quit without arguments.
        Shape::Free => (Keys::None, Access::None, 1),
    };
    let command = Command { name, arity, keys, access, plan, op, compat };
    Row { command, shape }
}

/// Rows of the table.
const ROWS_LEN: usize = 25;

static ROWS: [Row; ROWS_LEN] = [
    row("get", -2, Plan::Values, Op::Get, Shape::Get),
    row("gets", -2, Plan::Values, Op::Gets, Shape::Get),
    row("gat", -3, Plan::Values, Op::Gat, Shape::GetAndTouch),
    row("gats", -3, Plan::Values, Op::Gats, Shape::GetAndTouch),
    row("set", 5, Plan::Forward, Op::Set, Shape::Storage(false)),
    row("add", 5, Plan::Forward, Op::Add, Shape::Storage(false)),
    row("replace", 5, Plan::Forward, Op::Replace, Shape::Storage(false)),
    row("append", 5, Plan::Forward, Op::Append, Shape::Storage(false)),
    row("prepend", 5, Plan::Forward, Op::Prepend, Shape::Storage(false)),
    row("cas", 6, Plan::Forward, Op::Cas, Shape::Storage(true)),
    row("incr", 3, Plan::Forward, Op::Incr, Shape::Delta),
    row("decr", 3, Plan::Forward, Op::Decr, Shape::Delta),
    row("touch", 3, Plan::Forward, Op::Touch, Shape::Touch),
    row("delete", 2, Plan::Forward, Op::Delete, Shape::Delete),
    row("version", -1, Plan::Local(Local::Version), Op::Version, Shape::Free),
    row("quit", -1, Plan::Local(Local::Quit), Op::Quit, Shape::Free),
    row("verbosity", -2, Plan::Local(Local::Verbosity), Op::Verbosity, Shape::Verbosity),
    row("stats", -1, Plan::Stats, Op::Stats, Shape::Free),
    row("flush_all", -1, Plan::Flush, Op::FlushAll, Shape::Flush),
    row("mg", -2, Plan::Forward, Op::MetaGet, Shape::Meta),
    row("ms", -3, Plan::Forward, Op::MetaSet, Shape::MetaSet),
    row("md", -2, Plan::Forward, Op::MetaDelete, Shape::Meta),
    row("ma", -2, Plan::Forward, Op::MetaArithmetic, Shape::Meta),
    row("me", -2, Plan::Forward, Op::MetaDebug, Shape::MetaDebug),
    row("mn", -1, Plan::Local(Local::MetaNoop), Op::MetaNoop, Shape::Free),
];

/// twemproxy asks a server for its version, always the same one.
static FORWARDED_VERSION: Row = row("version", 1, Plan::Forward, Op::Version, Shape::Free);

static NAMES: Names<ROWS_LEN, 64> = Names::new(names());

const fn names() -> [&'static str; ROWS_LEN] {
    let mut names = [""; ROWS_LEN];
    let mut at = 0;
    while at < ROWS_LEN {
        names[at] = ROWS[at].command.name;
        at += 1;
    }
    names
}

/// The row of the command `word`, in lower case only, if `rules` take it.
pub(super) fn find(word: &[u8], rules: &Rules) -> Option<&'static Row> {
    let row = NAMES.exact(word).and_then(|at| ROWS.get(at))?;
    if !rules.compat {
        return Some(row);
    }
    if row.command.plan == Plan::Local(Local::Version) {
        return Some(&FORWARDED_VERSION);
    }
    (row.command.compat != 0).then_some(row)
}

/// What a server answers to `command` when it is asked for `keys` keys.
pub fn expect_of(command: &Command, keys: usize) -> Expect {
    match command.name {
        "get" | "gets" | "gat" | "gats" if keys == 1 => Expect::Value,
        "get" | "gets" | "gat" | "gats" => Expect::Values,
        "incr" | "decr" => Expect::Number,
        "touch" => Expect::Touched,
        "delete" => Expect::Deleted,
        "version" => Expect::Version,
        "stats" => Expect::Stats,
        "flush_all" | "verbosity" | "quit" => Expect::Ok,
        "mg" | "ms" | "md" | "ma" | "me" => Expect::Meta,
        _ => Expect::Stored,
    }
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    ROWS.iter()
}
