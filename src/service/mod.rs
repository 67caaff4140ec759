//! What becomes of one request: answered here, sent to one server, or split over several.
//!
//! ```text
//!  session ─▶ Proxy::request ─▶ local  ────────────────────────────────▶ Clients::reply
//!                           ├─▶ forward: key ─▶ server ─▶ Connection ──▶ Clients::reply
//!          │                └─▶ split: key by key ─▶ Gather ─▶ merge ──▶ Clients::reply
//!          │                ├─ near: answered here, or a fill that several wait for
//!          ├▶ Proxy::converse: a server connection lent to the session ─▶ Clients::reply
//!          ├▶ Proxy::pubsub: one connection to each server for all ─────▶ Clients::push
//!          └▶ Standalone::execute (a pool without servers) ─────────────▶ the session's output
//! ```
//! The proxy owns the connections of its worker; sessions it knows only by [`Ticket`].

mod change;
mod dedicated;
mod deposit;
mod dispatch;
mod everywhere;
mod expansion;
mod fragment;
mod identity;
mod local;
mod moving;
mod near;
mod notes;
mod pool;
mod proxy;
mod replies;
mod route;
mod servers;
mod split;
mod standalone;
mod subscriptions;
#[cfg(test)]
mod tests;
mod upload;

pub use crate::backend::{Flow, Io, Letter, Owner, Ticket};
pub use crate::cache::near::Near;
pub use crate::routing::Board;
pub use change::{Carried, Latest, Plan, Snapshot};
pub use dedicated::Conversation;
pub use deposit::Deposit;
pub use dispatch::Turn;
pub use expansion::{Told, rings, told};
pub use identity::Identity;
pub use local::After;
pub use moving::{
    Gated, is_token, migrate_command, put_value_command, take_command, token_command, token_key,
    told_moving,
};
pub use proxy::{Caller, Proxy};
pub use replies::{Clients, Progress, count_request};
pub use standalone::{Accepted, Standalone, State};
pub use upload::UploadId;
