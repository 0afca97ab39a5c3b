//! Real containers, each test in a network and mount namespace of its own.
//!
//! The program is its own shim (first argument `shim`), as the product is. Needs root and the static
//! busybox of Debian's package `busybox-static`, and its `docker-registry`.

mod cluster;
mod lifecycle;
mod limits;
mod network;
mod recovery;
mod registry;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "shim") {
        return karve_runtime::shim::main(args);
    }
    let trials = [
        lifecycle::trials(),
        limits::trials(),
        network::trials(),
        recovery::trials(),
        registry::trials(),
    ];
    libtest_mimic::run(
        &Arguments::from_args(),
        trials.into_iter().flatten().collect::<Vec<Trial>>(),
    )
    .exit_code()
}
