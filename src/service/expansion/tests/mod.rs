//! Machines against simulated servers: every interleaving of a few operations, and long walks.

mod changes;
mod filling;
mod given_up;
mod model;
mod server;
mod steps;
mod walk;
mod walks;
