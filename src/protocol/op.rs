//! What a cache of our own does for a command: one name for each, whatever the protocol calls it.

/// What a cache does for a command. Where both protocols have a command of one name, it is
/// executed by the rules of the protocol that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the command")]
pub enum Op {
    /// Nothing: only servers have this command.
    None,
    // Both.
    Get,
    Set,
    Append,
    Incr,
    Decr,
    Touch,
    Quit,
    Ping,
    // memcache.
    Gets,
    Gat,
    Gats,
    Add,
    Replace,
    Prepend,
    Cas,
    Delete,
    FlushAll,
    Verbosity,
    Version,
    Stats,
    MetaGet,
    MetaSet,
    MetaDelete,
    MetaArithmetic,
    MetaDebug,
    MetaNoop,
}
