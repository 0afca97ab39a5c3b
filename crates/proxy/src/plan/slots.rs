//! Numbers for endpoints: without gaps, and changing as few as possible.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Gives each of `wanted` a number below `wanted.len()`. An endpoint keeps the number it had in
/// `before` unless the list gets too short for it; new ones fill the gaps.
pub(super) fn assign(
    before: impl Iterator<Item = (u16, SocketAddr)>,
    wanted: &[SocketAddr],
) -> Vec<(u16, SocketAddr)> {
    let mut unplaced: BTreeSet<SocketAddr> = wanted.iter().copied().collect();
    let mut slots: Vec<Option<SocketAddr>> = vec![None; unplaced.len()];
    for (slot, endpoint) in before {
        if let Some(free @ None) = slots.get_mut(usize::from(slot))
            && unplaced.remove(&endpoint)
        {
            *free = Some(endpoint);
        }
    }
    let mut unplaced = unplaced.into_iter();
    for free in slots.iter_mut().filter(|slot| slot.is_none()) {
        *free = unplaced.next();
    }
    (0..).zip(slots.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 244, 1, last], 80))
    }

    #[test]
    fn endpoints_keep_their_numbers() {
        type Row = (&'static str, &'static [u8], &'static [u8], &'static [u8]);
        let rows: &[Row] = &[
            ("first plan is sorted", &[], &[3, 1, 2], &[1, 2, 3]),
            ("nothing changes", &[2, 1], &[1, 2], &[2, 1]),
            ("a new one goes last", &[2, 3], &[1, 2, 3], &[2, 3, 1]),
            (
                "a replacement takes the gap",
                &[2, 3, 4],
                &[2, 4, 9],
                &[2, 9, 4],
            ),
            ("the last one fills the gap", &[2, 3, 4], &[3, 4], &[4, 3]),
            ("all replaced", &[1, 2], &[3, 4], &[3, 4]),
            ("none left", &[1, 2], &[], &[]),
        ];
        for (name, before, wanted, expected) in rows {
            let before = (0..).zip(before.iter().map(|last| endpoint(*last)));
            let wanted: Vec<_> = wanted.iter().map(|last| endpoint(*last)).collect();
            let assigned: Vec<_> = assign(before, &wanted);
            let expected: Vec<_> = (0..)
                .zip(expected.iter().map(|last| endpoint(*last)))
                .collect();
            assert_eq!(assigned, expected, "{name}");
        }
    }
}
