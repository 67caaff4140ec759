//! The clients of one worker: what each has sent and is owed, and what all of them may hold.
//!
//! ```text
//!  serve ─▶ Session: unfinished bytes, Mode, Hold          Budget: full? who waits, who goes on
//!              └ Pipeline: replies in order ◀─ delivery ◀─ service (as its `Clients`)
//!                                                 └─ one write for each client and turn
//! ```
//! * `session`, `pipeline`: one client, and the order of its replies.
//! * `table`: all of them, by the place of their sockets.
//! * `budget`: who must wait because of what is held, and who is given up.
//! * `delivery`: the way of replies to clients; `spares`: the buffers they are written to.

mod budget;
mod delivery;
mod pipeline;
mod session;
mod spares;
mod table;

pub(super) use session::{Hold, Mode, Reason, Session, Upload, UploadRest};
pub(super) use table::Sessions;
