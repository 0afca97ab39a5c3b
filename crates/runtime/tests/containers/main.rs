//! Real containers, in a network and mount namespace of this test program's own.
//!
//! The program is its own shim (first argument `shim`), as the product is. Needs root and the static
//! busybox of Debian's package `busybox-static`.

mod cluster;
mod lifecycle;
mod limits;
mod network;
mod recovery;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "shim") {
        return karve_runtime::shim::main(args);
    }
    // While there is one thread only: all others inherit it.
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("make namespaces (as root)");
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("make mounts private");
    let trials = [lifecycle::trials(), limits::trials(), network::trials(), recovery::trials()];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().flatten().collect::<Vec<Trial>>()).exit_code()
}
