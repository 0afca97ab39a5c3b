use super::*;

const HASH: MapSpec = MapSpec {
    name: "numbers",
    kind: Kind::Hash,
    key: 4,
    value: 8,
    max: 1000,
};

fn element(n: u32) -> (Vec<u8>, Vec<u8>) {
    (
        n.to_ne_bytes().to_vec(),
        u64::from(n).to_ne_bytes().to_vec(),
    )
}

#[test]
fn a_map_holds_what_it_was_given() {
    let map = Map::create(HASH).expect("make");
    let all: Vec<_> = (0..500).map(element).collect();
    map.set_all(&all).expect("set");
    let (key, value) = element(7);
    assert_eq!(map.get(&key).expect("get"), Some(value));
    assert!(map.delete(&key).expect("delete"));
    assert!(!map.delete(&key).expect("delete again"));
    assert_eq!(map.get(&key).expect("get"), None);
    let mut found = map.elements().expect("list");
    found.sort_by_key(|(key, _)| u32::from_ne_bytes(*key.first_chunk().expect("four bytes")));
    let left: Vec<_> = (0..500).filter(|n| *n != 7).map(element).collect();
    assert_eq!(found, left);
    map.set(&[1], &[2]).expect_err("of another size");
}

#[test]
fn every_kind_of_map_can_be_made() {
    for (kind, key, max) in [
        (Kind::Hash, 8, 10),
        (Kind::LruHash, 8, 10),
        (Kind::SocketStorage, 4, 0),
    ] {
        let spec = MapSpec {
            name: "trial",
            kind,
            key,
            value: 40,
            max,
        };
        Map::create(spec).expect("make");
    }
}

#[test]
fn files_of_another_kind_are_refused() {
    for file in [
        &b""[..],
        b"\x7fELF",
        &[0; 64],
        b"\x7fELF\x02\x01\x01 and then nothing of any use .................................",
    ] {
        Object::parse(file).expect_err("no object file");
    }
}
