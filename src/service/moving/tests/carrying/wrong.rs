//! What is searched: which things may happen, and what the model does wrong, to be found out.

use crate::routing::Phase;

/// Ways of doing it that bring dead values back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Values are put down whoever has the token.
    pub(super) no_token: bool,
    /// Who finds nothing to carry does not look for the token any more.
    pub(super) no_look: bool,
    /// The value stays where it was taken.
    pub(super) copy: bool,
    /// The tokens of a proxy are the same.
    pub(super) one_token: bool,
    /// Tokens of the other direction are kept.
    pub(super) keep_tokens: bool,
    /// A scan that found nothing counts before the tokens have run out.
    pub(super) hasty: bool,
    /// The new server is asked before the key is there.
    pub(super) new_first: bool,
    /// Nobody waits in phase fence.
    pub(super) no_fence: bool,
    /// The ends are come to without a scan that found nothing.
    pub(super) no_sweep: bool,
    /// On the way back nothing is brought back.
    pub(super) one_way: bool,
    /// What is known of a key is not forgotten when the phase changes.
    pub(super) remember: bool,
}

pub(super) const RIGHT: Wrong = Wrong {
    no_token: false,
    no_look: false,
    copy: false,
    one_token: false,
    keep_tokens: false,
    hasty: false,
    new_first: false,
    no_fence: false,
    no_sweep: false,
    one_way: false,
    remember: false,
};

/// In which worlds it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) wrong: Wrong,
    /// Proxies walk back as well.
    pub(super) back: bool,
    pub(super) walks: u8,
    pub(super) commands: u8,
    pub(super) faults: u8,
    /// The phase that both begin in.
    pub(super) from: Phase,
}
