//! Who answers a question: the servers of a Corefile over the cluster's names.
//!
//! [`Engine::quick`] answers at once what needs nobody else, which is nearly everything: the cluster's names, and
//! kept answers of others. The rest goes to [`crate::resolve`], which may wait.
//!
//! Invariants: no cache stands between the API and a cluster name; no name of the cluster is asked of an upstream.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ipnet::IpNet;
use parking_lot::RwLock;

use crate::answer::Shown;
use crate::cache::{Cache, Found};
use crate::corefile::plan::parse_zone;
use crate::corefile::{self, Plan};
use crate::forward::Forwarder;
use crate::limit::Limit;
use crate::metrics::{Metrics, Plugin, ServerMetrics};
use crate::plugins::hosts::Hosts;
use crate::plugins::rewrite::{self, Asked};
use crate::plugins::template;
use crate::reply::{self, Reply};
use crate::said::name_wire;
use crate::walk::Clients;
use crate::wire::{IN, Lookup, Odd, Query, Transport, rcode, rtype};
use crate::zone::{OwnedName, Verdict, View, Want, Zone};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// From where.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The port that was asked.
    pub port: u16,
}

/// What comes of a question.
#[derive(Debug)]
pub enum Step {
    /// The reply is written.
    Reply,
    /// Nothing is said.
    Drop,
    /// It takes time.
    Later(Arc<Server>),
}

/// What is known of the world around, whatever the Corefile says.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The server's own addresses: the zone's name server, and nobody's upstream.
    pub own: Vec<IpAddr>,
    /// Addresses of the cluster, whose names nobody else is asked for.
    pub private: Vec<IpNet>,
}

/// The whole.
#[derive(Debug)]
pub struct Engine {
    /// The cluster's names.
    pub zone: RwLock<Zone>,
    /// Pods' search lists.
    pub clients: RwLock<Clients>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    pub(crate) limit: Limit,
    config: RwLock<Arc<Config>>,
    around: Around,
}

impl Engine {
    /// An engine that refuses everything until it is given a configuration.
    pub fn new(zone: Zone, around: Around) -> Engine {
        Engine {
            zone: RwLock::new(zone),
            clients: RwLock::default(),
            metrics: Arc::new(Metrics::default()),
            limit: Limit::default(),
            config: RwLock::default(),
            around,
        }
    }

    /// Makes servers of a plan; nothing is in force yet.
    /// `resolvers` tells the name servers of a file, `files` a file's text.
    pub fn prepare(
        &self,
        plan: &Plan,
        resolvers: &dyn Fn(&Path) -> Vec<SocketAddr>,
        files: &dyn Fn(&Path) -> Option<String>,
    ) -> Config {
        let servers = plan.servers.iter().map(|server| {
            let made = Server::new(server.clone(), self, resolvers, files);
            Arc::new(made)
        });
        Config {
            servers: servers.collect(),
        }
    }

    /// Puts a configuration in force.
    pub fn set(&self, config: Arc<Config>) {
        *self.config.write() = config;
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().clone()
    }

    /// Answers `bytes` into `out`, if that takes nobody else.
    pub fn quick(
        &self,
        config: &Config,
        zone: &Zone,
        bytes: &[u8],
        asker: &Asker,
        out: &mut Vec<u8>,
    ) -> Step {
        let started = Instant::now();
        let query = match Query::read(bytes) {
            Ok(query) => query,
            Err(Odd::Silence) => return Step::Drop,
            Err(Odd::Code(code)) => return bare(out, bytes, code),
        };
        if query.edns.is_some_and(|edns| edns.version > 0) {
            // RFC 6891, 6.1.3.
            let mut reply = Reply::start(out, &query, asker.transport, rcode::NOERROR);
            reply.not_authoritative();
            reply.finish((rcode::BADVERS >> 4) as u8);
            return Step::Reply;
        }
        let Some(server) = config.server(asker.port, query.name.as_str()) else {
            return refuse(out, &query, asker.transport, rcode::REFUSED);
        };
        let v6 = asker.address.is_ipv6();
        server
            .metrics
            .asked(asker.transport, v6, query.qtype, bytes.len());
        let Some(plugin) = self.at_once(server, zone, &query, asker, out) else {
            return Step::Later(server.clone());
        };
        server
            .metrics
            .answered(asker.transport, out, plugin, started.elapsed());
        server.log(&query, asker, out, started.elapsed());
        Step::Reply
    }

    /// The plugin that answered into `out`.
    fn at_once(
        &self,
        server: &Arc<Server>,
        zone: &Zone,
        query: &Query<'_>,
        asker: &Asker,
        out: &mut Vec<u8>,
    ) -> Option<Plugin> {
        if server.takes_turns(query) {
            return None;
        }
        match server.ask_zone(zone, query, asker.transport, out) {
            FromZone::Done(rcode::NXDOMAIN) if self.may_walk(server, query, asker) => None,
            FromZone::Done(_) => Some(Plugin::Kubernetes),
            FromZone::Chase(_) => None,
            FromZone::Next if query.qclass != IN => {
                refuse(out, query, asker.transport, rcode::REFUSED);
                Some(Plugin::None)
            }
            FromZone::Next => {
                let cache = server.cache.as_ref()?;
                if server.is_private(query) || !cache.covers(query.name.as_str()) {
                    return None;
                }
                match cache.find(&Lookup::of(query), Instant::now()) {
                    Found::Fresh(stored, aged) => {
                        stored.write(out, query, asker.transport, aged);
                        server.metrics.cache_requests.inc();
                        server.metrics.cache_hit(out);
                        Some(Plugin::Cache)
                    }
                    _ => None,
                }
            }
        }
    }

    /// Whether a name that does not exist may be the first step of a search walk.
    pub(crate) fn may_walk(&self, server: &Server, query: &Query<'_>, asker: &Asker) -> bool {
        let asks = matches!(query.qtype, rtype::A | rtype::AAAA) && query.recursion();
        if !server.plan.autopath || !asks {
            return false;
        }
        let clients = self.clients.read();
        let client = clients.at(asker.address.ip());
        client.is_some_and(|client| client.walk(query.name.as_str()).is_some())
    }
}

fn bare(out: &mut Vec<u8>, bytes: &[u8], code: u8) -> Step {
    let Some(head) = reply::bare(bytes, code) else {
        return Step::Drop;
    };
    out.clear();
    out.extend_from_slice(&head);
    Step::Reply
}

pub(crate) fn refuse(out: &mut Vec<u8>, query: &Query<'_>, transport: Transport, code: u8) -> Step {
    let mut reply = Reply::start(out, query, transport, code);
    reply.not_authoritative();
    reply.finish(0);
    Step::Reply
}

/// The servers in force.
#[derive(Debug, Default)]
pub struct Config {
    /// In the Corefile's order.
    pub servers: Vec<Arc<Server>>,
}

impl Config {
    /// The server with the longest zone that holds the lowered `name`.
    pub fn server(&self, port: u16, name: &str) -> Option<&Arc<Server>> {
        let mut best: Option<(usize, &Arc<Server>)> = None;
        for server in &self.servers {
            for (zone, zone_port) in &server.plan.zones {
                let len = zone.as_str().len();
                let longer = best.is_none_or(|(known, _)| len > known);
                if *zone_port == port && longer && zone.covers(name) {
                    best = Some((len, server));
                }
            }
        }
        best.map(|(_, server)| server)
    }

    /// The ports that are served.
    pub fn ports(&self) -> Vec<u16> {
        let zones = self.servers.iter().flat_map(|server| &server.plan.zones);
        let mut ports: Vec<u16> = zones.map(|(_, port)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// What the cluster's names make of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FromZone {
    /// The reply is written, with this code.
    Done(u8),
    /// An alias that leads elsewhere.
    Chase(OwnedName),
    /// The next plugin's turn.
    Next,
}

/// The looking for loops.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The name that nobody else asks for, lowered.
    pub name: String,
    seen: AtomicBool,
}

/// One server block, ready to answer.
#[derive(Debug)]
pub struct Server {
    /// Its options.
    pub plan: corefile::Server,
    /// Figures.
    pub metrics: ServerMetrics,
    /// Kept answers.
    pub cache: Option<Cache>,
    pub(crate) view: Option<View>,
    pub(crate) hosts: Option<RwLock<Hosts>>,
    pub(crate) forwarders: Vec<Arc<Forwarder>>,
    pub(crate) probe: Option<Probe>,
    /// Reverse zones of the cluster's own addresses.
    private: Vec<corefile::plan::ZoneName>,
    /// The plugin's reverse zones on the wire, for their denials.
    apexes: Vec<(corefile::plan::ZoneName, Vec<u8>)>,
}

impl Server {
    fn new(
        plan: corefile::Server,
        engine: &Engine,
        resolvers: &dyn Fn(&Path) -> Vec<SocketAddr>,
        files: &dyn Fn(&Path) -> Option<String>,
    ) -> Server {
        let around = &engine.around;
        let (zone, port) = &plan.zones[0];
        let metrics = engine
            .metrics
            .server(format!("dns://:{port}"), zone.to_string());
        let own: Vec<SocketAddr> = around
            .own
            .iter()
            .map(|ip| SocketAddr::new(*ip, *port))
            .collect();
        let forwarders = plan.forward.iter().map(|options| {
            let metrics = engine.metrics.clone();
            Arc::new(Forwarder::new(options.clone(), resolvers, &own, metrics))
        });
        let forwarders: Vec<Arc<Forwarder>> = forwarders.collect();
        let kubernetes = plan.kubernetes.as_ref();
        let zones = kubernetes.map_or(&[][..], |options| &options.zones);
        let private = around.private.iter().flat_map(|net| {
            let range = net.trunc().to_string();
            parse_zone(&range, 0).unwrap_or_default()
        });
        let hosts = plan.hosts.clone().map(|options| {
            let text = files(&options.file).unwrap_or_default();
            let hosts = Hosts::new(options, &text);
            engine
                .metrics
                .hosts_entries
                .with_label_values::<&str>(&[])
                .set(hosts.len() as i64);
            RwLock::new(hosts)
        });
        let probe = (plan.detect_loop && !forwarders.is_empty()).then(|| Probe {
            name: format!("{}.{}", rand::random::<u64>(), rand::random::<u64>()),
            seen: AtomicBool::new(false),
        });
        Server {
            view: kubernetes.and_then(|options| View::new(options, &around.own)),
            apexes: zones
                .iter()
                .filter_map(|zone| Some((zone.clone(), name_wire(zone.as_str())?)))
                .collect(),
            cache: plan.cache.clone().map(Cache::new),
            private: private.collect(),
            hosts,
            forwarders,
            probe,
            metrics,
            plan,
        }
    }

    /// Whether a plugin before the cluster's names concerns the question.
    fn takes_turns(&self, query: &Query<'_>) -> bool {
        if !self.plan.rewrite.is_empty() && rewrite::concerns(&self.plan.rewrite, &asked(query)) {
            return true;
        }
        let templates = &self.plan.template;
        if templates.iter().any(|each| template::concerns(each, query)) {
            return true;
        }
        let hosts = self.hosts.as_ref();
        hosts.is_some_and(|hosts| hosts.read().concerns(&query.name))
    }

    /// Answers from the cluster's names.
    pub(crate) fn ask_zone(
        &self,
        zone: &Zone,
        query: &Query<'_>,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> FromZone {
        let (Some(view), Some(options)) = (&self.view, &self.plan.kubernetes) else {
            return FromZone::Next;
        };
        let name = query.name.as_str();
        let covering = self.apexes.iter().filter(|(zone, _)| zone.covers(name));
        let Some((_, apex)) = covering.max_by_key(|(zone, _)| zone.as_str().len()) else {
            return FromZone::Next;
        };
        let shown = Shown {
            view,
            shuffle: self.plan.loadbalance,
        };
        let refused = query.qclass != IN || matches!(query.qtype, rtype::AXFR | rtype::IXFR);
        if refused {
            refuse(out, query, transport, rcode::REFUSED);
            return FromZone::Done(rcode::REFUSED);
        }
        let verdict = zone.look_up(view, &query.name, Want::of(query.qtype));
        let missing = matches!(verdict, Verdict::NoSuchName | Verdict::Elsewhere);
        if missing && options.fallthrough.holds(name) && !self.is_private(query) {
            return FromZone::Next;
        }
        let code = match verdict {
            Verdict::NotSynced => {
                refuse(out, query, transport, rcode::SERVFAIL);
                rcode::SERVFAIL
            }
            Verdict::Elsewhere | Verdict::NoSuchName => {
                shown.negative(out, query, transport, rcode::NXDOMAIN, apex);
                rcode::NXDOMAIN
            }
            Verdict::NoData if query.qtype != rtype::ANY => {
                shown.negative(out, query, transport, rcode::NOERROR, apex);
                rcode::NOERROR
            }
            Verdict::Alias(target) if query.qtype != rtype::CNAME && query.recursion() => {
                return FromZone::Chase(target.clone());
            }
            // Alone when only the alias is asked for, or nothing may be asked of others.
            Verdict::Alias(target) => {
                shown.alias(out, query, transport, target);
                rcode::NOERROR
            }
            Verdict::Addresses(addresses) if query.qtype != rtype::ANY => {
                shown.addresses(out, query, transport, addresses);
                rcode::NOERROR
            }
            Verdict::Records {
                records,
                additional,
            } if query.qtype != rtype::ANY => {
                shown.records(out, query, transport, records, &additional);
                rcode::NOERROR
            }
            Verdict::NoData | Verdict::Addresses(_) | Verdict::Records { .. } => {
                shown.any(out, query, transport);
                rcode::NOERROR
            }
        };
        FromZone::Done(code)
    }

    /// Whether nobody else may be asked for the name: it lies in the cluster's domain, or names one of its addresses.
    pub(crate) fn is_private(&self, query: &Query<'_>) -> bool {
        let name = query.name.as_str();
        let domain = self.view.as_ref().map(View::domain);
        let inside = domain.is_some_and(|domain| {
            name.strip_suffix(domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        inside || (name.ends_with(".arpa") && self.private.iter().any(|zone| zone.covers(name)))
    }

    /// The upstreams for a name, in the Corefile's order. Names of the cluster have none but those that are given
    /// for a zone inside it.
    pub(crate) fn upstreams(&self, query: &Query<'_>) -> impl Iterator<Item = &Arc<Forwarder>> {
        let private = self.is_private(query);
        let name = query.name;
        self.forwarders.iter().filter(move |forwarder| {
            let from = forwarder.options.from.as_str();
            let meant = self.view.as_ref().is_some_and(|view| {
                from.len() > view.domain().len() && from.ends_with(view.domain())
            });
            forwarder.takes(name.as_str()) && (!private || meant)
        })
    }

    /// Whether forwarding comes back: the probe's name is known to nobody else, so that whoever asks for it had it from
    /// us. It goes straight to the upstreams, hence once is enough.
    pub(crate) fn is_looping(&self, query: &Query<'_>) -> bool {
        let Some(probe) = &self.probe else {
            return false;
        };
        let own = query.qtype == rtype::HINFO && query.name.as_str() == probe.name;
        if own && !probe.seen.swap(true, Ordering::Relaxed) {
            tracing::error!(
                name = probe.name,
                "forwarding loops back: an upstream asks this server; outside names are answered SERVFAIL until the \
                 upstreams change"
            );
        }
        probe.seen.load(Ordering::Relaxed)
    }

    /// Tells of an answer, if the Corefile wants that.
    pub(crate) fn log(
        &self,
        query: &Query<'_>,
        asker: &Asker,
        reply: &[u8],
        took: std::time::Duration,
    ) {
        let Some(log) = &self.plan.log else { return };
        let name = query.name.as_str();
        let code = reply.get(3).map_or(rcode::SERVFAIL, |flags| flags & 0xf);
        let empty = reply.get(6..8) == Some(&[0, 0]);
        let wanted = match code {
            rcode::NXDOMAIN => log.denial,
            rcode::NOERROR => log.success || (log.denial && empty),
            _ => log.error,
        };
        if wanted && log.zones.iter().any(|zone| zone.covers(name)) {
            tracing::info!(
                target: "karve_dns::log",
                client = %asker.address,
                id = query.id(),
                name,
                r#type = crate::metrics::type_name(query.qtype),
                rcode = crate::metrics::rcode_name(code),
                size = reply.len(),
                us = took.as_micros() as u64,
                "answered"
            );
        }
    }
}

/// Sends each server's probe to its upstreams, in tasks of their own.
pub fn probe_loops(engine: &Engine) {
    for server in &engine.config().servers {
        let Some(probe) = &server.probe else { continue };
        let Some(name) = name_wire(&probe.name) else {
            continue;
        };
        let lookup = Lookup {
            name: name.into(),
            qtype: rtype::HINFO,
            qclass: IN,
            dnssec_ok: false,
            checking_disabled: false,
            authentic_data: false,
        };
        for forwarder in server.forwarders.iter().filter(|f| f.takes(&probe.name)) {
            let (forwarder, lookup) = (forwarder.clone(), lookup.clone());
            tokio::spawn(async move {
                // What it answers does not matter; whether it comes back here does.
                let _ = forwarder.ask(&lookup, true).await;
            });
        }
    }
}

/// The question as rewrite rules see it.
pub(crate) fn asked(query: &Query<'_>) -> Asked {
    Asked {
        name: format!("{}.", query.name.as_str()),
        qtype: query.qtype,
        qclass: query.qclass,
    }
}
