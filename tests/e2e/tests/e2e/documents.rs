//! The documents' commands are run, and print what the documents say.
//!
//! Each `console` block of docs/tutorial*.md holds commands behind `$ ` and what they print. Values that
//! differ from run to run (ages, generated names, addresses of pods) are compared by their kind.
//! `KARVE_BLESS=1` writes what was printed into the documents.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use karve_e2e::{Output, TestHost, binary};

#[test]
fn the_tutorial_prints_what_it_says() {
    check("tutorial.md");
}

#[test]
fn the_korean_tutorial_prints_what_it_says() {
    check("tutorial.ko.md");
}

fn check(name: &str) {
    let path = checkout().join("docs").join(name);
    let document = fs::read_to_string(&path).expect("read the document");
    let host = TestHost::new();
    let cluster = format!("doc{}{}", std::process::id(), name.len());
    let shell = Shell::new(&host, &cluster);
    let printed = rewrite(&document, |line| shell.run(line));
    drop(shell);
    if std::env::var_os("KARVE_BLESS").is_some() {
        fs::write(&path, &printed).expect("write the document");
        return;
    }
    let (said, printed) = (kinds(&document), kinds(&printed));
    let differs = said
        .iter()
        .zip(&printed)
        .find(|(said, printed)| said != printed);
    assert_eq!(
        differs, None,
        "docs/{name} (KARVE_BLESS=1 writes what was printed)"
    );
    assert_eq!(said.len(), printed.len(), "docs/{name}");
}

fn checkout() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A person's shell in the tutorial's folder, where `karve` means this test's cluster.
struct Shell<'a> {
    host: &'a TestHost,
    cluster: &'a str,
}

impl<'a> Shell<'a> {
    fn new(host: &'a TestHost, cluster: &'a str) -> Self {
        let programs = host.folder().join("bin");
        fs::create_dir(&programs).expect("make a folder");
        let wrapper = programs.join("karve");
        let script = format!(
            "#!/bin/sh\nexec {} \"$@\" --name {cluster}\n",
            binary().display()
        );
        fs::write(&wrapper, script).expect("write the wrapper");
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
            .expect("make the wrapper a program");
        Self { host, cluster }
    }

    /// What the command prints on a terminal.
    fn run(&self, line: &str) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = self.host.command(Path::new("sh"));
        shell.args(["-c", &format!("{line} 2>&1")]);
        shell.env(
            "PATH",
            format!("{}:{path}", self.host.folder().join("bin").display()),
        );
        shell.current_dir(checkout().join("examples/tutorial"));
        let printed = Output::of(&mut shell).ok();
        let kubeconfig = self.host.kubeconfig().display().to_string();
        printed
            .replace(self.cluster, "karve")
            .replace(&kubeconfig, "~/.kube/config")
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        // The document may have stopped half-way.
        let mut down = self.host.command(binary());
        Output::of(down.args(["down", "--name", self.cluster]));
    }
}

/// The document with each command of its `console` blocks followed by what it prints now.
fn rewrite(document: &str, mut run: impl FnMut(&str) -> String) -> String {
    let mut written = String::new();
    let mut block = Block::Prose;
    for line in document.lines() {
        match (block, line.strip_prefix("$ ")) {
            (Block::Prose, _) if line == "```console" => block = Block::Unknown,
            (Block::Prose, _) => {}
            (_, _) if line == "```" => block = Block::Prose,
            // A block whose prompt is `#` is for the reader's own machine.
            (Block::Unknown, None) => block = Block::Prompted,
            (Block::Unknown | Block::Commands, Some(command)) => {
                block = Block::Commands;
                written.push_str(&format!("{line}\n{}", run(command)));
                continue;
            }
            (Block::Commands, None) => continue,
            (Block::Prompted, _) => {}
        }
        written.push_str(line);
        written.push('\n');
    }
    written
}

#[derive(Clone, Copy)]
enum Block {
    Prose,
    Unknown,
    Prompted,
    Commands,
}

/// The text with what differs from run to run replaced by its kind. Lines that only say that something
/// is not there yet are left out; lines about pods, whose order is their names', are sorted.
fn kinds(document: &str) -> Vec<String> {
    let mut lines: Vec<String> = document
        .lines()
        .filter(|line| !line.starts_with("Waiting for "))
        .map(|line| {
            // Pods that were deleted just before may or may not be gone yet.
            let line = line
                .split_once("Removed cluster")
                .map_or(line, |(head, _)| head);
            let words: Vec<String> = line.split_whitespace().map(kind).collect();
            words.join(" ")
        })
        .collect();
    let mut start = 0;
    while start < lines.len() {
        let run = lines[start..]
            .iter()
            .take_while(|line| line.contains("-<id>"))
            .count();
        lines[start..start + run].sort();
        for line in &mut lines[start..start + run] {
            *line = line
                .replace(" node1 ", " <node> ")
                .replace(" node2 ", " <node> ");
        }
        start += run.max(1);
    }
    lines
}

/// What kind of thing a word is: an age, an address of a pod or a Service, a generated name …
fn kind(word: &str) -> String {
    if is_age(word) {
        return "<age>".to_owned();
    }
    let pieces =
        word.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'));
    pieces.map(piece).collect()
}

fn piece(piece: &str) -> String {
    let end = piece
        .trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'))
        .len();
    let (word, tail) = piece.split_at(end);
    let generated = |c: char| "bcdfghjklmnpqrstvwxz2456789".contains(c);
    let kind = match word.rsplit_once('-') {
        _ if word.starts_with("10.96.") || word.starts_with("10.244.") => "<ip>".to_owned(),
        _ if word.len() == 5
            && word != "31000"
            && word != "30000"
            && word.parse::<u16>().is_ok() =>
        {
            "<port>".to_owned()
        }
        _ if word.contains('.') && word.parse::<f64>().is_ok() => "<number>".to_owned(),
        Some((base, id)) if id.len() == 5 && id.chars().all(generated) => format!("{base}-<id>"),
        _ => word.to_owned(),
    };
    kind + tail
}

/// `13s`, `2m3s`, `<invalid>`.
fn is_age(word: &str) -> bool {
    let mut digits = false;
    for c in word.chars() {
        match c {
            '0'..='9' => digits = true,
            's' | 'm' | 'h' | 'd' if digits => digits = false,
            _ => return false,
        }
    }
    !word.is_empty() && !digits
}

#[test]
fn words_that_differ_from_run_to_run_are_known_by_their_kind() {
    for (word, said) in [
        ("13s", "<age>"),
        ("2m3s", "<age>"),
        ("30", "30"),
        (
            "\"counter-5d887c7986-8l49v\"",
            "\"counter-5d887c7986-<id>\"",
        ),
        ("counter-np-frn62", "counter-np-<id>"),
        ("10.244.1.2,10.244.2.3", "<ip>,<ip>"),
        ("30000:31845/TCP", "30000:<port>/TCP"),
        ("3000:31000/TCP", "3000:31000/TCP"),
        ("192.168.64.2", "192.168.64.2"),
        ("deployment.apps/redis", "deployment.apps/redis"),
        ("0.52", "<number>"),
    ] {
        assert_eq!(kind(word), said);
    }
}
