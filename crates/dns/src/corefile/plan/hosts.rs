//! The `hosts` plugin's options.

use std::path::PathBuf;

use super::super::Error;
use super::super::syntax::Directive;
use super::{Fallthrough, Words, ZoneName, zones};

/// CoreDNS's default TTL, in seconds.
const TTL: u32 = 3600;

/// `hosts [FILE [ZONES…]] { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// The file.
    pub file: PathBuf,
    /// Names that it may hold.
    pub zones: Vec<ZoneName>,
    /// Lines of the Corefile itself, in the form of `hosts(5)`.
    pub inline: Vec<String>,
    /// Seconds that answers live.
    pub ttl: u32,
    /// Addresses have names, too.
    pub reverse: bool,
    /// The file is followed.
    pub reload: bool,
    /// Names that the next plugin may try.
    pub fallthrough: Fallthrough,
}

pub fn read(directive: &Directive, own: &[ZoneName]) -> Result<Hosts, Error> {
    let mut words = Words::of(directive);
    let file = PathBuf::from(words.next().unwrap_or("/etc/hosts"));
    let mut hosts = Hosts {
        file,
        zones: zones::given(words.rest(), own, directive.line)?,
        inline: Vec::new(),
        ttl: TTL,
        reverse: true,
        reload: true,
        fallthrough: Fallthrough::default(),
    };
    for inner in &directive.block {
        let mut words = Words::of(inner);
        match inner.name.as_str() {
            "fallthrough" => {
                hosts.fallthrough = Fallthrough::read(inner)?;
                words.rest();
            }
            "no_reverse" => hosts.reverse = false,
            "ttl" => {
                hosts.ttl = words.number("number of seconds")?;
                if !(1..=65_535).contains(&hosts.ttl) {
                    return Err(words.error("must lie in [1, 65535]"));
                }
            }
            "reload" => hosts.reload = !words.duration("duration")?.is_zero(),
            address if address.parse::<std::net::IpAddr>().is_ok() => {
                words.need("name").map(drop)?;
                let line = [&[address.to_owned()], &inner.arguments[..]].concat();
                hosts.inline.push(line.join(" "));
                words.rest();
            }
            _ => return Err(words.unknown()),
        }
        words.end()?;
    }
    Ok(hosts)
}
