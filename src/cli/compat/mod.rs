//! Standing in for `nutcracker` on the command line: its flags, its errors, its texts.

mod flags;
mod getopt;
#[cfg(test)]
mod tests;
mod texts;

pub use flags::{Action, Flags, UsageError};
pub use getopt::parse;
pub use texts::{help_text, stats_text, test_text, version_text};
