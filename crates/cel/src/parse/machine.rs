//! Tokens to a tree, with ANTLR's recovery from errors.
//!
//! The machine keeps its own stack, so the depth of an expression costs no stack of the thread. Every rule may
//! be entered 250 times at once at most.

use super::grammar::{Grammar, Label, Place, RULES, Rule, State};
use super::predict::predict;
use super::token::{Kind, Set, Token};

/// How deep each rule may be nested.
pub const DEPTH_MAX: usize = 250;
/// How often the parser tries to go on after an error.
const RECOVERIES_MAX: usize = 30;
/// How many tokens one attempt to go on may skip.
const SKIPPED_MAX: usize = 256;
/// Syntax errors listed before the parser gives up.
const ERRORS_MAX: usize = 100;

/// A piece of a tree.
#[derive(Debug)]
pub enum Kid {
    Token(Token),
    Tree(Tree),
}

/// What a rule has read.
#[derive(Debug)]
pub struct Tree {
    /// The rule.
    pub rule: Rule,
    /// The rule's alternative; 0 when an error came before it was known.
    pub way: u8,
    /// Where it begins.
    pub at: u32,
    /// Its labelled parts.
    pub kids: Vec<(Label, Kid)>,
}

/// Chains of operators make trees as deep as they are long: no recursion.
impl Drop for Tree {
    fn drop(&mut self) {
        let mut waiting = std::mem::take(&mut self.kids);
        while let Some((_, kid)) = waiting.pop() {
            if let Kid::Tree(mut tree) = kid {
                waiting.append(&mut tree.kids);
            }
        }
    }
}

impl Tree {
    /// The first token with a label.
    pub fn token(&self, label: Label) -> Option<&Token> {
        self.tokens(label).next()
    }

    /// The tokens with a label.
    pub fn tokens(&self, label: Label) -> impl Iterator<Item = &Token> {
        self.kids.iter().filter_map(move |(own, kid)| match kid {
            Kid::Token(token) if *own == label => Some(token),
            _ => None,
        })
    }

    /// The first subtree with a label.
    pub fn tree(&self, label: Label) -> Option<&Tree> {
        self.trees(label).next()
    }

    /// The subtrees with a label.
    pub fn trees(&self, label: Label) -> impl Iterator<Item = &Tree> {
        self.kids.iter().filter_map(move |(own, kid)| match kid {
            Kid::Tree(tree) if *own == label => Some(tree),
            _ => None,
        })
    }
}

/// What became of the tokens.
pub struct Parsed {
    /// The tree, unless the parser gave up.
    pub tree: Option<Tree>,
    /// Syntax errors.
    pub errors: Vec<(u32, String)>,
    /// Why the parser gave up without a place, if so.
    pub abandoned: Option<String>,
    /// The furthest token that was looked at.
    pub furthest: usize,
}

/// Parses the tokens of one expression, to which `lexed` errors of the lexer belong.
pub fn parse(tokens: &[Token], lexed: usize) -> Parsed {
    let mut machine = Machine {
        grammar: Grammar::cel(),
        tokens,
        at: 0,
        frames: Vec::new(),
        depth: [0; RULES],
        recovering: false,
        failed_at: None,
        failed_states: Vec::new(),
        recoveries: 0,
        reported: lexed,
        errors: Vec::new(),
        furthest: 0,
    };
    let result = machine.run();
    let (tree, abandoned) = match result {
        Ok(tree) => (Some(tree), None),
        Err(Abandoned(reason)) => (None, reason),
    };
    Parsed {
        tree,
        errors: machine.errors,
        abandoned,
        furthest: machine.furthest,
    }
}

/// The parser gave up; with the reason, when it is not among the errors already.
struct Abandoned(Option<String>);

/// Why a rule could not go on.
enum Failure {
    Mismatch,
    /// No way was left at the token of this index.
    NoWay(usize),
}

struct Frame {
    rule: Rule,
    precedence: u8,
    tree: Tree,
    label: Label,
    /// The state behind the call.
    behind: Option<usize>,
}

struct Machine<'a> {
    grammar: &'static Grammar,
    tokens: &'a [Token],
    at: usize,
    frames: Vec<Frame>,
    depth: [usize; RULES],
    recovering: bool,
    failed_at: Option<usize>,
    failed_states: Vec<usize>,
    recoveries: usize,
    reported: usize,
    errors: Vec<(u32, String)>,
    furthest: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Tree, Abandoned> {
        let grammar = self.grammar;
        self.enter(Rule::Start, 0, Label::None, None)?;
        let mut state = grammar.entry(Rule::Start);
        loop {
            state = match grammar.state(state) {
                State::Match { set, label, next } => match self.matched(state, *set)? {
                    Some(token) => {
                        self.frame().tree.kids.push((*label, Kid::Token(token)));
                        *next
                    }
                    None => self.fail(state, Failure::Mismatch)?,
                },
                State::Call {
                    rule,
                    precedence,
                    label,
                    next,
                } => {
                    self.enter(*rule, *precedence, *label, Some(*next))?;
                    grammar.entry(*rule)
                }
                State::Choice { place, deep, ways } => {
                    match self.choose(state, *place, *deep, ways)? {
                        Ok(way) => ways[way],
                        Err(failure) => self.fail(state, failure)?,
                    }
                }
                State::Begin { way, next } => {
                    self.frame().tree.way = *way;
                    *next
                }
                State::Wrap { way, next, .. } => {
                    let frame = self.frame();
                    let (rule, at) = (frame.rule, frame.tree.at);
                    let wrapped = Tree {
                        rule,
                        way: *way,
                        at,
                        kids: Vec::new(),
                    };
                    let left = std::mem::replace(&mut frame.tree, wrapped);
                    frame.tree.kids.push((Label::Left, Kid::Tree(left)));
                    *next
                }
                State::Stop => match self.leave() {
                    Ok(next) => next,
                    Err(tree) => return Ok(tree),
                },
            };
        }
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a rule runs")
    }

    fn look(&mut self, ahead: usize) -> &'a Token {
        let index = (self.at + ahead).min(self.tokens.len() - 1);
        self.furthest = self.furthest.max(index);
        &self.tokens[index]
    }

    fn consume(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn enter(
        &mut self,
        rule: Rule,
        precedence: u8,
        label: Label,
        behind: Option<usize>,
    ) -> Result<(), Abandoned> {
        let depth = &mut self.depth[rule as usize];
        *depth += 1;
        if *depth > DEPTH_MAX {
            let reason = format!("expression recursion limit exceeded: {DEPTH_MAX}");
            return Err(Abandoned(Some(reason)));
        }
        let at = self.look(0).at;
        let tree = Tree {
            rule,
            way: 0,
            at,
            kids: Vec::new(),
        };
        self.frames.push(Frame {
            rule,
            precedence,
            tree,
            label,
            behind,
        });
        Ok(())
    }

    /// Ends the running rule: the state to go on with, or the whole tree.
    fn leave(&mut self) -> Result<usize, Tree> {
        let frame = self.frames.pop().expect("a rule runs");
        self.depth[frame.rule as usize] -= 1;
        match (frame.behind, self.frames.last_mut()) {
            (Some(behind), Some(parent)) => {
                parent.tree.kids.push((frame.label, Kid::Tree(frame.tree)));
                Ok(behind)
            }
            _ => Err(frame.tree),
        }
    }

    /// The token for a set: the next one, the one after it, or an invented one.
    fn matched(&mut self, state: usize, set: Set) -> Result<Option<Token>, Abandoned> {
        let token = self.look(0);
        if set.contains(token.kind) {
            self.recovered();
            self.consume();
            return Ok(Some(token.clone()));
        }
        self.attempt()?;
        if let Some(token) = self.delete(state)? {
            self.consume();
            return Ok(Some(token));
        }
        let State::Match { next, .. } = self.grammar.state(state) else {
            return Ok(None);
        };
        let kind = self.look(0).kind;
        if self.expected(*next).contains(kind) {
            let expected = self.expected(state);
            let token = self.look(0).clone();
            self.report(format!("missing {expected} at {}", quoted(&token)))?;
            return Ok(Some(Token {
                text: format!("<missing {}>", expected.first()),
                ..token
            }));
        }
        Ok(None)
    }

    /// Which tokens may come at a state, with those behind the running rules.
    fn expected(&self, state: usize) -> Set {
        let mut set = self.grammar.next_tokens(state);
        for frame in self.frames.iter().rev() {
            if !set.epsilon() {
                return set;
            }
            set = set.without_epsilon().union(match frame.behind {
                Some(behind) => self.grammar.next_tokens(behind),
                None => Set::of(&[Kind::End]),
            });
        }
        set.without_epsilon()
    }

    /// Skips one token when the one behind it fits, and returns that one.
    fn delete(&mut self, state: usize) -> Result<Option<Token>, Abandoned> {
        let second = self.look(1).kind;
        let expected = self.expected(state);
        if !expected.contains(second) {
            return Ok(None);
        }
        let token = self.look(0);
        self.report(format!(
            "extraneous input {} expecting {expected}",
            quoted(token)
        ))?;
        self.consume();
        self.recovered();
        Ok(Some(self.look(0).clone()))
    }

    fn recovered(&mut self) {
        self.recovering = false;
        self.failed_states.clear();
        self.failed_at = None;
    }

    /// Reports at the next token, unless an error was just reported.
    fn report(&mut self, message: String) -> Result<(), Abandoned> {
        if std::mem::replace(&mut self.recovering, true) {
            return Ok(());
        }
        let at = self.look(0).at;
        self.syntax_error(at, message)
    }

    fn syntax_error(&mut self, at: u32, message: String) -> Result<(), Abandoned> {
        if self.reported >= ERRORS_MAX {
            self.errors
                .push((at, format!("More than {ERRORS_MAX} syntax errors")));
            return Err(Abandoned(None));
        }
        self.reported += 1;
        self.errors.push((at, message));
        Ok(())
    }

    fn attempt(&mut self) -> Result<(), Abandoned> {
        if self.recoveries == RECOVERIES_MAX {
            let at = self.look(0).at;
            self.syntax_error(
                at,
                format!("error recovery attempt limit exceeded: {RECOVERIES_MAX}"),
            )?;
            return Err(Abandoned(None));
        }
        self.recoveries += 1;
        Ok(())
    }

    fn choose(
        &mut self,
        state: usize,
        place: Place,
        deep: bool,
        ways: &[usize],
    ) -> Result<Result<usize, Failure>, Abandoned> {
        if let Some(failure) = self.sync(state, place)? {
            return Ok(Err(failure));
        }
        let token = self.look(0).kind;
        if !deep {
            let first = self.grammar.next_tokens(ways[0]).contains(token);
            return Ok(Ok(if first { 0 } else { ways.len() - 1 }));
        }
        let mut fits = (0..ways.len()).filter(|way| {
            let next = self.grammar.next_tokens(ways[*way]);
            next.contains(token) || next.epsilon()
        });
        let repeats = matches!(self.grammar.state(ways[0]), State::Wrap { .. });
        if let (Some(only), None) = (fits.next(), fits.next())
            && !repeats
            && self.grammar.next_tokens(ways[only]).contains(token)
        {
            return Ok(Ok(only));
        }
        let precedence = self.frame().precedence;
        match predict(self.grammar, state, precedence, self.tokens, self.at) {
            Ok(way) => Ok(Ok(way)),
            Err(index) => {
                self.furthest = self.furthest.max(index);
                Ok(Err(Failure::NoWay(index)))
            }
        }
    }

    /// Before a choice: skips what can't be meant, or fails.
    fn sync(&mut self, state: usize, place: Place) -> Result<Option<Failure>, Abandoned> {
        if self.recovering {
            return Ok(None);
        }
        let next = self.grammar.next_tokens(state);
        if next.epsilon() || next.contains(self.look(0).kind) {
            return Ok(None);
        }
        match place {
            Place::Entry => Ok(match self.delete(state)? {
                Some(_) => None,
                None => Some(Failure::Mismatch),
            }),
            Place::Back => {
                let expected = self.expected(state);
                let token = self.look(0);
                self.report(format!(
                    "extraneous input {} expecting {expected}",
                    quoted(token)
                ))?;
                let follow = self.expected(state).union(self.follow());
                self.skip_until(follow, 0)?;
                Ok(None)
            }
        }
    }

    /// What may come behind any running rule.
    fn follow(&self) -> Set {
        self.frames
            .iter()
            .filter_map(|frame| frame.behind)
            .fold(Set::default(), |set, behind| {
                set.union(self.grammar.next_tokens(behind))
            })
            .without_epsilon()
    }

    fn skip_until(&mut self, set: Set, mut skipped: usize) -> Result<(), Abandoned> {
        while !matches!(self.look(0).kind, Kind::End) && !set.contains(self.look(0).kind) {
            self.skip_one(&mut skipped)?;
        }
        Ok(())
    }

    fn skip_one(&mut self, skipped: &mut usize) -> Result<(), Abandoned> {
        if *skipped >= SKIPPED_MAX {
            let reason = format!("error recovery token lookahead limit exceeded: {SKIPPED_MAX}");
            return Err(Abandoned(Some(reason)));
        }
        *skipped += 1;
        self.consume();
        Ok(())
    }

    /// Reports a failure, skips to where some running rule can go on, and ends the running rule.
    fn fail(&mut self, state: usize, failure: Failure) -> Result<usize, Abandoned> {
        if !std::mem::replace(&mut self.recovering, true) {
            let (index, message) = match failure {
                Failure::Mismatch => {
                    let token = quoted(self.look(0));
                    let expected = self.expected(state);
                    (
                        self.at,
                        format!("mismatched input {token} expecting {expected}"),
                    )
                }
                Failure::NoWay(index) => (index, self.no_way(index)),
            };
            let at = self.tokens[index.min(self.tokens.len() - 1)].at;
            self.syntax_error(at, message)?;
        }
        self.attempt()?;
        let mut skipped = 0;
        if self.failed_at == Some(self.at) && self.failed_states.contains(&state) {
            self.skip_one(&mut skipped)?;
        }
        self.failed_at = Some(self.at);
        self.failed_states.push(state);
        let follow = self.follow();
        self.skip_until(follow, skipped)?;
        Ok(self.stop())
    }

    /// The stop state of the running rule.
    fn stop(&mut self) -> usize {
        let rule = self.frame().rule;
        self.grammar.stop(rule)
    }

    fn no_way(&self, index: usize) -> String {
        let last = index.min(self.tokens.len() - 1);
        let text = self.input(self.at, last);
        // A reserved word behind a dot is named in the form that older releases gave.
        let mut chars = text.chars();
        chars.next();
        if matches!(chars.as_str(), "true" | "false" | "null") {
            return format!("mismatched input '{}' expecting IDENTIFIER", chars.as_str());
        }
        let text = text
            .replace('\t', "\\t")
            .replace('\n', "\\n")
            .replace('\r', "\\r");
        format!("no viable alternative at input '{text}'")
    }

    /// The text from one token to another, without what no token could be made of.
    fn input(&self, from: usize, to: usize) -> String {
        if self.tokens[from].kind == Kind::End {
            return "<EOF>".to_owned();
        }
        let mut text = self.tokens[from].text.clone();
        for token in &self.tokens[from + 1..=to] {
            text += &token.before;
            if token.kind != Kind::End {
                text += &token.text;
            }
        }
        text
    }
}

fn quoted(token: &Token) -> String {
    let text = token
        .text
        .replace('\t', "\\t")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    format!("'{text}'")
}
