//! What is done with bytes of strangers, a function for each kind: `cargo fuzz` runs them by the million, and the tests
//! of this crate run them over the corpus and some thousands of its mutations.
//!
//! Invariant of each function: it returns. A panic, an endless loop or memory without bound is a defect of the parser
//! that it calls; what must hold of an answer (it reads back, it is in its limits) is asserted here. Absent: a server,
//! sockets, and whether an answer is upstream's, which the tests of each crate tell.
//!
//! Inputs of several parts are separated by the byte 0x1e (ASCII's record separator), so that a corpus stays readable.

mod api;
mod cel;
mod node;
mod tokens;

/// One kind of input: the name of its fuzz target and of its folder in the corpus.
pub struct Target {
    /// For example `yaml`.
    pub name: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    target("label_selector", api::label_selector),
    target("field_selector", api::field_selector),
    target("patch", api::patch),
    target("apply", api::apply),
    target("protobuf", api::protobuf),
    target("yaml", api::yaml),
    target("continue_token", tokens::continue_token),
    target("web_token", tokens::web_token),
    target("cel", cel::expression),
    target("dns", node::dns),
    target("corefile", node::corefile),
    target("netlink", node::netlink),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Runs one input of a target by name, for `fuzz/fuzz_targets`.
///
/// # Panics
/// When there is no such target, and when the input has found a defect.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(input);
}

/// The parts of an input.
fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == 0x1e)
}
