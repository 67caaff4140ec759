//! The integration tests: one program, real servers, raw bytes. `tests/run` installs what they
//! need and runs them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails by a panic"
)]

mod clients;
mod faults;
mod pipelines;
mod placement;
mod support;
mod tidy;
mod transcripts;
