//! TLS: settings once, handshakes beside the workers, and records while a session lasts.
//!
//! ```text
//!  files ─▶ Acceptor ─ handshake on the listener's thread ─▶ Secured ─▶ a worker's Stream
//!        └▶ Connector ─ handshake while dialling ──────────────────────▶ a worker's Stream
//!                                                 Session: records ⇄ bytes, in the driver's polls
//! ```
//! A worker never sees a connection whose handshake has not ended, and none is served in plain
//! text where TLS was asked for.

mod handshake;
mod session;
mod settings;

pub use handshake::HandshakeError;
pub(super) use session::{Secured, Session};
pub use settings::{Acceptor, Connector, TlsError};
