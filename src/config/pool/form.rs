//! The two forms of a file.

/// Which defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Form {
    /// Under `pools:`.
    Native {
        /// twemproxy's behaviour is asked for.
        compat: bool,
    },
    /// At the top of a nutcracker.yml.
    Nutcracker {
        /// twemproxy's behaviour is asked for.
        compat: bool,
    },
}

impl Form {
    pub(in crate::config) fn is_native(self) -> bool {
        matches!(self, Self::Native { .. })
    }

    pub(in crate::config) fn is_compat(self) -> bool {
        match self {
            Self::Native { compat } | Self::Nutcracker { compat } => compat,
        }
    }
}
