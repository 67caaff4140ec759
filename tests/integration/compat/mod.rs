//! In twemproxy's place, beside twemproxy: the same bytes in, the same bytes out.
//!
//! Each test runs nutcracker and twinring under nutcracker's name over servers of their own, and
//! nothing is written down of what twemproxy does: it is asked.

mod flags;
mod requests;
mod servers;
mod signals;
