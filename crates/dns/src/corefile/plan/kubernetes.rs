//! The `kubernetes` plugin's options.

use super::super::Error;
use super::super::syntax::Directive;
use super::{Fallthrough, Words, ZoneName, zones};

/// CoreDNS's default TTL of cluster names, in seconds.
const TTL: u32 = 5;

/// How `1-2-3-4.NAMESPACE.pod.ZONE` is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pods {
    /// Not at all.
    #[default]
    Disabled,
    /// By spelling alone, in namespaces that exist.
    Insecure,
    /// When such a Pod exists.
    Verified,
}

/// `kubernetes [ZONES…] { … }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// Zones, reverse ones among them.
    pub zones: Vec<ZoneName>,
    /// The first zone that is not a reverse one.
    pub primary: Option<ZoneName>,
    /// Names of Pods by address.
    pub pods: Pods,
    /// Endpoints without a hostname are called as their Pods.
    pub endpoint_pod_names: bool,
    /// Only these namespaces. Empty: all.
    pub namespaces: Vec<String>,
    /// Only Services with these labels.
    pub labels: Option<String>,
    /// Seconds that answers live.
    pub ttl: u32,
    /// No EndpointSlices are read: headless Services have no names.
    pub no_endpoints: bool,
    /// Services without a ready endpoint don't exist.
    pub ignore_empty_service: bool,
    /// Names that the next plugin may try.
    pub fallthrough: Fallthrough,
}

pub fn read(directive: &Directive, own: &[ZoneName]) -> Result<Kubernetes, Error> {
    let zones = zones::given(&directive.arguments, own, directive.line)?;
    let primary = zones.iter().find(|zone| !zone.is_reverse()).cloned();
    let mut options = Kubernetes {
        zones,
        primary,
        ttl: TTL,
        ..Kubernetes::default()
    };
    if options.primary.is_none() {
        return Err(Words::of(directive).error("non-reverse zone name must be used"));
    }
    for inner in &directive.block {
        property(&mut options, inner)?;
    }
    Ok(options)
}

fn property(options: &mut Kubernetes, inner: &Directive) -> Result<(), Error> {
    let mut words = Words::of(inner);
    match inner.name.as_str() {
        "pods" => {
            options.pods = match words.need("mode")? {
                "disabled" => Pods::Disabled,
                "insecure" => Pods::Insecure,
                "verified" => Pods::Verified,
                other => {
                    let message = format!(
                        "wrong value {other:?}, must be one of: disabled, verified, insecure"
                    );
                    return Err(words.error(message));
                }
            }
        }
        "endpoint_pod_names" => options.endpoint_pod_names = true,
        "namespaces" => {
            words.need("namespace").map(drop)?;
            options.namespaces.extend(inner.arguments.iter().cloned());
            words.rest();
        }
        "labels" => {
            words.need("selector").map(drop)?;
            words.rest();
            options.labels = Some(inner.arguments.join(" "));
        }
        "ttl" => {
            options.ttl = words.number("number of seconds")?;
            if options.ttl > 3600 {
                return Err(words.error(format!("must be in range [0, 3600]: {}", options.ttl)));
            }
        }
        "noendpoints" => options.no_endpoints = true,
        "ignore" => match words.need("what")? {
            "empty_service" => options.ignore_empty_service = true,
            other => return Err(words.error(format!("unknown value {other:?}"))),
        },
        "fallthrough" => {
            options.fallthrough = Fallthrough::read(inner)?;
            words.rest();
        }
        // How CoreDNS comes to its API; karve has flags for that, and its client bounds itself.
        "startup_timeout" => words.duration("duration").map(drop)?,
        "apiserver_qps" => words.number::<f64>("rate").map(drop)?,
        "apiserver_burst" | "apiserver_max_inflight" => words.number::<u32>("number").map(drop)?,
        "namespace_labels" | "multicluster" => return Err(words.error("not supported")),
        "endpoint" | "tls" | "kubeconfig" => {
            return Err(words.error("the API is chosen by flags, not by the Corefile"));
        }
        _ => return Err(words.unknown()),
    }
    words.end()
}
