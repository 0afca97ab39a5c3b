//! Server blocks to servers: zones, ports, and each plugin's typed options.

mod arguments;
mod cache;
mod forward;
mod hosts;
mod kubernetes;
mod rewrite;
mod small;
mod template;
mod zones;

use std::net::SocketAddr;
use std::time::Duration;

pub use cache::{Cache, Prefetch, Side, Stale};
pub use forward::{Forward, HealthCheck, Policy, Tls, To};
pub use hosts::Hosts;
pub use kubernetes::{Kubernetes, Pods};
pub use rewrite::{Action, AnswerRule, Matcher, Rule, Subject};
pub use small::{Health, Log, Ready};
pub use template::{Rdata, Record, Segment, Template, TemplateText};
pub use zones::{ZoneName, normalize, parse_zone};

use self::arguments::Words;
use super::Error;
use super::syntax::{Block, Directive};

/// The port of a server whose zone names none.
pub const PORT: u16 = 53;

/// The servers of a Corefile.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the text's order.
    pub servers: Vec<Server>,
}

/// One server block.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Where it stands.
    pub line: u32,
    /// Zones and the ports that they are answered on.
    pub zones: Vec<(ZoneName, u16)>,
    /// Addresses to listen on; empty: those that the process was told.
    pub bind: Vec<std::net::IpAddr>,
    /// Failures are logged.
    pub errors: bool,
    /// Queries are logged.
    pub log: Option<Log>,
    /// `/health`.
    pub health: Option<Health>,
    /// `/ready`.
    pub ready: Option<Ready>,
    /// `/metrics`.
    pub prometheus: Option<SocketAddr>,
    /// Answers come in another order each time.
    pub loadbalance: bool,
    /// Looks whether queries come back.
    pub detect_loop: bool,
    /// The Corefile is followed.
    pub reload: bool,
    /// Search walks are answered at their first step.
    pub autopath: bool,
    /// Rules that change queries, in order.
    pub rewrite: Vec<Rule>,
    /// Made-up answers, in order.
    pub template: Vec<Template>,
    /// Names from a hosts file.
    pub hosts: Option<Hosts>,
    /// Names of the cluster.
    pub kubernetes: Option<Kubernetes>,
    /// Names from elsewhere, in order.
    pub forward: Vec<Forward>,
    /// Answers from elsewhere are kept.
    pub cache: Option<Cache>,
}

/// Names for which a plugin that finds nothing lets the next one try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallthrough(pub Vec<ZoneName>);

impl Fallthrough {
    fn read(directive: &Directive) -> Result<Fallthrough, Error> {
        let words = &directive.arguments;
        if words.is_empty() {
            return Ok(Fallthrough(vec![ZoneName::root()]));
        }
        zones::all(words, directive.line).map(Fallthrough)
    }

    /// Whether it holds for the lowered `name`.
    pub fn holds(&self, name: &str) -> bool {
        self.0.iter().any(|zone| zone.covers(name))
    }
}

/// Reads the blocks.
///
/// # Errors
/// The first line that is not understood.
pub fn plan(blocks: &[Block]) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let mut seen = Vec::new();
    for block in blocks {
        let server = server(block)?;
        for key in &server.zones {
            if seen.contains(key) && server.bind.is_empty() {
                let message = format!("{}:{} is served by another block", key.0, key.1);
                return Err(Error::at(server.line, message));
            }
            seen.push(key.clone());
        }
        plan.servers.push(server);
    }
    if plan.servers.is_empty() {
        return Err(Error::at(1, "the Corefile has no server"));
    }
    Ok(plan)
}

fn server(block: &Block) -> Result<Server, Error> {
    let line = block.keys.first().map_or(1, |key| key.line);
    let mut server = Server {
        line,
        ..Server::default()
    };
    for key in &block.keys {
        server.zones.extend(zones::key(&key.text, key.line)?);
    }
    if server.zones.is_empty() {
        return Err(Error::at(line, "a server has no zone"));
    }
    let own: Vec<ZoneName> = server.zones.iter().map(|(zone, _)| zone.clone()).collect();
    let mut once = Vec::new();
    for directive in &block.directives {
        let many = matches!(directive.name.as_str(), "forward" | "rewrite" | "template");
        if !many && once.contains(&directive.name.as_str()) {
            let message = format!("{} stands twice in one server", directive.name);
            return Err(Error::at(directive.line, message));
        }
        once.push(directive.name.as_str());
        plugin(&mut server, directive, &own)?;
    }
    Ok(server)
}

fn plugin(server: &mut Server, directive: &Directive, own: &[ZoneName]) -> Result<(), Error> {
    match directive.name.as_str() {
        "errors" => server.errors = small::errors(directive)?,
        "log" => server.log = Some(small::log(directive, own)?),
        "health" => server.health = Some(small::health(directive)?),
        "ready" => server.ready = Some(small::ready(directive)?),
        "prometheus" => server.prometheus = Some(small::prometheus(directive)?),
        "loadbalance" => server.loadbalance = small::loadbalance(directive)?,
        "loop" => server.detect_loop = small::bare(directive)?,
        "reload" => server.reload = small::reload(directive)?,
        "bind" => server.bind = small::bind(directive)?,
        "autopath" => server.autopath = small::autopath(directive)?,
        "rewrite" => server.rewrite.extend(rewrite::read(directive)?),
        "template" => server.template.push(template::read(directive, own)?),
        "hosts" => server.hosts = Some(hosts::read(directive, own)?),
        "kubernetes" => server.kubernetes = Some(kubernetes::read(directive, own)?),
        "forward" => server.forward.push(forward::read(directive)?),
        "cache" => server.cache = Some(cache::read(directive, own)?),
        "import" => return Err(Error::at(directive.line, "import is not supported")),
        name => {
            let message = format!(
                "plugin {name} is not supported; these are: autopath, bind, cache, errors, forward, health, hosts, \
                 kubernetes, loadbalance, log, loop, prometheus, ready, reload, rewrite, template"
            );
            return Err(Error::at(directive.line, message));
        }
    }
    Ok(())
}

/// The duration that Go's `time.ParseDuration` reads, without a sign.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (_, worth) = UNITS.iter().find(|(name, _)| *name == &rest[..unit])?;
        seconds += number * worth;
        rest = &rest[unit..];
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}
