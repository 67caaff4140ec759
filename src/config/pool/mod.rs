//! One pool of a file: every key of twemproxy, with its rules and its words, and our own.

mod cache;
mod expansion;
mod form;
mod limits;
mod moving;
mod near;
mod read;
mod routing;
mod secret;
mod servers;
mod tls;
mod topology;

pub(super) use form::Form;
pub(super) use read::read;
pub(super) use routing::hash_name;
pub(super) use servers::list;
