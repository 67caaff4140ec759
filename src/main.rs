//! The program: see [`twinring::cli`].

fn main() {}
