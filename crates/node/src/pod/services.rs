//! Variables that tell a container of the Services that existed before it.
//!
//! Pure part of the feature: Docker's link variables and `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT` (upstream's
//! `envvars.FromServices`). Services without an address (headless, ExternalName) give none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// As much of a Service as its variables need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    cluster_ip: String,
    ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Port {
    name: Option<String>,
    number: i32,
    protocol: String,
}

/// The brief of a Service; `None` when it has no cluster address.
pub fn brief(service: &Service) -> Option<Brief> {
    let spec = service.spec.as_ref()?;
    let cluster_ip = spec
        .cluster_ip
        .clone()
        .filter(|ip| !ip.is_empty() && ip != "None")?;
    let ports = spec.ports.iter().flatten().map(|p| Port {
        name: p.name.clone().filter(|n| !n.is_empty()),
        number: p.port,
        protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
    });
    Some(Brief {
        cluster_ip,
        ports: ports.collect(),
    })
}

/// The variables of Services, given by name.
pub fn variables<'a>(
    services: impl IntoIterator<Item = (&'a str, &'a Brief)>,
) -> BTreeMap<String, String> {
    let mut vars = BTreeMap::new();
    for (name, service) in services {
        let Some(first) = service.ports.first() else {
            continue;
        };
        let name = upper(name);
        vars.insert(format!("{name}_SERVICE_HOST"), service.cluster_ip.clone());
        vars.insert(format!("{name}_SERVICE_PORT"), first.number.to_string());
        vars.insert(format!("{name}_PORT"), url(service, first));
        for port in &service.ports {
            if let Some(port_name) = &port.name {
                vars.insert(
                    format!("{name}_SERVICE_PORT_{}", upper(port_name)),
                    port.number.to_string(),
                );
            }
            let prefix = format!(
                "{name}_PORT_{}_{}",
                port.number,
                port.protocol.to_ascii_uppercase()
            );
            vars.insert(prefix.clone(), url(service, port));
            vars.insert(
                format!("{prefix}_PROTO"),
                port.protocol.to_ascii_lowercase(),
            );
            vars.insert(format!("{prefix}_PORT"), port.number.to_string());
            vars.insert(format!("{prefix}_ADDR"), service.cluster_ip.clone());
        }
    }
    vars
}

fn url(service: &Brief, port: &Port) -> String {
    let ip = &service.cluster_ip;
    let host = if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.clone()
    };
    format!(
        "{}://{host}:{}",
        port.protocol.to_ascii_lowercase(),
        port.number
    )
}

fn upper(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_gives_its_variables_and_a_headless_one_none() {
        let service = |spec: serde_json::Value| {
            serde_json::from_value(json!({ "spec": spec })).expect("a service")
        };
        let redis = service(
            json!({"clusterIP": "10.96.3.4", "ports": [{"port": 6379}, {"name": "http-x", "port": 80, "protocol": "UDP"}]}),
        );
        let redis = brief(&redis).expect("has an address");
        assert_eq!(
            brief(&service(
                json!({"clusterIP": "None", "ports": [{"port": 1}]})
            )),
            None
        );
        assert_eq!(brief(&service(json!({"type": "ExternalName"}))), None);
        let vars = variables([("my-redis", &redis)]);
        let text: Vec<String> = vars.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let want = [
            "MY_REDIS_PORT=tcp://10.96.3.4:6379",
            "MY_REDIS_PORT_6379_TCP=tcp://10.96.3.4:6379",
            "MY_REDIS_PORT_6379_TCP_ADDR=10.96.3.4",
            "MY_REDIS_PORT_6379_TCP_PORT=6379",
            "MY_REDIS_PORT_6379_TCP_PROTO=tcp",
            "MY_REDIS_PORT_80_UDP=udp://10.96.3.4:80",
            "MY_REDIS_PORT_80_UDP_ADDR=10.96.3.4",
            "MY_REDIS_PORT_80_UDP_PORT=80",
            "MY_REDIS_PORT_80_UDP_PROTO=udp",
            "MY_REDIS_SERVICE_HOST=10.96.3.4",
            "MY_REDIS_SERVICE_PORT=6379",
            "MY_REDIS_SERVICE_PORT_HTTP_X=80",
        ];
        assert_eq!(text, want);
    }
}
