//! Choosing a way by looking ahead, as ANTLR's adaptive prediction does.
//!
//! All ways are followed at once, token by token, until one is left. When none is left, one that had got out
//! of the rule before is taken (a later match reports the error); otherwise no way is viable.

use std::collections::HashMap;
use std::sync::{OnceLock, RwLock};

use super::grammar::{Grammar, State};
use super::token::{Kind, Token};

/// One reading of the input: a state, the way that it began with, and where called rules return to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Config {
    state: usize,
    way: usize,
    stack: usize,
    /// Whether it has left the rule of the choice.
    outside: bool,
}

/// Return stacks, each known by one number. Number 0 is the empty one.
#[derive(Default)]
struct Stacks {
    frames: Vec<(usize, usize)>,
    known: HashMap<(usize, usize), usize>,
}

impl Stacks {
    fn push(&mut self, state: usize, below: usize) -> usize {
        *self.known.entry((state, below)).or_insert_with(|| {
            self.frames.push((state, below));
            self.frames.len()
        })
    }

    fn pop(&self, stack: usize) -> Option<(usize, usize)> {
        Some(self.frames[stack.checked_sub(1)?])
    }
}

/// How many tokens a remembered choice may depend on.
const REMEMBERED: usize = 4;

/// A choice: its state, the running rule's precedence, and the tokens that decide it.
type Situation = (usize, u8, [u8; REMEMBERED]);

/// The choices that were made before. There are few: most take one token or two.
fn remembered() -> &'static RwLock<HashMap<Situation, usize>> {
    static REMEMBERED: OnceLock<RwLock<HashMap<Situation, usize>>> = OnceLock::new();
    REMEMBERED.get_or_init(RwLock::default)
}

/// The situation of a choice that so many tokens decide.
fn situation(state: usize, precedence: u8, tokens: &[Token], at: usize, count: usize) -> Situation {
    let mut kinds = [u8::MAX; REMEMBERED];
    for (place, kind) in kinds.iter_mut().enumerate().take(count) {
        *kind = tokens.get(at + place).map_or(Kind::End, |token| token.kind) as u8;
    }
    (state, precedence, kinds)
}

/// Chooses among the ways of the choice at `state`; the rule runs at `precedence`. The error is the index of
/// the token at which no way was left.
pub fn predict(
    grammar: &Grammar,
    state: usize,
    precedence: u8,
    tokens: &[Token],
    at: usize,
) -> Result<usize, usize> {
    if let Ok(known) = remembered().read() {
        let found = (1..=REMEMBERED)
            .find_map(|count| known.get(&situation(state, precedence, tokens, at, count)));
        if let Some(way) = found {
            return Ok(*way);
        }
    }
    let (way, last) = simulate(grammar, state, precedence, tokens, at)?;
    let count = last + 1 - at;
    if count <= REMEMBERED
        && let Ok(mut known) = remembered().write()
    {
        known.insert(situation(state, precedence, tokens, at, count), way);
    }
    Ok(way)
}

/// The way, and the index of the last token that was looked at.
fn simulate(
    grammar: &Grammar,
    state: usize,
    precedence: u8,
    tokens: &[Token],
    at: usize,
) -> Result<(usize, usize), usize> {
    let State::Choice { ways, .. } = grammar.state(state) else {
        return Ok((0, at));
    };
    let mut stacks = Stacks::default();
    let start = ways.iter().enumerate().map(|(way, state)| Config {
        state: *state,
        way,
        stack: 0,
        outside: false,
    });
    let mut configs = close(grammar, &mut stacks, start.collect(), Some(precedence));
    for index in at.. {
        let token = tokens.get(index).map_or(Kind::End, |token| token.kind);
        let moved: Vec<Config> = configs
            .iter()
            .filter_map(|config| match grammar.state(config.state) {
                State::Match { set, next, .. } if set.contains(token) => Some(Config {
                    state: *next,
                    ..*config
                }),
                _ => None,
            })
            .collect();
        let reached = close(grammar, &mut stacks, moved, None);
        if reached.is_empty() {
            let finished = |config: &&Config| {
                config.outside
                    || (config.stack == 0 && matches!(grammar.state(config.state), State::Stop))
            };
            return match configs
                .iter()
                .filter(finished)
                .map(|config| config.way)
                .min()
            {
                Some(way) => Ok((way, index)),
                None => Err(index),
            };
        }
        if let Some(way) = settled(&reached) {
            return Ok((way, index));
        }
        if token == Kind::End {
            let way = reached.iter().map(|config| config.way).min();
            return way.map(|way| (way, index)).ok_or(index);
        }
        configs = reached;
    }
    Ok((0, at))
}

/// The way that is left, or the first of those that can't be told apart any more.
fn settled(configs: &[Config]) -> Option<usize> {
    let first = configs.iter().map(|config| config.way).min()?;
    if configs.iter().all(|config| config.way == first) {
        return Some(first);
    }
    let mut places: HashMap<(usize, usize), Vec<usize>> = HashMap::new();
    for config in configs {
        places
            .entry((config.state, config.stack))
            .or_default()
            .push(config.way);
    }
    let conflict = |ways: &Vec<usize>| ways.iter().any(|way| *way != ways[0]);
    places.values().all(conflict).then_some(first)
}

/// Everything that can be reached without a token. With a precedence, calls of operators that bind too
/// weakly for the running rule are left out.
fn close(
    grammar: &Grammar,
    stacks: &mut Stacks,
    from: Vec<Config>,
    precedence: Option<u8>,
) -> Vec<Config> {
    let mut seen: Vec<Config> = Vec::new();
    let mut known = std::collections::HashSet::new();
    let mut todo = from;
    todo.reverse();
    while let Some(config) = todo.pop() {
        if !known.insert(config) {
            continue;
        }
        let to = |state| Config { state, ..config };
        match grammar.state(config.state) {
            State::Match { .. } => seen.push(config),
            State::Call { rule, next, .. } => {
                let stack = stacks.push(*next, config.stack);
                let state = grammar.entry(*rule);
                todo.push(Config {
                    state,
                    stack,
                    ..config
                });
            }
            State::Choice { ways, .. } => todo.extend(ways.iter().rev().map(|way| to(*way))),
            State::Begin { next, .. } => todo.push(to(*next)),
            State::Wrap {
                precedence: own,
                next,
                ..
            } => {
                let running = precedence.filter(|_| config.stack == 0 && !config.outside);
                if running.is_none_or(|running| *own >= running) {
                    todo.push(to(*next));
                }
            }
            State::Stop => match stacks.pop(config.stack) {
                Some((state, stack)) => todo.push(Config {
                    state,
                    stack,
                    ..config
                }),
                None => {
                    seen.push(config);
                    let follow = grammar.follow(grammar.rule(config.state));
                    todo.extend(follow.iter().map(|state| Config {
                        outside: true,
                        ..to(*state)
                    }));
                }
            },
        }
    }
    seen
}
