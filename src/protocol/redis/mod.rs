//! Redis's RESP2 and inline commands.
