//! For tests only: a network with no way out, images without a registry, and a look for what was left.
//!
//! Nothing here is linked into the product. Absent on purpose: clocks and sleeps; a test waits by
//! watching.

pub mod busybox;
pub mod conformance;
pub mod elf;
pub mod outer;
pub mod recorded;
pub mod stub_api;
pub mod traces;
pub mod tutorial;

/// An empty layer of an image.
pub fn layer() -> karve_runtime::images::archive::Layer {
    karve_runtime::images::archive::Layer::default()
}
