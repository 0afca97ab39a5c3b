use super::*;

const THEIRS: &str = r#"
apiVersion: v1
kind: Config
current-context: work
colours: [red, "yes", "007"]
clusters:
- name: work
  cluster:
    server: https://example.com
    some-new-field: {a: 1}
contexts:
- name: work
  context: {cluster: work, user: me, namespace: "on"}
users:
- name: me
  user:
    exec: {command: login, args: ["-y", "1.10"], apiVersion: client.authentication.k8s.io/v1}
"#;

const PEM: [u8; 900] = [b'x'; 900];

fn parse(text: &str) -> Map<String, Value> {
    match serde_saphyr::from_str(text).expect("YAML") {
        Value::Object(config) => config,
        other => panic!("{other}"),
    }
}

fn entry(name: &str) -> Entry<'_> {
    Entry {
        name,
        server: "https://192.168.64.1:6443",
        ca: &PEM,
        certificate: &PEM,
        key: &PEM,
    }
}

#[test]
fn other_entries_and_unknown_fields_survive() {
    let theirs = parse(THEIRS);
    let merged = with_entry(theirs.clone(), &entry("karve")).expect("merges");
    assert_eq!(merged["current-context"], "karve");
    assert_eq!(merged["colours"], theirs["colours"]);
    for list in ["clusters", "contexts", "users"] {
        assert_eq!(merged[list][0], theirs[list][0], "{list}");
        assert_eq!(merged[list].as_array().expect("a list").len(), 2, "{list}");
    }
    let text = serde_saphyr::to_string(&merged).expect("YAML");
    assert_eq!(
        parse(&text),
        merged,
        "what is written reads back the same:\n{text}"
    );

    let mut after = without_entry(parse(&text), "karve").expect("theirs is left");
    after.remove("preferences");
    assert_eq!(
        after, theirs,
        "removal restores all, the current context too"
    );
}

#[test]
fn merging_twice_changes_nothing() {
    let once = with_entry(parse(THEIRS), &entry("karve")).expect("merges");
    let twice = with_entry(once.clone(), &entry("karve")).expect("merges");
    assert_eq!(once, twice);
}

#[test]
fn nothing_of_a_file_of_ours_alone_is_left() {
    let alone = with_entry(Map::new(), &entry("karve")).expect("merges");
    assert_eq!(without_entry(alone, "karve"), None);
    let two = with_entry(
        with_entry(Map::new(), &entry("a")).expect("merges"),
        &entry("b"),
    )
    .expect("merges");
    let one = without_entry(two, "b").expect("a is left");
    assert_eq!(one["current-context"], "a");
    let switched = {
        let mut both = with_entry(parse(THEIRS), &entry("karve")).expect("merges");
        both.insert("current-context".to_owned(), json!("work"));
        without_entry(both, "karve").expect("theirs is left")
    };
    assert_eq!(switched["current-context"], "work");
}

#[test]
fn an_entry_of_somebody_else_is_not_touched() {
    let error = with_entry(parse(THEIRS), &entry("work")).expect_err("theirs");
    assert!(error.to_string().contains("of somebody else"), "{error}");
    assert_eq!(without_entry(parse(THEIRS), "work"), Some(parse(THEIRS)));
    let user_only = with_entry(parse(THEIRS), &entry("me")).expect_err("their user");
    assert!(
        user_only.to_string().contains("of somebody else"),
        "{user_only}"
    );
}

#[test]
fn files_are_private_locked_and_removed_when_empty() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sub/config");
    add(&path, &entry("karve")).expect("adds");
    let mode = fs::metadata(&path).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let lock = Lock::take(&path).expect("locks");
    let error = add(&path, &entry("karve")).expect_err("locked");
    assert!(format!("{error:#}").contains("config.lock"), "{error:#}");
    drop(lock);

    assert!(remove(&path, "karve").expect("removes"));
    assert!(!path.exists());
    assert!(!remove(&path, "karve").expect("nothing to do"));
}

#[test]
fn a_malformed_file_is_refused_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config");
    for text in ["- a\n- b\n", "clusters: {}\n", "a: [\n"] {
        fs::write(&path, text).expect("writes");
        add(&path, &entry("karve")).expect_err(text);
        assert_eq!(fs::read_to_string(&path).expect("reads"), text);
    }
}
