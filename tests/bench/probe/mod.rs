//! What is read off a running process from outside: [`usage`] from /proc,
//! [`Window`] over time, [`Syscalls`] by a tracer.

mod syscalls;
pub(crate) mod usage;
mod window;

pub(crate) use syscalls::{Syscalls, Tracer, tracer};
pub(crate) use window::{Spent, Window};
