//! The kernel: namespaces, BPF, netlink (links, nf_tables, conntrack) and packet sockets.
//!
//! Invariant: this is the only crate with `unsafe` code, and each block says why it is sound. Nothing
//! here knows Kubernetes: it offers kernel objects under the kernel's own names. All calls are
//! synchronous and bounded by the kernel's own work.

// The workspace denies unsafe code everywhere else.
#![allow(unsafe_code)]

pub mod bpf;
pub mod conntrack;
pub mod datagram;
pub mod decode;
pub mod device_filter;
pub mod link;
pub mod memory;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod packet;
pub mod privilege;
pub mod process;
pub mod readiness;
