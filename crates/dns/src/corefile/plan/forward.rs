//! The `forward` plugin's options.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::super::Error;
use super::super::syntax::Directive;
use super::{PORT, Words, ZoneName, parse_zone, zones};

/// As CoreDNS.
const UPSTREAMS_MAX: usize = 15;

/// Which upstream is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Any.
    #[default]
    Random,
    /// Each in turn.
    RoundRobin,
    /// The first that is well.
    Sequential,
}

/// Where names are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// An address, in clear or over TLS.
    Address(SocketAddr, bool),
    /// The name servers of a `resolv.conf(5)`.
    File(PathBuf),
}

/// How an upstream that failed is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// How often.
    pub interval: Duration,
    /// The name that is asked for.
    pub domain: ZoneName,
    /// Whether recursion is asked for.
    pub recursion: bool,
}

/// TLS to upstreams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate of ours, and its key.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// Whom to trust, in place of the system's authorities.
    pub authority: Option<PathBuf>,
    /// The name that the upstream's certificate must have.
    pub server_name: Option<String>,
}

/// `forward FROM TO… { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Names that are forwarded.
    pub from: ZoneName,
    /// Names below it that are not.
    pub except: Vec<ZoneName>,
    /// Upstreams.
    pub to: Vec<To>,
    /// Which is asked first.
    pub policy: Policy,
    /// Always over TCP.
    pub force_tcp: bool,
    /// Over UDP also what came over TCP.
    pub prefer_udp: bool,
    /// How long a connection is kept.
    pub expire: Duration,
    /// How many are kept.
    pub max_idle: usize,
    /// So many failures in a row make an upstream unwell; 0: it never is.
    pub max_fails: u32,
    /// How it gets well again.
    pub health_check: HealthCheck,
    /// Queries at once; 0: no limit but ours.
    pub max_concurrent: usize,
    /// Codes for which another upstream is asked.
    pub failover: Vec<u8>,
    /// Codes for which the next `forward` is asked.
    pub next: Vec<u8>,
    /// When all are unwell: fail at once, instead of trying all the same.
    pub failfast: bool,
    /// TLS, for addresses with `tls://`.
    pub tls: Tls,
}

pub fn read(directive: &Directive) -> Result<Forward, Error> {
    let mut words = Words::of(directive);
    let from = parse_zone(words.need("zone")?, directive.line)?;
    let Some(from) = from.into_iter().next() else {
        return Err(words.error("a zone is missing"));
    };
    let mut to = Vec::new();
    while let Some(word) = words.next() {
        to.push(
            upstream(word)
                .ok_or_else(|| words.error(format!("{word:?} is neither an address nor a file")))?,
        );
    }
    if to.is_empty() {
        return Err(words.error("an upstream is missing"));
    }
    if to.len() > UPSTREAMS_MAX {
        return Err(words.error(format!(
            "more than {UPSTREAMS_MAX} TOs configured: {}",
            to.len()
        )));
    }
    let mut forward = Forward {
        from,
        except: Vec::new(),
        to,
        policy: Policy::default(),
        force_tcp: false,
        prefer_udp: false,
        expire: Duration::from_secs(10),
        max_idle: 0,
        max_fails: 2,
        health_check: HealthCheck {
            interval: Duration::from_millis(500),
            domain: ZoneName::root(),
            recursion: true,
        },
        max_concurrent: 0,
        failover: Vec::new(),
        next: Vec::new(),
        failfast: false,
        tls: Tls::default(),
    };
    for inner in &directive.block {
        property(&mut forward, inner)?;
    }
    let over_tls = |to: &To| matches!(to, To::Address(_, true));
    if forward.to.iter().any(over_tls) && forward.tls.server_name.is_none() {
        return Err(words.error("tls:// needs tls_servername"));
    }
    Ok(forward)
}

/// `[dns://|tls://]ADDRESS[:PORT]`, or a file.
pub(crate) fn upstream(word: &str) -> Option<To> {
    let (tls, address) = match word.split_once("://") {
        Some(("dns", rest)) => (false, rest),
        Some(("tls", rest)) => (true, rest),
        Some(_) => return None,
        None => (false, word),
    };
    let port = if tls { 853 } else { PORT };
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Some(To::Address(address, tls));
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(To::Address(SocketAddr::new(address, port), tls));
    }
    (word.starts_with('/')).then(|| To::File(PathBuf::from(word)))
}

fn property(forward: &mut Forward, inner: &Directive) -> Result<(), Error> {
    let mut words = Words::of(inner);
    match inner.name.as_str() {
        "except" => {
            let names = words.rest();
            if names.is_empty() {
                return Err(words.error("a zone is missing"));
            }
            forward.except.extend(zones::all(names, inner.line)?);
        }
        "policy" => {
            forward.policy = match words.need("policy")? {
                "random" => Policy::Random,
                "round_robin" => Policy::RoundRobin,
                "sequential" => Policy::Sequential,
                other => return Err(words.error(format!("unknown policy {other:?}"))),
            }
        }
        "force_tcp" => forward.force_tcp = true,
        "prefer_udp" => forward.prefer_udp = true,
        "expire" => forward.expire = words.duration("duration")?,
        "max_idle_conns" => forward.max_idle = words.number("number")?,
        "max_fails" => forward.max_fails = words.number("number")?,
        // Each upstream is connected to once for a query, then the next one's turn comes.
        "max_connect_attempts" => words.number::<u32>("number").map(drop)?,
        "max_concurrent" => forward.max_concurrent = words.number("number")?,
        "health_check" => health_check(forward, &mut words)?,
        "next" => forward.next = codes(&mut words)?,
        "failover" => forward.failover = codes(&mut words)?,
        "failfast_all_unhealthy_upstreams" => forward.failfast = true,
        "tls" => tls(forward, &mut words)?,
        "tls_servername" => forward.tls.server_name = Some(words.need("name")?.to_owned()),
        _ => return Err(words.unknown()),
    }
    words.end()
}

fn health_check(forward: &mut Forward, words: &mut Words<'_>) -> Result<(), Error> {
    forward.health_check.interval = words.duration("duration")?;
    while let Some(word) = words.next() {
        match word {
            "no_rec" => forward.health_check.recursion = false,
            "domain" => {
                let name = words.need("domain")?;
                forward.health_check.domain = super::normalize(name)
                    .ok_or_else(|| words.error(format!("invalid domain name {name:?}")))?;
            }
            other => return Err(words.error(format!("unknown option {other:?}"))),
        }
    }
    Ok(())
}

/// `tls [CERT KEY] [CA]`, by the number of arguments as CoreDNS.
fn tls(forward: &mut Forward, words: &mut Words<'_>) -> Result<(), Error> {
    let files: Vec<PathBuf> = words.rest().iter().map(PathBuf::from).collect();
    match files.as_slice() {
        [] => {}
        [authority] => forward.tls.authority = Some(authority.clone()),
        [certificate, key] => forward.tls.pair = Some((certificate.clone(), key.clone())),
        [certificate, key, authority] => {
            forward.tls.pair = Some((certificate.clone(), key.clone()));
            forward.tls.authority = Some(authority.clone());
        }
        _ => return Err(words.error("at most a certificate, its key and an authority")),
    }
    Ok(())
}

fn codes(words: &mut Words<'_>) -> Result<Vec<u8>, Error> {
    let mut codes = Vec::new();
    while let Some(word) = words.next() {
        codes.push(rcode(word).ok_or_else(|| words.error(format!("{word} is not a valid rcode")))?);
    }
    match codes.is_empty() {
        true => Err(words.error("an rcode is missing")),
        false => Ok(codes),
    }
}

/// The number of a response code.
pub(crate) fn rcode(name: &str) -> Option<u8> {
    const CODES: [&str; 11] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE",
    ];
    let name = name.to_ascii_uppercase();
    let at = CODES.iter().position(|code| *code == name)?;
    u8::try_from(at).ok()
}
