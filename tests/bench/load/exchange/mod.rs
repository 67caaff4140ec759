//! What goes over a connection: requests stamped from templates, replies compared byte for byte.
//!
//! Only the digits of the keys change from request to request, so a request is a copy of its
//! [`template`] with the digits patched in; [`recipe`] draws them, [`check`] knows the answer.

mod check;
mod recipe;
mod selfcheck;
mod template;

pub(crate) use check::Reply;
pub(crate) use recipe::{Pending, Recipe};
pub(crate) use selfcheck::selfcheck;
