//! A network namespace with nothing but loopback, for one test.

use std::marker::PhantomData;

use anyhow::{Context, Result};
use karve_sys::link::Netlink;
use karve_sys::netns::NetNs;

/// While this lives, its thread, and every process and thread started from it, is in a network
/// namespace of its own that has no way out. It cannot be sent to another thread.
#[derive(Debug)]
pub struct OuterNet {
    before: NetNs,
    netns: NetNs,
    not_send: PhantomData<*const ()>,
}

impl OuterNet {
    /// Makes the namespace, brings loopback up, and enters.
    pub fn enter() -> Result<Self> {
        let before = NetNs::current()?;
        let netns = NetNs::anonymous()?;
        Netlink::open_in(&netns)?.set_up("lo")?;
        netns.enter()?;
        Ok(Self {
            before,
            netns,
            not_send: PhantomData,
        })
    }

    /// The namespace, to enter it from another thread.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }
}

impl Drop for OuterNet {
    fn drop(&mut self) {
        // A test's thread that can't return must not run another test.
        self.before
            .enter()
            .context("return to the network of before")
            .expect("the namespace is open");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_enters_and_returns() {
        let links = || {
            Netlink::open()
                .expect("netlink")
                .links()
                .expect("links")
                .len()
        };
        std::thread::spawn(move || {
            let before = links();
            let outer = OuterNet::enter().expect("enters");
            let inside = Netlink::open().expect("netlink").links().expect("links");
            assert!(
                inside.iter().any(|link| link.name == "lo" && link.up),
                "{inside:?}"
            );
            assert!(
                inside.iter().all(|link| !link.up || link.name == "lo"),
                "no way out: {inside:?}"
            );
            drop(outer);
            assert_eq!(links(), before);
        })
        .join()
        .expect("the thread");
    }
}
