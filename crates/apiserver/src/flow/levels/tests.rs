use serde_json::json;

use super::*;

type Wake = Box<dyn FnOnce() -> bool>;

fn level(name: &str, shares: u32, lendable: u32, queue: Option<usize>) -> serde_json::Value {
    let response = match queue {
        None => json!({"type": "Reject"}),
        Some(length) => {
            json!({"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": length}})
        }
    };
    json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response,
    }}})
}

fn levels(total: u64, of: &[serde_json::Value]) -> Levels<Wake> {
    let mut levels = Levels::new(total);
    let mut config = Config::build([], of);
    // Without the mandatory level's share, so that numbers are easy to see.
    config.levels.retain(|name, _| &**name != "catch-all");
    levels.configure(&config);
    levels
}

fn enter(levels: &mut Levels<Wake>, name: &str) -> Entry {
    levels.enter(&name.into(), 0, 1, || Box::new(|| true) as Wake)
}

fn seated(levels: &mut Levels<Wake>, name: &str) -> usize {
    std::iter::from_fn(|| matches!(enter(levels, name), Entry::Seated(_)).then_some(())).count()
}

#[test]
fn a_level_borrows_what_others_lend_and_never_what_they_keep() {
    let mut levels = levels(20, &[level("a", 10, 50, None), level("b", 10, 40, None)]);
    assert_eq!(seated(&mut levels, "a"), 14);
    assert_eq!(
        enter(&mut levels, "a"),
        Entry::Refused(Reason::ConcurrencyLimit)
    );
    assert_eq!(seated(&mut levels, "b"), 6);
}

#[test]
fn exempt_requests_are_never_held_back() {
    let mut levels = levels(1, &[level("a", 1, 0, None)]);
    for _ in 0..100 {
        assert!(matches!(enter(&mut levels, "exempt"), Entry::Seated(_)));
    }
    assert_eq!(seated(&mut levels, "a"), 1);
}

#[test]
fn who_waits_is_woken_when_a_seat_is_free() {
    let mut levels = levels(1, &[level("a", 1, 0, Some(2))]);
    let Entry::Seated(first) = enter(&mut levels, "a") else {
        panic!("a seat is free");
    };
    let woken = std::rc::Rc::new(std::cell::Cell::new(0));
    let wait = |levels: &mut Levels<Wake>, there: bool| {
        let woken = woken.clone();
        levels.enter(&"a".into(), 0, 1, move || {
            Box::new(move || {
                woken.set(woken.get() + 1);
                there
            }) as Wake
        })
    };
    assert!(matches!(wait(&mut levels, false), Entry::Waiting(_)));
    assert!(matches!(wait(&mut levels, true), Entry::Waiting(_)));
    assert_eq!(wait(&mut levels, true), Entry::Refused(Reason::QueueFull));
    levels.leave(&first, 0.001);
    // The first one had gone away, so the seat is the second one's.
    assert_eq!(woken.get(), 2);
    assert!(matches!(wait(&mut levels, true), Entry::Waiting(_)));
    // A seat that is given back twice is given back once.
    let usage = levels
        .usage()
        .find(|u| u.level == "a")
        .map(|u| (u.seats, u.waiting));
    assert_eq!(usage, Some((1, 1)));
}

#[test]
fn levels_that_go_let_their_requests_go() {
    let mut levels = levels(1, &[level("a", 1, 0, Some(2))]);
    let Entry::Seated(first) = enter(&mut levels, "a") else {
        panic!("a seat is free");
    };
    let Entry::Waiting(second) = enter(&mut levels, "a") else {
        panic!("no seat is free");
    };
    levels.configure(&Config::build([], &[]));
    assert!(!levels.give_up(&second));
    levels.configure(&Config::build([], &[level("a", 1, 0, Some(2))]));
    levels.leave(&first, 0.0);
    let usage = levels.usage().find(|u| u.level == "a").map(|u| u.seats);
    assert_eq!(usage, Some(0));
}
