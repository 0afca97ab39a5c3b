//! The order of merged lists: items of the patch keep the patch's order, items that only the object has keep theirs,
//! and both are interleaved by the object's order as far as it tells.

use serde_json::Value;

/// What tells items apart: a member of objects, or the value itself.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a>(pub Option<&'a str>);

impl Identity<'_> {
    /// Whether two items are the same one.
    pub(super) fn same(self, a: &Value, b: &Value) -> bool {
        match self.0 {
            Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
            None => a == b,
        }
    }

    fn index(self, list: &[Value], item: &Value) -> Option<usize> {
        list.iter().position(|other| self.same(other, item))
    }
}

/// Puts the items of a merged list into order.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    identity: Identity<'_>,
) -> Vec<Value> {
    let (mut patch, mut server): (Vec<_>, Vec<_>) = merged
        .into_iter()
        .partition(|item| identity.index(patch_order, item).is_some());
    sort(&mut patch, patch_order, identity);
    sort(&mut server, server_order, identity);
    interleave(server, patch, server_order, identity)
}

fn sort(items: &mut [Value], order: &[Value], identity: Identity<'_>) {
    items.sort_by_key(|item| identity.index(order, item).unwrap_or(usize::MAX));
}

/// Inserts each left item before the first right item that the order puts behind it.
fn interleave(
    left: Vec<Value>,
    right: Vec<Value>,
    order: &[Value],
    identity: Identity<'_>,
) -> Vec<Value> {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => match (identity.index(order, l), identity.index(order, r)) {
                (Some(l), Some(r)) => l < r,
                _ => false,
            },
        };
        all.extend(if take_left { left.next() } else { right.next() });
    }
}
