//! The table of opcodes: what each asks, and of what its packets consist.

use crate::protocol::{Access, Command, Keys, Op, Plan};

/// What a packet asks. Opcodes that differ in how much they want to hear are one verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the command")]
pub enum Verb {
    Get,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Delete,
    Increment,
    Decrement,
    Touch,
    GetAndTouch,
    Flush,
    Noop,
    Version,
    Stat,
    Quit,
    /// Which SASL mechanisms there are.
    SaslList,
    /// A name and a password.
    SaslAuth,
}

/// An opcode's row.
pub(super) struct Row {
    pub(super) command: Command,
    pub(super) verb: Verb,
    pub(super) quiet: bool,
    pub(super) keyed: bool,
}

/// Of what a verb's packets consist.
pub(super) struct Shape {
    /// Bytes of the extras.
    pub(super) extras: &'static [usize],
    /// Whether there is a key; `None` if there may be one.
    pub(super) key: Option<bool>,
    /// Whether there may be a value.
    pub(super) value: bool,
}

impl Verb {
    pub(super) const fn shape(self) -> Shape {
        let (extras, key, value): (&[usize], _, _) = match self {
            Self::Get | Self::Delete => (&[0], Some(true), false),
            Self::Set | Self::Add | Self::Replace => (&[8], Some(true), true),
            Self::Append | Self::Prepend | Self::SaslAuth => (&[0], Some(true), true),
            Self::Increment | Self::Decrement => (&[20], Some(true), false),
            Self::Touch | Self::GetAndTouch => (&[4], Some(true), false),
            Self::Flush => (&[0, 4], Some(false), false),
            Self::Stat => (&[0], None, false),
            Self::Noop | Self::Version | Self::Quit | Self::SaslList => (&[0], Some(false), false),
        };
        Shape { extras, key, value }
    }

    const fn access(self) -> Access {
        match self {
            Self::Get => Access::Read,
            Self::Noop | Self::Version | Self::Stat | Self::Quit => Access::None,
            Self::SaslList | Self::SaslAuth => Access::None,
            _ => Access::Write,
        }
    }
}

const fn row(name: &'static str, verb: Verb, quiet: bool, keyed: bool) -> Option<Row> {
    let keys = match verb.shape().key {
        Some(true) if !matches!(verb, Verb::SaslAuth) => Keys::At(1),
        _ => Keys::None,
    };
    let (access, plan, op) = (verb.access(), Plan::Refuse, Op::Binary);
    let command = Command { name, arity: 3, keys, access, plan, op, compat: 0 };
    Some(Row { command, verb, quiet, keyed })
}

const fn loud(name: &'static str, verb: Verb) -> Option<Row> {
    row(name, verb, false, false)
}

const fn quiet(name: &'static str, verb: Verb) -> Option<Row> {
    row(name, verb, true, false)
}

/// By opcode.
static ROWS: [Option<Row>; 0x25] = [
    loud("get", Verb::Get),
    loud("set", Verb::Set),
    loud("add", Verb::Add),
    loud("replace", Verb::Replace),
    loud("delete", Verb::Delete),
    loud("increment", Verb::Increment),
    loud("decrement", Verb::Decrement),
    loud("quit", Verb::Quit),
    loud("flush", Verb::Flush),
    quiet("getq", Verb::Get),
    loud("noop", Verb::Noop),
    loud("version", Verb::Version),
    row("getk", Verb::Get, false, true),
    row("getkq", Verb::Get, true, true),
    loud("append", Verb::Append),
    loud("prepend", Verb::Prepend),
    // 0x10
    loud("stat", Verb::Stat),
    quiet("setq", Verb::Set),
    quiet("addq", Verb::Add),
    quiet("replaceq", Verb::Replace),
    quiet("deleteq", Verb::Delete),
    quiet("incrementq", Verb::Increment),
    quiet("decrementq", Verb::Decrement),
    quiet("quitq", Verb::Quit),
    quiet("flushq", Verb::Flush),
    quiet("appendq", Verb::Append),
    quiet("prependq", Verb::Prepend),
    // memcached has no `verbosity` either.
    None,
    loud("touch", Verb::Touch),
    loud("gat", Verb::GetAndTouch),
    quiet("gatq", Verb::GetAndTouch),
    None,
    // 0x20
    loud("sasl_list", Verb::SaslList),
    loud("sasl_auth", Verb::SaslAuth),
    // One step is all that there is.
    None,
    row("gatk", Verb::GetAndTouch, false, true),
    row("gatkq", Verb::GetAndTouch, true, true),
];

/// The row of an opcode; `None` if there is no such command.
pub(super) fn row_of(opcode: u8) -> Option<&'static Row> {
    ROWS.get(usize::from(opcode))?.as_ref()
}
