//! What the table is made of before any Service: sets, base chains, and the chain `services`.

use karve_sys::nft::{Batch, Hook, Set, SetFlags, Table};

use super::rules::Rules;
use super::{AFFINITY, Layout, Map, PAD, PORT, PROTOCOL, TABLE, add_chain, ip_field, nft_family};
use crate::dataplane::{Chain, Guarded, List, Pick, Via};

/// `NF_INET_PRE_ROUTING`, `_LOCAL_OUT` and `_POST_ROUTING` with `NF_IP_PRI_NAT_DST` and `_SRC`.
const HOOKS: [(&str, u32, i32); 3] = [
    ("nat-prerouting", 0, -100),
    ("nat-output", 3, -100),
    ("nat-postrouting", 4, 100),
];

/// Appends the making of the table with its fixed frame.
pub(crate) fn add(batch: &mut Batch, layout: &Layout) {
    batch.add_table(&Table {
        name: TABLE,
        userdata: fingerprint(layout).as_bytes(),
    });
    add_in(batch, layout);
}

fn add_in(batch: &mut Batch, layout: &Layout) {
    for map in Map::ALL {
        let (key, data) = map.fields(layout.family);
        let flags = SetFlags {
            interval: map == Map::SourceRanges,
            ..SetFlags::default()
        };
        batch.add_set(
            TABLE,
            &Set {
                name: map.name(),
                flags,
                key: &key,
                data: &data,
                verdicts: map.verdicts(),
                timeout: None,
            },
        );
    }
    let ip = ip_field(layout.family);
    batch.add_set(
        TABLE,
        &Set {
            name: AFFINITY,
            flags: SetFlags {
                timeout: true,
                dynamic: true,
                interval: false,
            },
            key: &[ip, PROTOCOL, PORT, ip],
            data: &[PAD, ip, PORT],
            verdicts: false,
            timeout: None,
        },
    );
    let rules = Rules::new(layout);
    add_chain(batch, Chain::Refuse);
    rules.add_services(batch);
    for (name, number, priority) in HOOKS {
        let hook = Some(Hook {
            kind: "nat",
            number,
            priority,
        });
        batch.add_chain(TABLE, &karve_sys::nft::Chain { name, hook });
    }
    rules.add_base(batch);
}

/// Whether a chain is part of the frame.
pub(crate) fn is_fixed_chain(name: &str) -> bool {
    name == "services" || name == "refuse" || HOOKS.iter().any(|(hook, ..)| *hook == name)
}

/// How many rules each chain of the frame has.
pub(crate) fn fixed_rules(layout: &Layout) -> Vec<(&'static str, usize)> {
    let rules = Rules::new(layout);
    let mut batch = Batch::new(nft_family(layout.family));
    rules.add_services(&mut batch);
    // The rules of `refuse` and the chain itself are not rules of `services`.
    let refuse = super::count_rules(layout, Chain::Refuse);
    let services = batch.messages() - refuse - 1;
    vec![
        ("refuse", refuse),
        ("services", services),
        ("nat-prerouting", 1),
        ("nat-output", 1),
        ("nat-postrouting", 2),
    ]
}

/// Tells tables that other versions or settings made from ours: a hash over the frame and over one
/// chain of each kind, kept as the table's user data.
pub(crate) fn fingerprint(layout: &Layout) -> String {
    let mut batch = Batch::new(nft_family(layout.family));
    add_in(&mut batch, layout);
    let rules = Rules::new(layout);
    for via in [Via::ClusterIp, Via::ExternalIp, Via::NodePort] {
        for affinity in [None, Some(1)] {
            let pick = Pick {
                via,
                list: List::Cluster,
                count: 2,
                affinity,
            };
            let guarded = Guarded::ExternalLocal { pick, local: 1 };
            for chain in [Chain::Internal(pick), Chain::Guarded(guarded)] {
                let chains = std::iter::once(chain).chain(chain.targets());
                chains.for_each(|chain| rules.add(&mut batch, chain));
            }
        }
    }
    format!("karve-proxy {:016x}", fnv1a(batch.bytes()))
}

/// FNV-1a: short, stable and good enough where nobody attacks.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
