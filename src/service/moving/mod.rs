//! Two rings of a pool that speaks Redis: keys are moved, never copied.
//!
//! ```text
//!  request ─▶ gate: do its keys move? ─ no ─────────────────────▶ the usual way
//!                │ yes, in phase fence: it waits                     ▲
//!                └ yes: MIGRATE at the server that had them ─▶ there ┘
//!  sweepers: SCAN, MIGRATE of what nobody asks for, until two scans have found nothing
//! ```
//! * `wire`, `scripts`: what servers are told, and how their answers are read.
//! * `way`, `carry`: one key's way, without sockets.
//! * `placed`: keys that are known to be where they belong.
//! * `gate`: sessions whose next request waits for keys; `waiting`: how they come and go; `handing`:
//!   their keys; `flow`: how many at once.
//! * `sweep`, `sweeper`: a server looked through, without sockets and on a connection.
//! * `told`: the table of phases for people.
//! * `heading`: which way keys go, and what becomes of everything else when that changes.
//!
//! The rule that all of it serves: of both servers of a key at most one executes commands, the one
//! that has the key's true value. MIGRATE hands a key over in one step; a key that is at both (the
//! answer was lost on the way between the servers) has been used at neither or at the one that it
//! goes to, which is why that one wins. In a pool whose data is a cache the proxy carries values itself
//! (`carry`): a key is at one server, or on its way and then used at neither, or lost.

mod carry;
mod flow;
mod gate;
mod handing;
mod heading;
mod placed;
mod scripts;
mod sweep;
mod sweeper;
#[cfg(test)]
mod tests;
mod told;
mod waiting;
mod way;
mod wire;

pub(super) use gate::Gate;
pub use gate::Gated;
pub use scripts::{is_token, put_value_command, take_command, token_command, token_key};
pub(super) use sweeper::Sweepers;
pub use told::told_moving;
pub use wire::migrate_command;
