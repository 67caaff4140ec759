//! The twelve hash functions of twemproxy, each with what makes it differ from its textbook form.
//!
//! Bytes in, `u32` out, no state. [`hash_of`] picks one by its configured name; [`md5_words`] and
//! [`fnv1a_32_from`] also make the points of rings. Each family is one file.

mod bytewise;
mod crc;
mod md5;
mod select;
#[cfg(test)]
pub(crate) mod tests;
mod words;

pub(crate) use bytewise::{FNV_32_OFFSET, fnv1a_32_from};
pub(crate) use md5::md5_words;
pub(crate) use select::hash_of;
