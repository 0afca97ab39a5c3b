//! How one answer comes about, step by step, for `karve dns query`.
//!
//! The API's objects and the Corefile as they are now are put into an engine of its own, and asked as the Pod's resolver
//! would ask. What a node's server keeps of others' answers can't be seen from here: nothing is kept at the start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use domain::base::iana::Rtype;
use domain::base::{Message, ParsedName};
use domain::rdata::AllRecordData;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service as ApiService};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use karve_watch::ObjectName;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use crate::Options;
use crate::corefile;
use crate::engine::{Around, Asker, Engine};
use crate::live::{Current, default_plan, resolvers};
use crate::metrics::rcode_name;
use crate::resolve::Trace;
use crate::said::name_wire;
use crate::walk::{Client, Surroundings};
use crate::wire::Transport;
use crate::zone::{Lowered, Service, Slice, Zone};

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name, as a program would give it.
    pub name: String,
    /// The record type.
    pub rtype: String,
    /// The Pod that asks.
    pub from: Option<ObjectName>,
}

/// How the answer comes about.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The Pod's search list.
    pub searches: Vec<String>,
    /// The dots from which a name is asked for as it is.
    pub ndots: usize,
    /// The names that the resolver asks for, up to the one that is answered.
    pub asked: Vec<Asked>,
}

/// One name that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// The name.
    pub name: String,
    /// What happened.
    pub steps: Vec<String>,
    /// The code of the answer.
    pub code: String,
    /// Its records, as a zone file has them.
    pub answer: Vec<String>,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API could not be read.
    #[error("list {what}")]
    Api {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Corefile is not understood.
    #[error("understand the Corefile")]
    Corefile(#[source] corefile::Error),
    /// The Pod does not ask this server.
    #[error("Pod {pod} has no address yet, or another resolver than the cluster's")]
    Pod {
        /// The Pod.
        pod: ObjectName,
    },
    /// No record type.
    #[error("{rtype:?} is no record type")]
    Type {
        /// The text given.
        rtype: String,
    },
    /// No domain name.
    #[error("{name:?} is no domain name")]
    Name {
        /// The text given.
        name: String,
    },
}

/// Explains the answer to a question in the cluster of `client`.
///
/// # Errors
/// The API can't be read, or the question is none.
pub async fn explain(
    client: &kube::Client,
    options: &Options,
    question: &Question,
) -> Result<Explanation, Error> {
    let rtype: Rtype = question
        .rtype
        .to_ascii_uppercase()
        .parse()
        .map_err(|_| Error::Type {
            rtype: question.rtype.clone(),
        })?;
    let current = current(client, &options.cluster_domain).await?;
    let engine = Arc::new(filled(client, options).await?);
    let upstreams = &options.upstreams;
    let of_file = |path: &std::path::Path| match (upstreams, path.to_str()) {
        (Some(upstreams), Some("/etc/resolv.conf")) => upstreams.clone(),
        _ => resolvers(&current.file(path).unwrap_or_default()),
    };
    let config = engine.prepare(&current.plan, &of_file, &|path| current.file(path));
    engine.set(Arc::new(config));
    let asking = match &question.from {
        None => None,
        Some(pod) => {
            let clients = engine.clients.read();
            let known = clients.named(pod).cloned();
            Some(known.ok_or_else(|| Error::Pod { pod: pod.clone() })?)
        }
    };
    let mut explanation = Explanation {
        searches: asking
            .as_ref()
            .map_or_else(Vec::new, |client| client.searches.clone()),
        ndots: asking.as_ref().map_or(1, |client| client.ndots),
        asked: Vec::new(),
    };
    let address = asking
        .as_ref()
        .and_then(|client| client.addresses.first().copied());
    for name in candidates(&question.name, &explanation) {
        let asked = ask(&engine, &name, rtype, address).await?;
        let done = asked.code == "NOERROR" && !asked.answer.is_empty();
        explanation.asked.push(asked);
        if done {
            break;
        }
    }
    Ok(explanation)
}

/// The names in the order in which glibc asks for them (resolv.conf(5)).
fn candidates(name: &str, how: &Explanation) -> Vec<String> {
    if let Some(whole) = name.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let dots = name.bytes().filter(|byte| *byte == b'.').count();
    let searched = how.searches.iter().map(|search| format!("{name}.{search}"));
    let mut names: Vec<String> = searched.collect();
    let at = if dots >= how.ndots { 0 } else { names.len() };
    names.insert(at, name.to_owned());
    names
}

async fn ask(
    engine: &Arc<Engine>,
    name: &str,
    rtype: Rtype,
    from: Option<IpAddr>,
) -> Result<Asked, Error> {
    let none = || Error::Name {
        name: name.to_owned(),
    };
    let wire = name_wire(name).ok_or_else(none)?;
    let lowered = Lowered::from_text(name).ok_or_else(none)?;
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(&wire);
    query.extend_from_slice(&rtype.to_int().to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    let from = from.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let config = engine.config();
    let port = config.ports().first().copied().unwrap_or(53);
    let asker = Asker {
        address: SocketAddr::new(from, 0),
        transport: Transport::Tcp,
        port,
    };
    let Some(server) = config.server(port, lowered.as_str()) else {
        return Ok(Asked {
            name: name.to_owned(),
            steps: vec!["no server block has this name".to_owned()],
            code: "REFUSED".to_owned(),
            answer: Vec::new(),
        });
    };
    let zones: Vec<String> = server
        .plan
        .zones
        .iter()
        .map(|(zone, _)| zone.to_string())
        .collect();
    let trace = Trace::kept();
    let reply = engine.later(server, &query, &asker, &trace).await;
    let reply = reply.unwrap_or_default();
    let mut steps = vec![format!(
        "server block {}, line {}",
        zones.join(" "),
        server.plan.line
    )];
    steps.extend(trace.steps());
    Ok(Asked {
        name: name.to_owned(),
        steps,
        code: rcode_name(reply.get(3).map_or(2, |flags| flags & 0xf)).to_owned(),
        answer: lines(&reply),
    })
}

fn lines(reply: &[u8]) -> Vec<String> {
    let Ok(message) = Message::from_octets(reply) else {
        return Vec::new();
    };
    let Ok(answer) = message.answer() else {
        return Vec::new();
    };
    answer
        .limit_to::<AllRecordData<_, ParsedName<_>>>()
        .flatten()
        .map(|record| {
            let ttl = record.ttl().as_secs();
            format!(
                "{}. {ttl} IN {} {}",
                record.owner(),
                record.rtype(),
                record.data()
            )
        })
        .collect()
}

async fn current(client: &kube::Client, domain: &str) -> Result<Current, Error> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
    let map = maps.get_opt("coredns").await.map_err(|source| Error::Api {
        what: "ConfigMap coredns",
        source: Box::new(source),
    })?;
    let data = map.and_then(|map| map.data).unwrap_or_default();
    match data.get("Corefile") {
        Some(text) => {
            let plan = corefile::read(text, &|_| None).map_err(Error::Corefile)?;
            Ok(Current {
                plan: Arc::new(plan),
                files: Arc::new(data),
            })
        }
        None => Ok(Current::new(default_plan(domain).unwrap_or_default())),
    }
}

async fn filled(client: &kube::Client, options: &Options) -> Result<Engine, Error> {
    let around = Around {
        own: options.listen.clone(),
        private: options.private.clone(),
    };
    let mut zone = Zone::default();
    zone.keep_pod_names = true;
    for service in list::<ApiService>(client, "Services").await? {
        zone.set_service(&ObjectName::of(&service), Service::from_api(&service));
    }
    for slice in list::<EndpointSlice>(client, "EndpointSlices").await? {
        zone.set_slice(&ObjectName::of(&slice), Slice::from_api(&slice));
    }
    for namespace in list::<Namespace>(client, "Namespaces").await? {
        zone.set_namespace(&ObjectName::of(&namespace).name, true);
    }
    zone.services_complete();
    zone.slices_complete();
    let surroundings = Surroundings {
        domain: options.cluster_domain.clone(),
        node_searches: options.node_searches.clone(),
    };
    let engine = Engine::new(zone, around);
    for pod in list::<Pod>(client, "Pods").await? {
        let name = ObjectName::of(&pod);
        engine
            .clients
            .write()
            .set(&name, Client::of(&pod, &surroundings));
    }
    Ok(engine)
}

async fn list<K>(client: &kube::Client, what: &'static str) -> Result<Vec<K>, Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let listed = Api::<K>::all(client.clone())
        .list(&ListParams::default())
        .await;
    let listed = listed.map_err(|source| Error::Api {
        what,
        source: Box::new(source),
    })?;
    Ok(listed.items)
}
