//! The devices that a container may use: those that runc allows.

use karve_sys::device_filter::{Access, Kind, Rule};

/// `/dev/null`, `zero`, `full`, `random`, `urandom`, `tty`, `console` and `ptmx`.
const CHAR_DEVICES: [(u32, u32); 8] = [
    (1, 3),
    (1, 5),
    (1, 7),
    (1, 8),
    (1, 9),
    (5, 0),
    (5, 1),
    (5, 2),
];
/// Major number of the ends of pseudoterminals.
const PTS_MAJOR: u32 = 136;

/// Nodes of any device may be made, as everywhere; they can't be opened.
pub(super) fn defaults() -> Vec<Rule> {
    let rule = |kind, major, minor, access| Rule {
        kind,
        major,
        minor,
        access,
    };
    let mut rules = vec![
        rule(Kind::Char, None, None, Access::MKNOD),
        rule(Kind::Block, None, None, Access::MKNOD),
        rule(Kind::Char, Some(PTS_MAJOR), None, Access::ALL),
    ];
    let common = CHAR_DEVICES
        .iter()
        .map(|(major, minor)| rule(Kind::Char, Some(*major), Some(*minor), Access::ALL));
    rules.extend(common);
    rules
}
