//! What a file says, before anyone asks what it means.
//!
//! ```text
//!  text ─▶ yaml: a tree of text with positions ─▶ Section: keys are taken one by one ─▶ values
//!                                                    └──────── Report: every error, every warning
//! ```

mod report;
mod section;
mod units;
mod yaml;

pub use report::{Errors, Problem};
pub(super) use report::{Reason, Report};
pub(super) use section::{Section, Value};
pub(super) use yaml::{Content, Node, read};
