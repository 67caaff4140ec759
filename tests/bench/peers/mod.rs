//! The processes around the load: servers behind, proxies in front, all children of this one.
//!
//! Every child is started through this program's own `child` role, which puts it on its cores and
//! ties its life to ours: the kernel kills it when we end, however that happens.

mod backends;
mod floor;
mod process;
mod proxy;

pub(crate) use backends::{Backends, Kind};
pub(crate) use floor::serve as serve_floor;
pub(crate) use process::{Process, become_child, free_port, pause, raise_file_limit, scratch};
pub(crate) use proxy::{Duty, Proxy, Running};

/// What goes wrong around a measurement, in words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
