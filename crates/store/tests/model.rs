//! The store against a model: any sequence of commits gives the same answers, the same past and the same events.

use std::collections::BTreeMap;
use std::path::Path;

use karve_store::{Action, Error, Expect, Op, Options, Range, Store, Value};
use proptest::prelude::*;

const KEYS: [&str; 6] = ["/a/1", "/a/2", "/a/3", "/b/1", "/b/2", "/ab/1"];

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(usize, Wanted, Option<u8>)>),
    Compact(u8),
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    Any,
    Absent,
    Current,
    Stale,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wanted = prop_oneof![
        1 => Just(Wanted::Any),
        1 => Just(Wanted::Absent),
        3 => Just(Wanted::Current),
        1 => Just(Wanted::Stale)
    ];
    let op = (
        0..KEYS.len(),
        wanted,
        proptest::option::weighted(0.7, any::<u8>()),
    );
    prop::collection::vec(
        prop_oneof![
            12 => prop::collection::vec(op, 1..4).prop_map(Step::Commit),
            1 => any::<u8>().prop_map(Step::Compact),
            1 => Just(Step::Reopen),
        ],
        1..40,
    )
}

type Keys = BTreeMap<&'static str, (u64, u64, u8)>;

/// The state after each revision; the last one is the present.
struct Model {
    states: BTreeMap<u64, Keys>,
    floor: u64,
}

impl Model {
    fn now(&self) -> (u64, &Keys) {
        let (revision, keys) = self.states.last_key_value().expect("begins with a state");
        (*revision, keys)
    }

    fn commit(&mut self, ops: &[Op]) -> Result<Vec<(u64, Keys)>, usize> {
        let (mut revision, keys) = self.now();
        let mut keys = keys.clone();
        let mut made = Vec::new();
        for (i, op) in ops.iter().enumerate() {
            let key = *KEYS.iter().find(|k| **k == &*op.key).expect("one of ours");
            let have = keys.get(key).copied();
            let fits = match op.expect {
                Expect::Any => true,
                Expect::Absent => have.is_none(),
                Expect::Revision(r) => have.is_some_and(|(_, m, _)| m == r),
            };
            if !fits || (op.action == Action::Delete && have.is_none()) {
                return Err(i);
            }
            revision += 1;
            match &op.action {
                Action::Delete => keys.remove(key),
                Action::Put(value) => {
                    let byte = value.at_revision(0)[0];
                    keys.insert(key, (have.map_or(revision, |h| h.0), revision, byte))
                }
            };
            made.push((revision, keys.clone()));
        }
        self.states.extend(made.clone());
        Ok(made)
    }
}

fn open(path: &Path) -> Store {
    Store::open(path, Options::default()).expect("store opens")
}

fn value(byte: u8) -> Value {
    Value::stamped(vec![byte, b'[', b']'], 2)
}

fn check_range(store: &Store, prefix: &'static str, at: u64, keys: &Keys) {
    let whole = Range {
        prefix,
        at: Some(at),
        ..Range::default()
    };
    let page = store.range(&whole).expect("within history");
    let have: Vec<_> = page
        .entries
        .iter()
        .map(|e| {
            (
                e.key().to_string(),
                e.create_revision(),
                e.revision(),
                e.value().to_vec(),
            )
        })
        .collect();
    let want: Vec<_> = keys
        .iter()
        .filter(|(k, _)| k.starts_with(prefix))
        .map(|(k, (c, m, byte))| {
            let text = format!("[{m}]");
            (k.to_string(), *c, *m, [&[*byte], text.as_bytes()].concat())
        })
        .collect();
    assert_eq!(have, want, "at {at}");
    // The same in pages of one.
    let mut from: Option<String> = None;
    for i in 0..want.len() {
        let page = store
            .range(&Range {
                from: from.as_deref(),
                limit: Some(1),
                ..whole
            })
            .expect("within history");
        assert_eq!(&**page.entries[0].key(), want[i].0);
        assert_eq!(page.remaining, want.len() - i - 1);
        from = Some(format!("{}\0", want[i].0));
    }
}

fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("state.db");
    let mut store = open(&path);
    let start = store.revision();
    let mut model = Model {
        states: [(start, Keys::new())].into(),
        floor: start,
    };
    for step in steps {
        match step {
            Step::Commit(ops) => {
                let ops: Vec<Op> = ops.into_iter().map(|op| to_op(op, &model)).collect();
                commit_both(&store, &mut model, ops);
            }
            Step::Compact(back) => {
                let revision = model.now().0.saturating_sub(u64::from(back % 8));
                store.compact(revision);
                model.floor = model.floor.max(revision);
            }
            Step::Reopen => {
                drop(store);
                store = open(&path);
                model.floor = model.now().0;
            }
        }
        check(&store, &model);
    }
}

fn to_op((key, wanted, byte): (usize, Wanted, Option<u8>), model: &Model) -> Op {
    let current = model.now().1.get(KEYS[key]).map_or(0, |k| k.1);
    let expect = match wanted {
        Wanted::Any => Expect::Any,
        Wanted::Absent => Expect::Absent,
        Wanted::Current => Expect::Revision(current),
        Wanted::Stale => Expect::Revision(current + 1000),
    };
    Op {
        key: KEYS[key].into(),
        expect,
        action: byte.map_or(Action::Delete, |b| Action::Put(value(b))),
    }
}

fn commit_both(store: &Store, model: &mut Model, ops: Vec<Op>) {
    let have = store.commit_blocking(ops.clone());
    match (have, model.commit(&ops)) {
        (Ok(events), Ok(made)) => {
            let revisions: Vec<u64> = events.iter().map(|e| e.revision()).collect();
            assert_eq!(revisions, made.iter().map(|m| m.0).collect::<Vec<_>>());
        }
        (Err(Error::Conflict { op, .. }), Err(at)) => assert_eq!(op, at),
        (have, want) => panic!("{have:?} is not {want:?}"),
    }
}

fn check(store: &Store, model: &Model) {
    let (now, _) = model.now();
    assert_eq!(store.revision(), now);
    for (at, keys) in model.states.range(model.floor..) {
        check_range(store, "/", *at, keys);
        check_range(store, "/a/", *at, keys);
    }
    let past = Range {
        prefix: "/",
        at: Some(model.floor - 1),
        ..Range::default()
    };
    assert!(matches!(store.range(&past), Err(Error::Expired { .. })));
    assert!(matches!(
        store.watch("/", model.floor - 1),
        Err(Error::Expired { .. })
    ));
    for from in model.floor..=now {
        let mut watch = store.watch("/a/", from).expect("within history");
        let mut seen: Keys = model.states[&from].clone();
        let mut last = from;
        while let Some(event) = watch.ready() {
            assert!(event.revision() > last, "in order");
            last = event.revision();
            let key = *KEYS
                .iter()
                .find(|k| **k == &**event.key())
                .expect("one of ours");
            assert_eq!(
                event.previous().map(|e| e.revision()),
                seen.get(key).map(|k| k.1)
            );
            match event.current() {
                Some(e) => seen.insert(key, (e.create_revision(), e.revision(), e.value()[0])),
                None => seen.remove(key),
            };
        }
        let only = |keys: &Keys| -> Keys {
            keys.iter()
                .filter(|(k, _)| k.starts_with("/a/"))
                .map(|(k, v)| (*k, *v))
                .collect()
        };
        assert_eq!(
            only(&seen),
            only(model.now().1),
            "events from {from} lead to the present"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commits_agrees_with_the_model(steps in steps()) {
        run(steps);
    }
}
