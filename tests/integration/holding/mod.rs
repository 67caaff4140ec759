//! What the proxy holds for clients, and that it lets go of all of it: pipelines, uploads, buffers,
//! drains, dead servers that come back.

mod buffers;
mod endings;
mod returning;
mod uploads;
mod ways;

use std::time::Duration;

/// Lets this much time pass: for what must *not* happen meanwhile.
fn pass(time: Duration) {
    crate::support::wait_until(time, || false);
}
