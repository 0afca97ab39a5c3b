//! A bounded run of every fuzz target: its corpus, and mutations of it from a fixed seed.

use std::path::Path;

use karve_fuzz::TARGETS;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Mutations of a target. `cargo fuzz` goes on where this ends.
const MUTATIONS: usize = 3_000;
/// Longer inputs are left as they are: what is long is tried once.
const MUTATED_MAX: usize = 4096;

/// What means something to one parser or another.
const WORDS: [&[u8]; 40] = [
    b"\x1e",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u0000",
    b":",
    b",",
    b"null",
    b"true",
    b"1e999",
    b"-0",
    b"9223372036854775808",
    b"\n",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!",
    b"|",
    b"? ",
    b"$patch",
    b"delete",
    b"replace",
    b"$setElementOrder/containers",
    b"$retainKeys",
    b"/-",
    b"~1",
    b" in ",
    b" notin (",
    b"!=",
    b".map(x, ",
    b".all(",
    b" ? ",
    b"\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xc0\x0c",
    b"\x80",
    "é".as_bytes(),
];

fn mutated(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=input.len());
        let end = random.random_range(at..=input.len().min(at + 40));
        match random.random_range(0..6) {
            0 => drop(input.drain(at..end)),
            1 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            2 => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            3 => {
                let other = &corpus[random.random_range(0..corpus.len())];
                let from = random.random_range(0..=other.len());
                let piece = other[from..other.len().min(from + 60)].to_vec();
                input.splice(at..end, piece);
            }
            4 => input.truncate(at),
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
        }
    }
    input
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|err| panic!("read {}: {err}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).expect("a file"))
        .collect()
}

#[test]
fn no_input_of_a_stranger_ends_the_program() {
    // Deep inputs meet the stack of a server's thread, not the larger one of a test's.
    let run = |target: &'static karve_fuzz::Target| {
        let inputs = corpus(target.name);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        inputs.iter().for_each(|input| (target.run)(input));
        let short: Vec<_> = inputs
            .into_iter()
            .filter(|input| input.len() <= MUTATED_MAX)
            .collect();
        let mut random = StdRng::seed_from_u64(0x6b61_7276);
        for _ in 0..MUTATIONS {
            let input = mutated(&mut random, &short);
            let shown = String::from_utf8_lossy(&input).into_owned();
            let result = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(result.is_ok(), "{}: {shown:?}", target.name);
        }
    };
    let threads: Vec<_> = TARGETS
        .iter()
        .map(|target| {
            let thread = std::thread::Builder::new().stack_size(2 << 20);
            thread.spawn(move || run(target)).expect("a thread")
        })
        .collect();
    let ended = threads.into_iter().map(|thread| thread.join().is_ok());
    let failed: Vec<_> = ended
        .zip(&TARGETS)
        .filter(|(ended, _)| !ended)
        .map(|(_, target)| target.name)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}
