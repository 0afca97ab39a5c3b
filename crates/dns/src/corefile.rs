//! The Corefile: CoreDNS's configuration language, from its text to a plan of servers.
//!
//! Pure: text in, [`Plan`] out, or an [`Error`] that names the line. [`lexer`] makes tokens, [`syntax`] server
//! blocks and directives, [`plan`] gives each plugin its typed options with CoreDNS's defaults and bounds.
//!
//! Invariant: nothing is understood half. A plugin or property that has no effect here is refused.
//!
//! Absent on purpose: `import` and snippets (a ConfigMap is one text), and plugins beyond those that
//! clusters use; `docs/dns.md` lists them.

pub mod lexer;
pub mod plan;
pub mod syntax;

pub use plan::{
    Cache, Fallthrough, Forward, Health, Hosts, Kubernetes, Log, Plan, Pods, Policy, Ready, Server,
    Side,
};

/// The most bytes that a Corefile has; a ConfigMap holds no more either.
pub const TEXT_MAX: usize = 1 << 20;

/// What karve serves with when no ConfigMap says otherwise: kubeadm's Corefile, but for shorter TTLs (nothing
/// cached can be stale), verified search walks, and a cache that bridges an upstream's absence.
pub const DEFAULT: &str = "\
.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }
    autopath @kubernetes
    prometheus :9153
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30 {
        serve_stale 1h
    }
    loop
    reload
    loadbalance
}
";

/// Why a Corefile is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Error {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub message: String,
}

impl Error {
    pub(crate) fn at(line: u32, message: impl Into<String>) -> Error {
        Error {
            line,
            message: message.into(),
        }
    }
}

/// Reads a Corefile. `environment` answers `{$NAME}`.
///
/// # Errors
/// The first line that is not understood.
pub fn read(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Plan, Error> {
    let tokens = lexer::tokens(text, environment)?;
    plan::plan(&syntax::blocks(&tokens)?)
}

#[cfg(test)]
mod tests;
