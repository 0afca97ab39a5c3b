//! The long-lived processes: what each is made of, and in which order its parts start and stop.

pub mod agent;
pub mod dns;
mod parts;
pub mod process;
pub mod proxy;
pub mod server;
