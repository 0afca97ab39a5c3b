//! Flags of kube-apiserver that are accepted because scripts give them, and that change nothing here.
//!
//! Each is said once at the start. A flag that would make the server safer or another one (encryption at rest, an
//! authenticating webhook) is not among them: it is refused.

use std::marker::PhantomData;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

/// A program's flags without effect.
pub trait Table {
    /// Flags, and whether they take a value.
    const FLAGS: &'static [(&'static str, bool)];
}

/// kube-apiserver's.
#[derive(Debug, Default)]
pub struct ApiServer;

impl Table for ApiServer {
    const FLAGS: &'static [(&'static str, bool)] = &[
        ("allow-privileged", false),
        ("allow-metric-labels", true),
        ("apiserver-count", true),
        ("contention-profiling", false),
        ("default-not-ready-toleration-seconds", true),
        ("default-unreachable-toleration-seconds", true),
        ("default-watch-cache-size", true),
        ("delete-collection-workers", true),
        ("disabled-metrics", true),
        ("emulated-version", true),
        ("enable-bootstrap-token-auth", false),
        ("enable-garbage-collector", false),
        ("enable-logs-handler", false),
        ("etcd-cafile", true),
        ("etcd-certfile", true),
        ("etcd-compaction-interval", true),
        ("etcd-count-metric-poll-period", true),
        ("etcd-db-metric-poll-interval", true),
        ("etcd-healthcheck-timeout", true),
        ("etcd-keyfile", true),
        ("etcd-prefix", true),
        ("etcd-readycheck-timeout", true),
        ("etcd-servers-overrides", true),
        ("feature-gates", true),
        ("kubelet-preferred-address-types", true),
        ("kubelet-timeout", true),
        ("lease-reuse-duration-seconds", true),
        ("log-flush-frequency", true),
        ("log-json-info-buffer-size", true),
        ("log-json-split-stream", false),
        ("logging-format", true),
        ("max-connection-bytes-per-sec", true),
        ("permit-address-sharing", false),
        ("permit-port-sharing", false),
        ("profiling", false),
        ("runtime-config", true),
        ("service-account-extend-token-expiration", false),
        ("service-account-lookup", false),
        ("show-hidden-metrics-for-version", true),
        ("storage-backend", true),
        ("storage-media-type", true),
        ("v", true),
        ("vmodule", true),
        ("watch-cache", false),
        ("watch-cache-sizes", true),
    ];
}

/// The flags that were given and mean nothing.
#[derive(Debug, Default)]
pub struct WithoutEffect<T> {
    /// Their names.
    pub given: Vec<&'static str>,
    table: PhantomData<T>,
}

impl<T: Table> Args for WithoutEffect<T> {
    fn augment_args(command: Command) -> Command {
        command.args(T::FLAGS.iter().map(|(name, takes_value)| {
            let arg = Arg::new(*name)
                .long(*name)
                .hide(true)
                .action(ArgAction::Append);
            match takes_value {
                true => arg.num_args(1),
                false => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Table> FromArgMatches for WithoutEffect<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = T::FLAGS.iter().map(|(name, _)| *name);
        Ok(WithoutEffect {
            given: given.filter(|name| matches.contains_id(name)).collect(),
            table: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
