//! The order of merged lists: items of the patch keep the patch's order, items that only the object has keep theirs,
//! and both are interleaved by the object's order as far as it tells.

use std::collections::HashMap;

use serde_json::Value;

/// What tells items apart: a member of objects, or the value itself.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a>(pub Option<&'a str>);

impl Identity<'_> {
    /// What an item is known by; items without it are nobody's equal.
    pub(super) fn of(self, item: &Value) -> Option<&Value> {
        match self.0 {
            Some(key) => item.get(key),
            None => Some(item),
        }
    }

    /// Whether two items are the same one.
    pub(super) fn same(self, a: &Value, b: &Value) -> bool {
        self.of(a).is_some() && self.of(a) == self.of(b)
    }
}

/// The first places of the items of a list, found without looking through it.
struct Places<'i, 'v> {
    identity: Identity<'i>,
    first: HashMap<&'v Value, usize>,
}

impl<'i, 'v> Places<'i, 'v> {
    fn of(list: &'v [Value], identity: Identity<'i>) -> Places<'i, 'v> {
        let mut first = HashMap::with_capacity(list.len());
        for (i, item) in list.iter().enumerate() {
            if let Some(known_by) = identity.of(item) {
                first.entry(known_by).or_insert(i);
            }
        }
        Places { identity, first }
    }

    fn get(&self, item: &Value) -> Option<usize> {
        self.first.get(self.identity.of(item)?).copied()
    }

    fn sort(&self, items: &mut [Value]) {
        items.sort_by_cached_key(|item| self.get(item).unwrap_or(usize::MAX));
    }
}

/// Puts the items of a merged list into order.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    identity: Identity<'_>,
) -> Vec<Value> {
    let in_patch = Places::of(patch_order, identity);
    let in_server = Places::of(server_order, identity);
    let (mut patch, mut server): (Vec<_>, Vec<_>) = merged
        .into_iter()
        .partition(|item| in_patch.get(item).is_some());
    in_patch.sort(&mut patch);
    in_server.sort(&mut server);
    interleave(server, patch, &in_server)
}

/// Inserts each left item before the first right item that the order puts behind it.
fn interleave(left: Vec<Value>, right: Vec<Value>, order: &Places<'_, '_>) -> Vec<Value> {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => match (order.get(l), order.get(r)) {
                (Some(l), Some(r)) => l < r,
                _ => false,
            },
        };
        all.extend(if take_left { left.next() } else { right.next() });
    }
}
