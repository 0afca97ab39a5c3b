//! CEL's grammar as a graph of states.
//!
//! Upstream's parser is made by ANTLR, and its syntax errors (what was expected, where it went on) follow
//! from ANTLR's way of predicting and recovering, which works on such a graph. So this is a graph too, and
//! [`machine`](super::machine) walks it in the same way. The shape of the graph therefore follows the grammar
//! file rule by rule, left recursion turned into loops with precedences as ANTLR does it.

use std::sync::OnceLock;

use super::token::{Kind, Set};

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    Start,
    Expr,
    ConditionalOr,
    ConditionalAnd,
    Relation,
    Calc,
    Unary,
    Member,
    Primary,
    ExprList,
    ListInit,
    FieldInit,
    OptField,
    MapInit,
    EscapeIdent,
    OptExpr,
    Literal,
}

/// How many rules there are.
pub const RULES: usize = 17;

/// What a part of a rule is to the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    None,
    /// What a left-recursive rule had read before.
    Left,
    Operand,
    Operator,
    Then,
    Else,
    More,
    Optional,
    Name,
    Open,
    Arguments,
    LeadingDot,
    Entries,
    Colon,
    Key,
    Value,
    Sign,
    Token,
}

/// Where a choice stands, which decides how an unexpected token is treated before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before a block or a loop.
    Entry,
    /// At the end of a turn of a loop.
    Back,
}

/// A state. Numbers are indices of other states.
#[derive(Debug, Clone)]
pub enum State {
    Match {
        set: Set,
        label: Label,
        next: usize,
    },
    Call {
        rule: Rule,
        precedence: u8,
        label: Label,
        next: usize,
    },
    Choice {
        place: Place,
        /// Whether more than one token may be needed to choose.
        deep: bool,
        ways: Vec<usize>,
    },
    /// The rule's alternative is known.
    Begin {
        way: u8,
        next: usize,
    },
    /// What was read becomes the left operand, if the precedence allows it.
    Wrap {
        way: u8,
        precedence: u8,
        next: usize,
    },
    Stop,
}

/// The graph.
pub struct Grammar {
    states: Vec<State>,
    entries: [usize; RULES],
    stops: [usize; RULES],
    /// For each state, which tokens may come next within its rule.
    next: Vec<Set>,
    /// For each rule, the states behind its calls.
    follow: [Vec<usize>; RULES],
    /// The rule that each state belongs to.
    rules: Vec<Rule>,
}

impl Grammar {
    /// CEL's.
    pub fn cel() -> &'static Grammar {
        static CEL: OnceLock<Grammar> = OnceLock::new();
        CEL.get_or_init(build)
    }

    /// A state.
    pub fn state(&self, state: usize) -> &State {
        &self.states[state]
    }

    /// A rule's first state.
    pub fn entry(&self, rule: Rule) -> usize {
        self.entries[rule as usize]
    }

    /// A rule's last state.
    pub fn stop(&self, rule: Rule) -> usize {
        self.stops[rule as usize]
    }

    /// Which tokens may come at a state, within its rule; with epsilon when the rule may end.
    pub fn next_tokens(&self, state: usize) -> Set {
        self.next[state]
    }

    /// The states at which some rule goes on after `rule`.
    pub fn follow(&self, rule: Rule) -> &[usize] {
        &self.follow[rule as usize]
    }

    /// The rule of a state.
    pub fn rule(&self, state: usize) -> Rule {
        self.rules[state]
    }
}

/// A rule's text.
enum Part {
    Token(Set, Label),
    Rule(Rule, u8, Label),
    Seq(Vec<Part>),
    Optional(Box<Part>),
    Star(bool, Box<Part>),
    Plus(bool, Box<Part>),
    Either(Vec<Part>),
    Way(u8, Box<Part>),
    Wrap(u8, u8, Box<Part>),
}

struct Builder {
    states: Vec<State>,
    rules: Vec<Rule>,
    rule: Rule,
}

impl Builder {
    fn add(&mut self, state: State) -> usize {
        self.states.push(state);
        self.rules.push(self.rule);
        self.states.len() - 1
    }

    /// Builds `part` so that it ends at `next`, and returns its first state.
    fn part(&mut self, part: Part, next: usize) -> usize {
        match part {
            Part::Token(set, label) => self.add(State::Match { set, label, next }),
            Part::Rule(rule, precedence, label) => self.add(State::Call {
                rule,
                precedence,
                label,
                next,
            }),
            Part::Seq(parts) => parts
                .into_iter()
                .rev()
                .fold(next, |next, part| self.part(part, next)),
            Part::Optional(part) => {
                let body = self.part(*part, next);
                self.choice(Place::Entry, false, vec![body, next])
            }
            Part::Star(deep, part) => {
                let back = self.choice(Place::Back, deep, Vec::new());
                let body = self.part(*part, back);
                let entry = self.choice(Place::Entry, deep, vec![body, next]);
                self.states[back] = State::Choice {
                    place: Place::Back,
                    deep,
                    ways: vec![body, next],
                };
                entry
            }
            Part::Plus(deep, part) => {
                let back = self.choice(Place::Back, deep, Vec::new());
                let body = self.part(*part, back);
                self.states[back] = State::Choice {
                    place: Place::Back,
                    deep,
                    ways: vec![body, next],
                };
                self.choice(Place::Entry, false, vec![body])
            }
            Part::Either(parts) => {
                let ways = parts
                    .into_iter()
                    .map(|part| self.part(part, next))
                    .collect();
                self.choice(Place::Entry, true, ways)
            }
            Part::Way(way, part) => {
                let next = self.part(*part, next);
                self.add(State::Begin { way, next })
            }
            Part::Wrap(way, precedence, part) => {
                let next = self.part(*part, next);
                self.add(State::Wrap {
                    way,
                    precedence,
                    next,
                })
            }
        }
    }

    fn choice(&mut self, place: Place, deep: bool, ways: Vec<usize>) -> usize {
        self.add(State::Choice { place, deep, ways })
    }
}

fn token(kind: Kind, label: Label) -> Part {
    Part::Token(Set::of(&[kind]), label)
}

fn rule(rule: Rule, label: Label) -> Part {
    Part::Rule(rule, 0, label)
}

fn seq(parts: impl Into<Vec<Part>>) -> Part {
    Part::Seq(parts.into())
}

fn optional(part: Part) -> Part {
    Part::Optional(Box::new(part))
}

fn way(number: u8, part: Part) -> Part {
    Part::Way(number, Box::new(part))
}

fn wrap(number: u8, precedence: u8, part: Part) -> Part {
    Part::Wrap(number, precedence, Box::new(part))
}

/// `operand (operator operand)*`
fn chain(operand: Rule, operator: Kind) -> Part {
    seq([
        rule(operand, Label::Operand),
        Part::Star(
            false,
            Box::new(seq([
                token(operator, Label::Operator),
                rule(operand, Label::More),
            ])),
        ),
    ])
}

/// `first (',' first)*`
fn list(deep: bool, first: impl Fn() -> Part) -> Part {
    seq([
        first(),
        Part::Star(
            deep,
            Box::new(seq([token(Kind::Comma, Label::None), first()])),
        ),
    ])
}

fn binary(operators: &[Kind], operand: Rule, precedence: u8) -> Part {
    wrap(
        2,
        precedence,
        seq([
            Part::Token(Set::of(operators), Label::Operator),
            Part::Rule(operand, precedence + 1, Label::More),
        ]),
    )
}

fn text(which: Rule) -> Part {
    use Kind as K;
    use Label as L;
    match which {
        Rule::Start => way(
            1,
            seq([rule(Rule::Expr, L::Operand), token(K::End, L::None)]),
        ),
        Rule::Expr => way(
            1,
            seq([
                rule(Rule::ConditionalOr, L::Operand),
                optional(seq([
                    token(K::Question, L::Operator),
                    rule(Rule::ConditionalOr, L::Then),
                    token(K::Colon, L::None),
                    rule(Rule::Expr, L::Else),
                ])),
            ]),
        ),
        Rule::ConditionalOr => way(1, chain(Rule::ConditionalAnd, K::Or)),
        Rule::ConditionalAnd => way(1, chain(Rule::Relation, K::And)),
        Rule::Relation => {
            let operators = [
                K::Less,
                K::LessEquals,
                K::GreaterEquals,
                K::Greater,
                K::Equals,
                K::NotEquals,
                K::In,
            ];
            way(
                1,
                seq([
                    rule(Rule::Calc, L::Operand),
                    Part::Star(true, Box::new(binary(&operators, Rule::Relation, 1))),
                ]),
            )
        }
        Rule::Calc => way(
            1,
            seq([
                rule(Rule::Unary, L::Operand),
                Part::Star(
                    true,
                    Box::new(Part::Either(vec![
                        binary(&[K::Star, K::Slash, K::Percent], Rule::Calc, 2),
                        binary(&[K::Plus, K::Minus], Rule::Calc, 1),
                    ])),
                ),
            ]),
        ),
        Rule::Unary => {
            let signed = |deep, kind| {
                seq([
                    Part::Plus(deep, Box::new(token(kind, L::Operator))),
                    rule(Rule::Member, L::Operand),
                ])
            };
            Part::Either(vec![
                way(1, rule(Rule::Member, L::Operand)),
                way(2, signed(false, K::Exclamation)),
                way(3, signed(true, K::Minus)),
            ])
        }
        Rule::Member => member(),
        Rule::Primary => primary(),
        Rule::ExprList => way(1, list(false, || rule(Rule::Expr, L::More))),
        Rule::ListInit => way(1, list(true, || rule(Rule::OptExpr, L::More))),
        Rule::FieldInit | Rule::MapInit => {
            let key = if which == Rule::MapInit {
                Rule::OptExpr
            } else {
                Rule::OptField
            };
            way(
                1,
                list(true, || {
                    seq([
                        rule(key, L::Key),
                        token(K::Colon, L::Colon),
                        rule(Rule::Expr, L::Value),
                    ])
                }),
            )
        }
        Rule::OptField => way(
            1,
            seq([
                optional(token(K::Question, L::Optional)),
                rule(Rule::EscapeIdent, L::Name),
            ]),
        ),
        Rule::OptExpr => way(
            1,
            seq([
                optional(token(K::Question, L::Optional)),
                rule(Rule::Expr, L::Operand),
            ]),
        ),
        Rule::EscapeIdent => Part::Either(vec![
            way(1, token(K::Identifier, L::Name)),
            way(2, token(K::EscapedIdentifier, L::Name)),
        ]),
        Rule::Literal => literal(),
    }
}

fn member() -> Part {
    use Kind as K;
    use Label as L;
    let select = seq([
        token(K::Dot, L::Operator),
        optional(token(K::Question, L::Optional)),
        rule(Rule::EscapeIdent, L::Name),
    ]);
    let call = seq([
        token(K::Dot, L::Operator),
        token(K::Identifier, L::Name),
        token(K::ParenOpen, L::Open),
        optional(rule(Rule::ExprList, L::Arguments)),
        token(K::ParenClose, L::None),
    ]);
    let index = seq([
        token(K::BracketOpen, L::Operator),
        optional(token(K::Question, L::Optional)),
        rule(Rule::Expr, L::More),
        token(K::BracketClose, L::None),
    ]);
    way(
        1,
        seq([
            rule(Rule::Primary, L::Operand),
            Part::Star(
                true,
                Box::new(Part::Either(vec![
                    wrap(2, 3, select),
                    wrap(3, 2, call),
                    wrap(4, 1, index),
                ])),
            ),
        ]),
    )
}

fn primary() -> Part {
    use Kind as K;
    use Label as L;
    let dot = || optional(token(K::Dot, L::LeadingDot));
    let comma = || optional(token(K::Comma, L::None));
    let braced = |open, entries, close| {
        [
            token(open, L::Open),
            optional(rule(entries, L::Entries)),
            comma(),
            token(close, L::None),
        ]
    };
    let path = [
        dot(),
        token(K::Identifier, L::Name),
        Part::Star(
            false,
            Box::new(seq([token(K::Dot, L::None), token(K::Identifier, L::Name)])),
        ),
    ];
    Part::Either(vec![
        way(1, seq([dot(), token(K::Identifier, L::Name)])),
        way(
            2,
            seq([
                dot(),
                token(K::Identifier, L::Name),
                token(K::ParenOpen, L::Open),
                optional(rule(Rule::ExprList, L::Arguments)),
                token(K::ParenClose, L::None),
            ]),
        ),
        way(
            3,
            seq([
                token(K::ParenOpen, L::None),
                rule(Rule::Expr, L::Operand),
                token(K::ParenClose, L::None),
            ]),
        ),
        way(
            4,
            seq(braced(K::BracketOpen, Rule::ListInit, K::BracketClose)),
        ),
        way(5, seq(braced(K::BraceOpen, Rule::MapInit, K::BraceClose))),
        way(
            6,
            seq(path
                .into_iter()
                .chain(braced(K::BraceOpen, Rule::FieldInit, K::BraceClose))
                .collect::<Vec<_>>()),
        ),
        way(7, rule(Rule::Literal, L::Operand)),
    ])
}

fn literal() -> Part {
    use Kind as K;
    use Label as L;
    let sign = || optional(token(K::Minus, L::Sign));
    let plain = |kind| token(kind, L::Token);
    Part::Either(vec![
        way(1, seq([sign(), plain(K::Int)])),
        way(2, plain(K::Uint)),
        way(3, seq([sign(), plain(K::Double)])),
        way(4, plain(K::String)),
        way(5, plain(K::Bytes)),
        way(6, plain(K::True)),
        way(7, plain(K::False)),
        way(8, plain(K::Null)),
    ])
}

const ALL: [Rule; RULES] = [
    Rule::Start,
    Rule::Expr,
    Rule::ConditionalOr,
    Rule::ConditionalAnd,
    Rule::Relation,
    Rule::Calc,
    Rule::Unary,
    Rule::Member,
    Rule::Primary,
    Rule::ExprList,
    Rule::ListInit,
    Rule::FieldInit,
    Rule::OptField,
    Rule::MapInit,
    Rule::EscapeIdent,
    Rule::OptExpr,
    Rule::Literal,
];

fn build() -> Grammar {
    let mut builder = Builder {
        states: Vec::new(),
        rules: Vec::new(),
        rule: Rule::Start,
    };
    let mut entries = [0; RULES];
    let mut stops = [0; RULES];
    for which in ALL {
        builder.rule = which;
        let stop = builder.add(State::Stop);
        stops[which as usize] = stop;
        entries[which as usize] = builder.part(text(which), stop);
    }
    let Builder { states, rules, .. } = builder;
    let mut follow = [const { Vec::new() }; RULES];
    for state in &states {
        if let State::Call { rule, next, .. } = state {
            follow[*rule as usize].push(*next);
        }
    }
    let next = settle(&states, &entries);
    Grammar {
        states,
        entries,
        stops,
        next,
        follow,
        rules,
    }
}

/// The sets of next tokens: the least fixed point.
fn settle(states: &[State], entries: &[usize; RULES]) -> Vec<Set> {
    let mut next = vec![Set::default(); states.len()];
    loop {
        let mut changed = false;
        for (index, state) in states.iter().enumerate() {
            let set = match state {
                State::Match { set, .. } => *set,
                State::Call {
                    rule, next: behind, ..
                } => {
                    let within = next[entries[*rule as usize]];
                    if within.epsilon() {
                        within.without_epsilon().union(next[*behind])
                    } else {
                        within
                    }
                }
                State::Choice { ways, .. } => ways
                    .iter()
                    .fold(Set::default(), |set, way| set.union(next[*way])),
                State::Begin { next: behind, .. } | State::Wrap { next: behind, .. } => {
                    next[*behind]
                }
                State::Stop => Set::EPSILON,
            };
            changed |= set != next[index];
            next[index] = set;
        }
        if !changed {
            return next;
        }
    }
}
