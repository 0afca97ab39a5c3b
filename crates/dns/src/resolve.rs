//! Questions that take time: names of others, aliases that are followed, search walks, rewritten questions.
//!
//! The order of the plugins is CoreDNS's: rewrite, search walk, template, hosts, the cluster's names, loop, forward
//! with its cache. Each step can be told to a [`Trace`], which is how `karve dns query` explains an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::cache::Found;
use crate::engine::{Asker, Engine, FromZone, Server, asked};
use crate::forward::Unanswered;
use crate::metrics::{Plugin, rcode_name, type_name};
use crate::plugins::{rewrite, template};
use crate::said::{Record, Said, asked_instead, name_wire};
use crate::stored::{Aged, Stored};
use crate::wire::{Lookup, Query, Transport, rcode, rtype};

/// Aliases that are followed for one answer.
const DEPTH_MAX: u32 = 8;

/// The steps of one answer, for people.
#[derive(Debug, Default)]
pub struct Trace(Option<Mutex<Vec<String>>>);

impl Trace {
    /// One that keeps what it is told.
    pub fn kept() -> Trace {
        Trace(Some(Mutex::default()))
    }

    fn tell(&self, step: impl FnOnce() -> String) {
        if let Some(steps) = &self.0 {
            steps.lock().push(step());
        }
    }

    /// What was told.
    pub fn steps(self) -> Vec<String> {
        self.0.map(Mutex::into_inner).unwrap_or_default()
    }
}

/// An answer that is not yet a reply.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What an upstream said.
    Kept(Arc<Stored>, Aged),
    /// What was put together.
    Said(Said),
}

impl Answer {
    fn into_said(self) -> Said {
        match self {
            Answer::Said(said) => said,
            Answer::Kept(stored, _) => {
                Said::parse(stored.message()).unwrap_or_else(|| Said::code(rcode::SERVFAIL))
            }
        }
    }
}

/// One question under way.
struct Question<'a> {
    server: &'a Arc<Server>,
    query: Query<'a>,
    asker: &'a Asker,
    depth: u32,
}

type Answered = (Answer, Plugin);

impl Engine {
    /// Answers `bytes`, which [`Engine::quick`] has read before; `None` when nothing can be said.
    pub async fn later(
        self: &Arc<Self>,
        server: &Arc<Server>,
        bytes: &[u8],
        asker: &Asker,
        trace: &Trace,
    ) -> Option<Vec<u8>> {
        let started = Instant::now();
        let query = Query::read(bytes).ok()?;
        let question = Question {
            server,
            query,
            asker,
            depth: 0,
        };
        let (answer, plugin) = self.resolve(question, trace).await;
        let mut out = Vec::with_capacity(512);
        match answer {
            Answer::Kept(stored, aged) => stored.write(&mut out, &query, asker.transport, aged),
            Answer::Said(said) => said.write(&mut out, &query, asker.transport),
        }
        let took = started.elapsed();
        if plugin == Plugin::Cache {
            server.metrics.cache_hit(&out);
        }
        server.metrics.answered(asker.transport, &out, plugin, took);
        server.log(&query, asker, &out, took);
        Some(out)
    }

    async fn resolve(self: &Arc<Self>, question: Question<'_>, trace: &Trace) -> Answered {
        let (server, query) = (question.server, &question.query);
        let rules = &server.plan.rewrite;
        let mut asked = asked(query);
        if question.depth > 0 || rules.is_empty() || !rewrite::concerns(rules, &asked) {
            return self.answer(question, trace).await;
        }
        let rewritten = rewrite::apply(rules, &mut asked);
        trace.tell(|| format!("rewrite: asked for {} instead", asked.name));
        let Some(name) = name_wire(&asked.name) else {
            return self.answer(question, trace).await;
        };
        let bytes = asked_instead(query, &name, asked.qtype, asked.qclass);
        let Ok(query) = Query::read(&bytes) else {
            return self.answer(question, trace).await;
        };
        let inner = Question { query, ..question };
        let (answer, plugin) = self.answer(inner, trace).await;
        let mut said = answer.into_said();
        rewritten.turn_back(&mut said);
        (Answer::Said(said), plugin)
    }

    /// By the plugins after rewriting. Boxed, since aliases and walks come back here.
    fn answer<'a>(
        self: &'a Arc<Self>,
        question: Question<'a>,
        trace: &'a Trace,
    ) -> Pin<Box<dyn Future<Output = Answered> + Send + 'a>> {
        Box::pin(async move {
            if let Some(answered) = self.walk(&question, trace).await {
                return answered;
            }
            self.step(&question, trace).await
        })
    }

    async fn step(self: &Arc<Self>, question: &Question<'_>, trace: &Trace) -> Answered {
        let (server, query) = (question.server, &question.query);
        if let Some(said) = templated(question, trace) {
            return (Answer::Said(said), Plugin::Template);
        }
        if let Some(hosts) = &server.hosts {
            let hosts = hosts.read();
            if hosts.concerns(&query.name) {
                trace.tell(|| format!("hosts: {} says it", hosts.file().display()));
                return (Answer::Said(hosts.answer(query)), Plugin::Hosts);
            }
        }
        match self.ask_cluster(server, query, trace) {
            Cluster::Said(said) => (Answer::Said(said), Plugin::Kubernetes),
            Cluster::Alias(target) => self.follow(question, target, trace).await,
            Cluster::Next if server.is_looping(query) => {
                trace.tell(|| "loop: forwarding comes back here".to_owned());
                (Answer::Said(Said::code(rcode::SERVFAIL)), Plugin::None)
            }
            Cluster::Next => self.ask_upstreams(question, trace).await,
        }
    }

    fn ask_cluster(&self, server: &Server, query: &Query<'_>, trace: &Trace) -> Cluster {
        let mut out = Vec::new();
        let zone = self.zone.read();
        match server.ask_zone(&zone, query, Transport::Tcp, &mut out) {
            FromZone::Done(code) => {
                trace.tell(|| {
                    format!(
                        "kubernetes: {} {}: {}",
                        query.name.as_str(),
                        type_name(query.qtype),
                        rcode_name(code)
                    )
                });
                let said = Said::parse(&out);
                Cluster::Said(said.unwrap_or_else(|| Said::code(rcode::SERVFAIL)))
            }
            FromZone::Chase(target) => {
                trace.tell(|| format!("kubernetes: an ExternalName for {target}"));
                Cluster::Alias(target.as_slice().to_vec())
            }
            FromZone::Next => {
                trace.tell(|| format!("kubernetes: {} is not the cluster's", query.name.as_str()));
                Cluster::Next
            }
        }
    }

    /// An ExternalName with what its target has, wherever that is.
    async fn follow(
        self: &Arc<Self>,
        question: &Question<'_>,
        target: Vec<u8>,
        trace: &Trace,
    ) -> Answered {
        let (server, query) = (question.server, &question.query);
        let ttl = server.view.as_ref().map_or(0, |view| view.ttl);
        let alias = alias(query.name_wire(), ttl, &target);
        let mut said = match question.depth < DEPTH_MAX {
            // A chain so long is most likely a ring.
            false => Said::code(rcode::SERVFAIL),
            true => {
                let bytes = asked_instead(query, &target, query.qtype, query.qclass);
                self.instead(question, &bytes, trace).await
            }
        };
        said.authoritative = true;
        said.authentic = false;
        said.answer.insert(0, alias);
        (Answer::Said(said), Plugin::Kubernetes)
    }

    /// The answer to another question, by the server that has it.
    async fn instead(
        self: &Arc<Self>,
        question: &Question<'_>,
        bytes: &[u8],
        trace: &Trace,
    ) -> Said {
        let Ok(query) = Query::read(bytes) else {
            return Said::code(rcode::SERVFAIL);
        };
        let config = self.config();
        let own = config.server(question.asker.port, query.name.as_str());
        let inner = Question {
            server: own.unwrap_or(question.server),
            query,
            asker: question.asker,
            depth: question.depth + 1,
        };
        self.answer(inner, trace).await.0.into_said()
    }

    /// The first step of a search walk, answered with the walk's end. `None`: it is no walk, or its end is not
    /// certain, so that the asker has to take the steps itself.
    async fn walk(self: &Arc<Self>, question: &Question<'_>, trace: &Trace) -> Option<Answered> {
        let (server, query) = (question.server, &question.query);
        if question.depth > 0 || !self.may_walk(server, query, question.asker) {
            return None;
        }
        // The name itself must not exist, in the cluster's zone.
        let mut scratch = Vec::new();
        let first = server.ask_zone(&self.zone.read(), query, Transport::Tcp, &mut scratch);
        if first != FromZone::Done(rcode::NXDOMAIN) {
            return None;
        }
        let names = {
            let clients = self.clients.read();
            let client = clients.at(question.asker.address.ip())?;
            client.walk(query.name.as_str())?
        };
        trace.tell(|| format!("search walk: next are {}", names.join(", ")));
        let (last, before) = names.split_last()?;
        for name in before {
            let said = self.one_of_walk(question, name, trace).await?;
            match said.rcode {
                rcode::NXDOMAIN => {}
                rcode::NOERROR if holds(&said, query.qtype) => {
                    return Some(self.walked(question, name, said));
                }
                // It exists without such a record: whether the walk goes on is the asker's to know.
                _ => return None,
            }
        }
        let said = self.one_of_walk(question, last, trace).await?;
        match said.rcode {
            rcode::NOERROR => Some(self.walked(question, last, said)),
            _ => None,
        }
    }

    async fn one_of_walk(
        self: &Arc<Self>,
        question: &Question<'_>,
        name: &str,
        trace: &Trace,
    ) -> Option<Said> {
        let wire = name_wire(name)?;
        let query = &question.query;
        let bytes = asked_instead(query, &wire, query.qtype, query.qclass);
        Some(self.instead(question, &bytes, trace).await)
    }

    fn walked(&self, question: &Question<'_>, name: &str, mut said: Said) -> Answered {
        self.metrics.walks.inc();
        let ttl = question.server.view.as_ref().map_or(0, |view| view.ttl);
        if let Some(target) = name_wire(name) {
            let alias = alias(question.query.name_wire(), ttl, &target);
            said.answer.insert(0, alias);
        }
        said.authoritative = false;
        said.authentic = false;
        (Answer::Said(said), Plugin::Forward)
    }

    /// From what is kept, or from upstreams.
    async fn ask_upstreams(self: &Arc<Self>, question: &Question<'_>, trace: &Trace) -> Answered {
        let (server, query) = (question.server, &question.query);
        let code = |code| (Answer::Said(Said::code(code)), Plugin::None);
        if server.upstreams(query).next().is_none() || self.is_leftover(question) {
            let private = server.is_private(query) || self.is_leftover(question);
            trace.tell(|| match private {
                true => "private: nobody outside is asked for this name".to_owned(),
                false => "forward: there is no upstream".to_owned(),
            });
            return code(if private {
                rcode::NXDOMAIN
            } else {
                rcode::REFUSED
            });
        }
        let lookup = Lookup::of(query);
        let covers = |name: &str| server.cache.as_ref().filter(|cache| cache.covers(name));
        let cache = covers(query.name.as_str());
        let found = match cache {
            None => Found::Miss,
            Some(cache) => {
                server.metrics.cache_requests.inc();
                cache.find(&lookup, Instant::now())
            }
        };
        let stale = match found {
            Found::Fresh(stored, aged) => {
                trace.tell(|| format!("cache: kept for {}s", aged.age.as_secs()));
                return (Answer::Kept(stored, aged), Plugin::Cache);
            }
            Found::Prefetch(stored, aged) => {
                server.metrics.cache_prefetches.inc();
                self.refresh(question, &lookup);
                return (Answer::Kept(stored, aged), Plugin::Cache);
            }
            Found::Stale {
                stored,
                aged,
                verify: false,
            } => {
                server.metrics.cache_stale.inc();
                self.refresh(question, &lookup);
                return (Answer::Kept(stored, aged), Plugin::Cache);
            }
            Found::Stale { stored, aged, .. } => Some((stored, aged)),
            Found::Miss => None,
        };
        if cache.is_some() {
            server.metrics.cache_misses.inc();
            trace.tell(|| "cache: not kept".to_owned());
        }
        if !self
            .limit
            .allows(question.asker.address.ip(), Instant::now())
        {
            self.metrics.limited.inc();
            return code(rcode::REFUSED);
        }
        let datagram = question.asker.transport == Transport::Udp;
        match (fetch(server, query, &lookup, datagram, trace).await, stale) {
            (Ok(stored), Some((_, _))) if stored.rcode() != rcode::SERVFAIL => {
                (Answer::Kept(stored, Aged::default()), Plugin::Forward)
            }
            // An upstream that is away does not take back what it said.
            (_, Some((stored, aged))) => {
                server.metrics.cache_stale.inc();
                (Answer::Kept(stored, aged), Plugin::Cache)
            }
            (Ok(stored), None) => (Answer::Kept(stored, Aged::default()), Plugin::Forward),
            (Err(why), None) => {
                trace.tell(|| format!("forward: {why}"));
                let unanswered = match why {
                    Unanswered::Nobody => rcode::REFUSED,
                    Unanswered::Busy | Unanswered::Silent => rcode::SERVFAIL,
                };
                (Answer::Said(Said::code(unanswered)), Plugin::Forward)
            }
        }
    }

    /// A cluster's name with one of the node's search domains behind it: a step of a walk that only a cluster's name
    /// can have begun. Nobody outside needs to see it.
    fn is_leftover(&self, question: &Question<'_>) -> bool {
        let Some(view) = &question.server.view else {
            return false;
        };
        let clients = self.clients.read();
        let Some(client) = clients.at(question.asker.address.ip()) else {
            return false;
        };
        let name = question.query.name.as_str();
        client.searches.iter().any(|search| {
            let before = name
                .strip_suffix(search.as_str())
                .and_then(|rest| rest.strip_suffix('.'));
            before.is_some_and(|before| {
                !search.is_empty()
                    && before
                        .strip_suffix(view.domain())
                        .is_some_and(|rest| rest.ends_with(".svc."))
            })
        })
    }

    /// Asks anew behind an answer that was given from what is kept.
    fn refresh(self: &Arc<Self>, question: &Question<'_>, lookup: &Lookup) {
        let (server, lookup) = (question.server.clone(), lookup.clone());
        let bytes = question.query.bytes.to_vec();
        tokio::spawn(async move {
            if let Ok(query) = Query::read(&bytes) {
                // A failure leaves what is kept as it is.
                let _ = fetch(&server, &query, &lookup, true, &Trace::default()).await;
            }
        });
    }
}

/// What the cluster's names make of a question.
enum Cluster {
    Said(Said),
    Alias(Vec<u8>),
    Next,
}

fn templated(question: &Question<'_>, trace: &Trace) -> Option<Said> {
    let query = &question.query;
    let asker = question.asker.address.ip();
    for each in &question.server.plan.template {
        if !template::concerns(each, query) {
            continue;
        }
        if let template::Outcome::Said(said) = template::answer(each, query, asker) {
            trace.tell(|| "template: says it".to_owned());
            return Some(said);
        }
    }
    None
}

/// Asks the upstreams for the name, one `forward` after the other as `next` has it, and keeps the answer.
async fn fetch(
    server: &Arc<Server>,
    query: &Query<'_>,
    lookup: &Lookup,
    datagram: bool,
    trace: &Trace,
) -> Result<Arc<Stored>, Unanswered> {
    let mut outcome = Err(Unanswered::Nobody);
    for forwarder in server.upstreams(query) {
        outcome = forwarder.ask(lookup, datagram).await;
        trace.tell(|| {
            let asked: Vec<String> = forwarder
                .upstreams()
                .map(|(address, well)| match well {
                    true => address.to_string(),
                    false => format!("{address} (unwell)"),
                })
                .collect();
            let said = match &outcome {
                Ok(stored) => rcode_name(stored.rcode()).to_owned(),
                Err(why) => why.to_string(),
            };
            format!(
                "forward: {} asked of {}: {said}",
                query.name.as_str(),
                asked.join(", ")
            )
        });
        let next = &forwarder.options.next;
        match &outcome {
            Ok(stored) if !next.contains(&stored.rcode()) => break,
            _ => {}
        }
    }
    let name = query.name.as_str();
    let cache = server.cache.as_ref().filter(|cache| cache.covers(name));
    if let (Some(cache), Ok(stored)) = (cache, &outcome) {
        cache.keep(lookup, name, stored, Instant::now());
        server.metrics.cache_len(cache.len());
    }
    outcome
}

fn alias(owner: &[u8], ttl: u32, target: &[u8]) -> Record {
    Record {
        owner: owner.to_vec(),
        rtype: rtype::CNAME,
        ttl,
        data: target.to_vec(),
    }
}

/// Whether the answer holds a record of the type.
fn holds(said: &Said, qtype: u16) -> bool {
    said.answer.iter().any(|record| record.rtype == qtype)
}
