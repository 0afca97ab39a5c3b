//! Images: the machine's content store, and how images come into it.
//!
//! - [`Store`]: blobs, layers and names on disk; [`archive`] and `load` for files, `registry` for pulls.
//! - [`service`]: the socket by which agents, which live in network namespaces without a way out, ask
//!   the server process to pull; [`Client`] is either of the two.
//!
//! Invariant: nothing is used before its SHA-256 was checked, and a name appears only when all that
//! it needs is on disk: an archive or a pull counts whole or not at all. Absent on purpose: building
//! and pushing images, and keeping compressed layers (a layer exists once, unpacked).

pub mod archive;
mod client;
mod digest;
mod error;
mod gc;
mod hold;
mod image;
mod layer;
mod load;
mod manifest;
mod reference;
mod registry;
pub mod service;
mod store;

pub use client::Client;
pub use digest::Digest;
pub use error::ImageError;
pub use image::{Image, ImageConfig};
pub use reference::ImageRef;
pub use registry::{Progress, Puller};
pub use store::Store;

#[cfg(test)]
mod tests;
