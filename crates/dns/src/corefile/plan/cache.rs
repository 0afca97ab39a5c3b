//! The `cache` plugin's options.

use std::time::Duration;

use super::super::Error;
use super::super::syntax::Directive;
use super::{Words, ZoneName, zones};

/// CoreDNS's default number of entries on each side.
const CAPACITY: usize = 9984;

/// What is kept of one side, success or denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Entries at most.
    pub capacity: usize,
    /// The longest that one is kept.
    pub ttl_max: Duration,
    /// The shortest.
    pub ttl_min: Duration,
    /// Names that are not kept.
    pub except: Vec<ZoneName>,
}

/// When an entry that is asked for often is fetched anew before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// So many questions without a gap of `window`.
    pub amount: u32,
    /// The longest gap.
    pub window: Duration,
    /// In the last percent of its life.
    pub percentage: u32,
}

/// Whether an entry that has ended is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// So long after its end.
    pub up_to: Duration,
    /// Only when the upstream does not answer; otherwise at once, fetching anew behind the answer.
    pub verify: bool,
}

/// `cache [TTL] [ZONES…] { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Names that are kept.
    pub zones: Vec<ZoneName>,
    /// Answers.
    pub success: Side,
    /// NXDOMAIN and NODATA.
    pub denial: Side,
    /// How long a failure is kept.
    pub servfail: Duration,
    /// Early fetching.
    pub prefetch: Option<Prefetch>,
    /// Late answers.
    pub serve_stale: Option<Stale>,
    /// Answers carry the TTL that they came with.
    pub keep_ttl: bool,
}

impl Default for Cache {
    fn default() -> Cache {
        let side = |ttl_max| Side {
            capacity: CAPACITY,
            ttl_max: Duration::from_secs(ttl_max),
            ttl_min: Duration::from_secs(5),
            except: Vec::new(),
        };
        Cache {
            zones: vec![ZoneName::root()],
            success: side(3600),
            denial: side(1800),
            servfail: Duration::from_secs(5),
            prefetch: None,
            serve_stale: None,
            keep_ttl: false,
        }
    }
}

pub fn read(directive: &Directive, own: &[ZoneName]) -> Result<Cache, Error> {
    let mut words = Words::of(directive);
    let mut cache = Cache::default();
    if let Some(ttl) = words.peek().and_then(|word| word.parse::<u64>().ok()) {
        if ttl == 0 {
            return Err(words.error("ttl can not be zero"));
        }
        words.next();
        let ttl = Duration::from_secs(ttl);
        (cache.success.ttl_max, cache.denial.ttl_max) = (ttl, ttl);
    }
    cache.zones = zones::given(words.rest(), own, directive.line)?;
    for inner in &directive.block {
        property(&mut cache, inner)?;
    }
    Ok(cache)
}

fn property(cache: &mut Cache, inner: &Directive) -> Result<(), Error> {
    let mut words = Words::of(inner);
    match inner.name.as_str() {
        "success" => side(&mut cache.success, &mut words)?,
        "denial" => side(&mut cache.denial, &mut words)?,
        "prefetch" => cache.prefetch = Some(prefetch(&mut words)?),
        "serve_stale" => {
            let up_to = match words.peek() {
                Some(_) => words.duration("duration")?,
                None => Duration::from_secs(3600),
            };
            let verify = match words.next().map(str::to_ascii_lowercase).as_deref() {
                None | Some("immediate") => false,
                Some("verify") => true,
                Some(other) => {
                    return Err(words.error(format!("invalid refresh mode {other:?}")));
                }
            };
            cache.serve_stale = Some(Stale { up_to, verify });
        }
        "servfail" => {
            cache.servfail = words.duration("duration")?;
            if cache.servfail > Duration::from_secs(300) {
                // RFC 2308, 7.1.
                return Err(words.error("failures are kept for 5 minutes at most"));
            }
        }
        "disable" => {
            let side = match words.need("success or denial")? {
                "success" => &mut cache.success,
                "denial" => &mut cache.denial,
                other => {
                    return Err(words.error(format!("{other:?} is neither success nor denial")));
                }
            };
            side.except = zones::given(words.rest(), &[ZoneName::root()], inner.line)?;
        }
        "keepttl" => cache.keep_ttl = true,
        _ => return Err(words.unknown()),
    }
    words.end()
}

/// `CAPACITY [TTL] [MINTTL]`.
fn side(side: &mut Side, words: &mut Words<'_>) -> Result<(), Error> {
    side.capacity = words.number("capacity")?;
    if words.peek().is_some() {
        side.ttl_max = Duration::from_secs(words.number("ttl")?);
        if side.ttl_max.is_zero() {
            return Err(words.error("ttl can not be zero"));
        }
    }
    if words.peek().is_some() {
        side.ttl_min = Duration::from_secs(words.number("least ttl")?);
    }
    Ok(())
}

fn prefetch(words: &mut Words<'_>) -> Result<Prefetch, Error> {
    let mut prefetch = Prefetch {
        amount: words.number("amount")?,
        window: Duration::from_secs(60),
        percentage: 10,
    };
    if words.peek().is_some() {
        prefetch.window = words.duration("duration")?;
    }
    if let Some(word) = words.next() {
        let percentage = word.strip_suffix('%').and_then(|word| word.parse().ok());
        prefetch.percentage = percentage
            .filter(|percentage| (10..=90).contains(percentage))
            .ok_or_else(|| words.error(format!("{word:?} is no percentage from 10% to 90%")))?;
    }
    Ok(prefetch)
}
