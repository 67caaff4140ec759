//! What is promised of keys that are moved: no command sees anything but the key's true value, or in a
//! cache nothing.

mod carrying;
mod model;
mod worlds;
