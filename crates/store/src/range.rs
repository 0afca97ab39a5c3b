//! Reading many keys.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::Entry;

/// Which keys to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range<'a> {
    /// Keys that begin with it.
    pub prefix: &'a str,
    /// Only this key and those behind it.
    pub from: Option<&'a str>,
    /// At most so many.
    pub limit: Option<usize>,
    /// As they were at this revision; `None` is now.
    pub at: Option<u64>,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Page {
    /// In the order of keys.
    pub entries: Vec<Arc<Entry>>,
    /// The revision at which all of them were so.
    pub revision: u64,
    /// How many more keys there are behind the limit.
    pub remaining: usize,
}

type Index = BTreeMap<Arc<str>, Arc<Entry>>;

pub(crate) fn now<'a>(index: &'a Index, range: &Range<'a>) -> impl Iterator<Item = &'a Arc<Entry>> {
    let prefix = range.prefix;
    let start = range.from.filter(|from| *from > prefix).unwrap_or(prefix);
    index
        .range::<str, _>((Bound::Included(start), Bound::Unbounded))
        .map(|(_, entry)| entry)
        .take_while(move |entry| entry.key.starts_with(prefix))
}

/// Merges the present with what some keys held in the past, in the order of keys and no further than it is read.
pub(crate) fn past<'a>(
    present: impl Iterator<Item = &'a Arc<Entry>>,
    mut then: BTreeMap<Arc<str>, Option<Arc<Entry>>>,
    from: Option<&str>,
) -> impl Iterator<Item = Arc<Entry>> {
    if let Some(from) = from {
        then = then.split_off(from);
    }
    let (mut present, mut then) = (present.peekable(), then.into_iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (present.peek(), then.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(entry), Some((key, _))) => entry.key.cmp(key),
            };
            if order == Ordering::Less {
                return present.next().cloned();
            }
            if order == Ordering::Equal {
                present.next();
            }
            if let Some((_, Some(entry))) = then.next() {
                return Some(entry);
            }
        }
    })
}
