//! Plugins of a line or two: errors, log, health, ready, prometheus, loadbalance, loop, reload, bind, autopath.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::super::Error;
use super::super::syntax::Directive;
use super::{Words, ZoneName, zones};

/// `log`: which answers are told, in CoreDNS's common or combined line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// For names of these.
    pub zones: Vec<ZoneName>,
    /// Success (also NODATA).
    pub success: bool,
    /// NXDOMAIN and NODATA.
    pub denial: bool,
    /// SERVFAIL, REFUSED and the like.
    pub error: bool,
}

/// `health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Where.
    pub listen: SocketAddr,
    /// How long it still serves while it says that it ends.
    pub lameduck: Duration,
}

/// `ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where.
    pub listen: SocketAddr,
}

/// An address to listen on, as Go reads it: `:8080` is any address.
fn listen(words: &mut Words<'_>, default: u16) -> Result<SocketAddr, Error> {
    let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let Some(word) = words.next() else {
        return Ok(any(default));
    };
    if let Some(port) = word.strip_prefix(':') {
        let port = port.parse();
        return port
            .map(any)
            .map_err(|_| words.error(format!("{word:?} is no address")));
    }
    let word = word.replace("localhost", &Ipv4Addr::LOCALHOST.to_string());
    word.parse()
        .map_err(|_| words.error(format!("{word:?} is no address")))
}

pub fn bare(directive: &Directive) -> Result<bool, Error> {
    Words::of(directive).end().map(|()| true)
}

pub fn errors(directive: &Directive) -> Result<bool, Error> {
    let mut words = Words::of(directive);
    if words.next().is_some_and(|word| word != "stdout") {
        return Err(words.error("only stdout is supported"));
    }
    words.end().map(|()| true)
}

pub fn log(directive: &Directive, own: &[ZoneName]) -> Result<Log, Error> {
    let mut words = Words::of(directive);
    let mut names = words.rest().to_vec();
    // A format may follow the zone.
    match names.last().map(String::as_str) {
        Some("{common}" | "{combined}") => names.truncate(names.len() - 1),
        Some(format) if format.contains('{') => {
            return Err(words.error("formats other than {common} and {combined} are not supported"));
        }
        _ => {}
    }
    let mut log = Log {
        zones: zones::given(&names, own, directive.line)?,
        success: false,
        denial: false,
        error: false,
    };
    let mut classes: Vec<&str> = Vec::new();
    for inner in &directive.block {
        let words = Words::of(inner);
        match inner.name.as_str() {
            "class" if !inner.arguments.is_empty() => {
                classes.extend(inner.arguments.iter().map(String::as_str));
            }
            _ => return Err(words.unknown()),
        }
    }
    if classes.is_empty() {
        classes.push("all");
    }
    for class in classes {
        match class {
            "all" => (log.success, log.denial, log.error) = (true, true, true),
            "success" => log.success = true,
            "denial" => log.denial = true,
            "error" => log.error = true,
            other => return Err(words.error(format!("unknown class {other:?}"))),
        }
    }
    Ok(log)
}

pub fn health(directive: &Directive) -> Result<Health, Error> {
    let mut words = Words::of(directive);
    let listen = listen(&mut words, 8080)?;
    if words.peek().is_some() {
        words.end()?;
    }
    let mut lameduck = Duration::ZERO;
    for inner in &directive.block {
        let mut words = Words::of(inner);
        match inner.name.as_str() {
            "lameduck" => lameduck = words.duration("duration")?,
            _ => return Err(words.unknown()),
        }
        words.end()?;
    }
    Ok(Health { listen, lameduck })
}

pub fn ready(directive: &Directive) -> Result<Ready, Error> {
    let mut words = Words::of(directive);
    let listen = listen(&mut words, 8181)?;
    words.end()?;
    Ok(Ready { listen })
}

pub fn prometheus(directive: &Directive) -> Result<SocketAddr, Error> {
    let mut words = Words::of(directive);
    let address = match words.peek() {
        Some(_) => listen(&mut words, 9153)?,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 9153)),
    };
    words.end()?;
    Ok(address)
}

pub fn loadbalance(directive: &Directive) -> Result<bool, Error> {
    let mut words = Words::of(directive);
    if words.next().is_some_and(|word| word != "round_robin") {
        return Err(words.error("only round_robin is supported"));
    }
    words.end().map(|()| true)
}

/// `reload [INTERVAL] [JITTER]`: changes are told by the watch, so that the times have no effect; they are checked.
pub fn reload(directive: &Directive) -> Result<bool, Error> {
    let mut words = Words::of(directive);
    for (what, least) in [("interval", 2), ("jitter", 1)] {
        if words.peek().is_some() && words.duration(what)? < Duration::from_secs(least) {
            return Err(words.error(format!("the {what} must be at least {least}s")));
        }
    }
    words.end().map(|()| true)
}

pub fn bind(directive: &Directive) -> Result<Vec<IpAddr>, Error> {
    let mut words = Words::of(directive);
    let mut addresses = Vec::new();
    while let Some(word) = words.next() {
        let address = word.parse();
        addresses.push(address.map_err(|_| words.error(format!("{word:?} is no address")))?);
    }
    if addresses.is_empty() {
        return Err(words.error("an address is missing"));
    }
    words.end().map(|()| addresses)
}

pub fn autopath(directive: &Directive) -> Result<bool, Error> {
    let words = Words::of(directive);
    match directive.arguments.as_slice() {
        [.., source] if source == "@kubernetes" => words.no_block().map(|()| true),
        _ => Err(words.error("only @kubernetes is supported")),
    }
}
