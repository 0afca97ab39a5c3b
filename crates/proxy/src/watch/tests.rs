use std::net::Ipv4Addr;

use super::*;

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

fn service() -> Option<Service> {
    Some(Service {
        cluster_ip: Ipv4Addr::new(10, 96, 0, 50),
        external_ips: Vec::new(),
        ports: Vec::new(),
        internal_local: false,
        external_local: false,
        affinity: None,
    })
}

fn names(state: &State) -> Vec<String> {
    let mut names: Vec<_> = state
        .service_names()
        .iter()
        .map(ToString::to_string)
        .collect();
    names.sort();
    names
}

#[test]
fn nothing_is_complete_before_both_kinds_are() {
    let (mut intake, mut state) = (Intake::default(), State::default());
    intake.take(&mut state, Change::Service(Notice::ListBegins));
    intake.take(
        &mut state,
        Change::Service(Notice::Listed(name("a"), service())),
    );
    intake.take(&mut state, Change::Service(Notice::ListEnds));
    assert!(!intake.complete());
    intake.take(&mut state, Change::Slice(Notice::ListBegins));
    assert!(!intake.complete());
    intake.take(&mut state, Change::Slice(Notice::ListEnds));
    assert!(intake.complete());
}

#[test]
fn a_new_list_takes_away_what_it_lacks_at_its_end() {
    let (mut intake, mut state) = (Intake::default(), State::default());
    let mut take = |notices: Vec<Notice<Service>>| {
        notices
            .into_iter()
            .for_each(|n| intake.take(&mut state, Change::Service(n)));
        names(&state)
    };
    take(vec![
        Notice::ListBegins,
        Notice::Listed(name("a"), service()),
        Notice::Listed(name("b"), service()),
        Notice::ListEnds,
        Notice::Changed(name("c"), service()),
    ]);
    // The watch was lost; meanwhile a and c were deleted and d was made.
    let while_listing = take(vec![
        Notice::ListBegins,
        Notice::Listed(name("b"), service()),
    ]);
    assert_eq!(while_listing, ["default/a", "default/b", "default/c"]);
    let after = take(vec![Notice::Listed(name("d"), service()), Notice::ListEnds]);
    assert_eq!(after, ["default/b", "default/d"]);
    assert_eq!(take(vec![Notice::Deleted(name("b"))]), ["default/d"]);
    assert!(
        take(vec![Notice::Changed(name("d"), None)]).is_empty(),
        "no longer proxied"
    );
}

#[test]
fn retries_start_quickly_and_stay_frequent() {
    let waits: Vec<_> = Retry::default()
        .take(7)
        .map(|wait| wait.as_millis())
        .collect();
    assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
}
