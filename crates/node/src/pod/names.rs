//! A pod's hostname.
//!
//! Pure. The files themselves (`/etc/hosts`, `/etc/hostname`) are written by the runtime.

use k8s_openapi::api::core::v1::{Pod, PodSpec};

/// A hostname is at most this long (`sethostname(2)` allows 64, DNS labels 63).
const HOSTNAME_MAX: usize = 63;
/// A full name as hostname must fit the kernel's field.
const FQDN_MAX: usize = 64;

/// A full name that the kernel can't hold, in upstream's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long \
     ({FQDN_MAX} characters is the max, {len} characters requested)", len = fqdn.len()
)]
pub struct TooLong {
    /// The name.
    pub fqdn: String,
}

/// What a pod is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// What the kernel says.
    pub hostname: String,
    /// The first label, for `/etc/hosts`.
    pub short: String,
    /// The full name, of a pod with a subdomain.
    pub fqdn: Option<String>,
}

/// What a pod is called inside, on the node `node`.
///
/// # Errors
/// `setHostnameAsFQDN` asks for more than the kernel can hold.
pub fn names(pod: &Pod, spec: &PodSpec, node: &str, domain: &str) -> Result<Names, TooLong> {
    let plain = |short: String| Names {
        hostname: short.clone(),
        short,
        fqdn: None,
    };
    if let Some(name) = &spec.hostname_override {
        return Ok(plain(truncated(name)));
    }
    if spec.host_network == Some(true) {
        return Ok(plain(node.to_owned()));
    }
    let own = spec.hostname.as_deref().filter(|h| !h.is_empty());
    let own = own.or(pod.metadata.name.as_deref()).unwrap_or_default();
    let short = truncated(own);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let Some(subdomain) = spec.subdomain.as_deref().filter(|s| !s.is_empty()) else {
        return Ok(plain(short));
    };
    let fqdn = format!("{short}.{subdomain}.{namespace}.svc.{domain}");
    let hostname = match spec.set_hostname_as_fqdn {
        Some(true) if fqdn.len() > FQDN_MAX => return Err(TooLong { fqdn }),
        Some(true) => fqdn.clone(),
        _ => short.clone(),
    };
    Ok(Names {
        hostname,
        short,
        fqdn: Some(fqdn),
    })
}

fn truncated(name: &str) -> String {
    match name.get(..HOSTNAME_MAX) {
        Some(head) if name.len() > HOSTNAME_MAX => head.trim_end_matches(['-', '.']).to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(mut spec: Value) -> Pod {
        spec["containers"] = json!([]);
        serde_json::from_value(
            json!({"metadata": {"name": "plain", "namespace": "ns"}, "spec": spec}),
        )
        .expect("a pod")
    }

    fn got(pod: &Pod) -> Result<Names, TooLong> {
        let spec = pod.spec.as_ref().expect("spec");
        names(pod, spec, "node1", "cluster.local")
    }

    /// The recorded scenario net-hostname.
    #[test]
    fn hostnames_are_the_recorded_ones() {
        let fqdn = "hh.sub.ns.svc.cluster.local";
        let long = "y".repeat(70);
        let rows = [
            (json!({}), "plain", "plain", None),
            (
                json!({"hostname": "hh", "subdomain": "sub"}),
                "hh",
                "hh",
                Some(fqdn),
            ),
            (
                json!({"hostname": "hh", "setHostnameAsFQDN": true}),
                "hh",
                "hh",
                None,
            ),
            (
                json!({"hostname": "hh", "subdomain": "sub", "setHostnameAsFQDN": true}),
                fqdn,
                "hh",
                Some(fqdn),
            ),
            (json!({"hostNetwork": true}), "node1", "node1", None),
            (json!({"hostnameOverride": "a.b"}), "a.b", "a.b", None),
            (
                json!({"hostnameOverride": long}),
                &long[..63],
                &long[..63],
                None,
            ),
        ];
        for (spec, hostname, short, fqdn) in rows {
            let want = Names {
                hostname: hostname.to_owned(),
                short: short.to_owned(),
                fqdn: fqdn.map(str::to_owned),
            };
            assert_eq!(got(&pod(spec.clone())), Ok(want), "{spec}");
        }
        let mut long = pod(json!({}));
        long.metadata.name = Some(format!("{}-yy", "x".repeat(62)));
        assert_eq!(got(&long).map(|names| names.hostname), Ok("x".repeat(62)));
    }

    #[test]
    fn a_full_name_that_the_kernel_cannot_hold_is_refused() {
        let host = "h".repeat(40);
        let pod = pod(json!({"hostname": host, "subdomain": "sub", "setHostnameAsFQDN": true}));
        let refused = got(&pod).expect_err("too long");
        assert_eq!(
            refused.to_string(),
            format!(
                "failed to construct FQDN from pod hostname and cluster domain, FQDN {host}.sub.ns.svc.cluster.local \
                 is too long (64 characters is the max, 65 characters requested)"
            )
        );
    }
}
