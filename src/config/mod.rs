//! Configuration: YAML in, checked [`Config`] out, once.
//!
//! ```text
//!  text ─▶ native (process keys + pools:) ┐
//!       └▶ nutcracker.yml                 ┴▶ checks ─▶ Config + warnings, or every error at once
//! ```
//! After loading, no number needs checking again.

mod settings;

pub use settings::{
    Config, Dead, Distribution, Hash, HashChar, Limits, Listen, Log, LogFormat, Partial, Points,
    Pool, Protocol, Routing, Secret,
};
