//! One pool of a file: every key of twemproxy, with its rules and its words, and our own.

mod cache;
mod limits;
mod read;
mod routing;
mod servers;

pub(super) use read::{Form, read};
