//! What the fuzz targets of both parsers share: the reader of the parsers' own tests, which gets a
//! stream in pieces as a session does.

pub mod protocol;
