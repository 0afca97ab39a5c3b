//! The machine's tree to an expression. Whatever a syntax error left out becomes an unspecified node.

use super::grammar::Label;
use super::grammar::Rule;
use super::machine::{DEPTH_MAX, Tree};
use super::macros;
use super::token::Token;
use super::unescape;
use crate::ast::{Element, Entry, Expr, ExprKind, Field, Literal};
use crate::escape::KEYWORDS;
use crate::names;
use crate::source::{Issues, Location, NOWHERE};

/// The expression is nested too deep to be built.
pub struct TooDeep;

type Built = Result<Expr, TooDeep>;

/// Builds expressions and numbers them.
pub struct Builder<'a> {
    pub(super) issues: &'a mut Issues,
    ids: usize,
    depth: usize,
}

impl<'a> Builder<'a> {
    /// A builder that reports to `issues`.
    pub fn new(issues: &'a mut Issues) -> Builder<'a> {
        Builder {
            issues,
            ids: 0,
            depth: 0,
        }
    }

    /// How many numbers were given out.
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// A node with the next number.
    pub fn node(&mut self, at: u32, kind: ExprKind) -> Expr {
        self.ids += 1;
        Expr {
            id: self.ids - 1,
            at,
            kind,
        }
    }

    /// A copy with numbers of its own.
    pub fn copy(&mut self, expr: &Expr) -> Expr {
        let mut copy = expr.clone();
        let mut ids = self.ids;
        renumber(&mut copy, &mut ids);
        self.ids = ids;
        copy
    }

    fn error(&mut self, at: u32, message: impl Into<String>) -> Expr {
        self.issues.report(at, message);
        self.node(at, ExprKind::Unspecified)
    }

    fn missing(&mut self) -> Expr {
        if self.issues.is_empty() {
            let message = "unknown parse element encountered: <<nil>>";
            self.issues.report_at(Location::NONE, message);
        }
        self.node(NOWHERE, ExprKind::Unspecified)
    }

    /// The expression of the subtree with a label.
    fn part(&mut self, tree: &Tree, label: Label) -> Built {
        match tree.tree(label) {
            Some(part) => self.tree(part),
            None => Ok(self.missing()),
        }
    }

    fn nested(&mut self, build: impl FnOnce(&mut Self) -> Built) -> Built {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(TooDeep);
        }
        let built = build(self);
        self.depth -= 1;
        built
    }

    /// The expression of a tree.
    pub fn tree(&mut self, mut tree: &Tree) -> Built {
        // Rules that only pass on another's expression cost no recursion.
        while let Some(inner) = transparent(tree) {
            tree = inner;
        }
        match (tree.rule, tree.way) {
            (Rule::Expr, _) => self.nested(|builder| builder.conditional(tree)),
            (Rule::ConditionalOr, _) => self.logic(tree, names::OR),
            (Rule::ConditionalAnd, _) => self.logic(tree, names::AND),
            (Rule::Relation | Rule::Calc, 2) => self.nested(|builder| builder.binary(tree)),
            (Rule::Unary, 2) => self.sign(tree, names::NOT),
            (Rule::Unary, 3) => self.sign(tree, names::NEGATE),
            (Rule::Member, 2) => self.nested(|builder| builder.select(tree)),
            (Rule::Member, 3) => self.nested(|builder| builder.method(tree)),
            (Rule::Member, 4) => self.nested(|builder| builder.index(tree)),
            (Rule::Primary, 1) => Ok(self.ident(tree)),
            (Rule::Primary, 2) => self.call(tree),
            (Rule::Primary, 4) => self.list(tree),
            (Rule::Primary, 5) => self.map(tree),
            (Rule::Primary, 6) => self.message(tree),
            (Rule::Literal, _) => Ok(self.literal(tree)),
            _ => Ok(self.missing()),
        }
    }

    fn conditional(&mut self, tree: &Tree) -> Built {
        let condition = self.part(tree, Label::Operand)?;
        let at = position(tree, Label::Operator);
        let then = self.part(tree, Label::Then)?;
        let otherwise = self.part(tree, Label::Else)?;
        Ok(self.operator(at, names::CONDITIONAL, vec![condition, then, otherwise]))
    }

    /// A call of an operator.
    pub fn operator(&mut self, at: u32, function: &str, args: Vec<Expr>) -> Expr {
        self.node(
            at,
            ExprKind::Call {
                target: None,
                function: function.to_owned(),
                args,
            },
        )
    }

    fn logic(&mut self, tree: &Tree, function: &str) -> Built {
        let mut args = vec![self.part(tree, Label::Operand)?];
        for more in tree.trees(Label::More) {
            args.push(self.tree(more)?);
        }
        Ok(self.operator(position(tree, Label::Operator), function, args))
    }

    fn binary(&mut self, tree: &Tree) -> Built {
        let left = self.part(tree, Label::Left)?;
        let Some(operator) = tree.token(Label::Operator) else {
            return Ok(self.missing());
        };
        let (at, function) = (operator.at, names::binary(&operator.text));
        let right = self.part(tree, Label::More)?;
        match function {
            Some(function) => Ok(self.operator(at, function, vec![left, right])),
            None => Ok(self.error(tree.at, "operator not found")),
        }
    }

    fn sign(&mut self, tree: &Tree, function: &str) -> Built {
        let count = tree.tokens(Label::Operator).count();
        let operand = self.part(tree, Label::Operand)?;
        if count.is_multiple_of(2) {
            return Ok(operand);
        }
        Ok(self.operator(position(tree, Label::Operator), function, vec![operand]))
    }

    fn select(&mut self, tree: &Tree) -> Built {
        let operand = self.part(tree, Label::Left)?;
        let (Some(name), Some(operator)) = (tree.tree(Label::Name), tree.token(Label::Operator))
        else {
            return Ok(self.node(tree.at, ExprKind::Unspecified));
        };
        let at = operator.at;
        let (name_at, field) = (name.at, self.escape_ident(name, name.at));
        if tree.token(Label::Optional).is_some() {
            let field = self.node(name_at, ExprKind::Literal(Literal::String(field)));
            return Ok(self.operator(at, names::OPTIONAL_SELECT, vec![operand, field]));
        }
        Ok(self.node(
            at,
            ExprKind::Select {
                operand: Box::new(operand),
                field,
                test: false,
            },
        ))
    }

    /// A field's name, plain or in backticks. An error points at `at`.
    fn escape_ident(&mut self, tree: &Tree, at: u32) -> String {
        match tree.token(Label::Name) {
            Some(token) if tree.way == 2 => token.text.trim_matches('`').to_owned(),
            Some(token) => token.text.clone(),
            None => {
                self.issues.report(at, "unsupported ident kind");
                String::new()
            }
        }
    }

    fn method(&mut self, tree: &Tree) -> Built {
        let target = self.part(tree, Label::Left)?;
        let Some(name) = tree.token(Label::Name).map(|token| token.text.clone()) else {
            return Ok(self.node(tree.at, ExprKind::Unspecified));
        };
        let at = position(tree, Label::Open);
        let args = self.arguments(tree)?;
        Ok(macros::call(self, at, &name, Some(target), args))
    }

    fn arguments(&mut self, tree: &Tree) -> Result<Vec<Expr>, TooDeep> {
        let list = tree.tree(Label::Arguments);
        let args = list.into_iter().flat_map(|list| list.trees(Label::More));
        args.map(|arg| self.tree(arg)).collect()
    }

    fn index(&mut self, tree: &Tree) -> Built {
        let target = self.part(tree, Label::Left)?;
        let at = position(tree, Label::Operator);
        let index = self.part(tree, Label::More)?;
        let function = match tree.token(Label::Optional) {
            Some(_) => names::OPTIONAL_INDEX,
            None => names::INDEX,
        };
        Ok(self.operator(at, function, vec![target, index]))
    }

    /// The name of a variable or function, its dot included, with its position.
    fn name(&mut self, tree: &Tree) -> Result<(u32, String), Expr> {
        let Some(Token { at, text, .. }) = tree.token(Label::Name) else {
            return Err(self.node(tree.at, ExprKind::Unspecified));
        };
        // Those that mean something never come as names.
        if KEYWORDS.contains(&text.as_str()) {
            return Err(self.error(tree.at, format!("reserved identifier: {text}")));
        }
        let dot = if tree.token(Label::LeadingDot).is_some() {
            "."
        } else {
            ""
        };
        Ok((*at, format!("{dot}{text}")))
    }

    fn ident(&mut self, tree: &Tree) -> Expr {
        match self.name(tree) {
            Ok((at, name)) => self.node(at, ExprKind::Ident(name)),
            Err(error) => error,
        }
    }

    fn call(&mut self, tree: &Tree) -> Built {
        let name = match self.name(tree) {
            Ok((_, name)) => name,
            Err(error) => return Ok(error),
        };
        let at = position(tree, Label::Open);
        let args = self.arguments(tree)?;
        Ok(macros::call(self, at, &name, None, args))
    }

    fn list(&mut self, tree: &Tree) -> Built {
        let mut elements = Vec::new();
        for element in tree
            .tree(Label::Entries)
            .into_iter()
            .flat_map(|list| list.trees(Label::More))
        {
            elements.push(Element {
                optional: element.token(Label::Optional).is_some(),
                value: self.part(element, Label::Operand)?,
            });
        }
        Ok(self.node(position(tree, Label::Open), ExprKind::List(elements)))
    }

    fn map(&mut self, tree: &Tree) -> Built {
        let mut entries = Vec::new();
        for (key, _, value) in tree.tree(Label::Entries).map(triples).unwrap_or_default() {
            entries.push(Entry {
                optional: key.token(Label::Optional).is_some(),
                key: self.part(key, Label::Operand)?,
                value: self.tree(value)?,
            });
        }
        Ok(self.node(position(tree, Label::Open), ExprKind::Map(entries)))
    }

    fn message(&mut self, tree: &Tree) -> Built {
        let dot = if tree.token(Label::LeadingDot).is_some() {
            "."
        } else {
            ""
        };
        let names: Vec<&str> = tree
            .tokens(Label::Name)
            .map(|token| token.text.as_str())
            .collect();
        let name = format!("{dot}{}", names.join("."));
        let mut fields = Vec::new();
        let begin = tree
            .tree(Label::Entries)
            .map_or(tree.at, |entries| entries.at);
        for (key, at, value) in tree.tree(Label::Entries).map(triples).unwrap_or_default() {
            let Some(ident) = key.tree(Label::Name) else {
                continue;
            };
            fields.push(Field {
                at,
                optional: key.token(Label::Optional).is_some(),
                name: self.escape_ident(ident, begin),
                value: self.tree(value)?,
            });
        }
        Ok(self.node(
            position(tree, Label::Open),
            ExprKind::Struct { name, fields },
        ))
    }

    fn literal(&mut self, tree: &Tree) -> Expr {
        let Some(token) = tree.token(Label::Token) else {
            return self.missing();
        };
        let sign = if tree.token(Label::Sign).is_some() {
            "-"
        } else {
            ""
        };
        let text = token.text.as_str();
        let literal = match tree.way {
            1 => integer(text, sign)
                .map(Literal::Int)
                .ok_or("invalid int literal".to_owned()),
            2 => unsigned(text)
                .map(Literal::Uint)
                .ok_or("invalid uint literal".to_owned()),
            3 => double(text, sign)
                .map(Literal::Double)
                .ok_or("invalid double literal".to_owned()),
            4 => unescape::string(text)
                .map(Literal::String)
                .map_err(|err| err.to_string()),
            5 => unescape::bytes(text.get(1..).unwrap_or_default())
                .map(Literal::Bytes)
                .map_err(|err| err.to_string()),
            6 => Ok(Literal::Bool(true)),
            7 => Ok(Literal::Bool(false)),
            _ => Ok(Literal::Null),
        };
        match literal {
            Ok(literal) => self.node(tree.at, ExprKind::Literal(literal)),
            Err(message) => self.error(tree.at, message),
        }
    }
}

/// The tree whose expression is this tree's expression too.
fn transparent(tree: &Tree) -> Option<&Tree> {
    let operand = tree.tree(Label::Operand);
    match (tree.rule, tree.way) {
        (Rule::Start, _) => operand,
        (Rule::Expr, _) if tree.token(Label::Operator).is_none() => operand,
        (Rule::ConditionalOr | Rule::ConditionalAnd, _)
            if tree.token(Label::Operator).is_none() =>
        {
            operand
        }
        (Rule::Relation | Rule::Calc | Rule::Member | Rule::Unary, 1) => operand,
        (Rule::Primary, 3 | 7) => operand,
        _ => None,
    }
}

/// Where the first token with a label is.
fn position(tree: &Tree, label: Label) -> u32 {
    tree.token(label).map_or(tree.at, |token| token.at)
}

/// The entries of an initializer that are whole: key, position of the colon, value. None, when an error left
/// one unfinished.
fn triples(tree: &Tree) -> Vec<(&Tree, u32, &Tree)> {
    let keys: Vec<&Tree> = tree.trees(Label::Key).collect();
    let values: Vec<&Tree> = tree.trees(Label::Value).collect();
    let colons: Vec<u32> = tree.tokens(Label::Colon).map(|token| token.at).collect();
    if keys.len() != values.len() || colons.len() != values.len() {
        return Vec::new();
    }
    keys.into_iter()
        .zip(colons)
        .zip(values)
        .map(|((key, at), value)| (key, at, value))
        .collect()
}

fn integer(text: &str, sign: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(&format!("{sign}{digits}"), 16).ok(),
        None => format!("{sign}{text}").parse().ok(),
    }
}

fn unsigned(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['u', 'U']);
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn double(text: &str, sign: &str) -> Option<f64> {
    let value: f64 = format!("{sign}{text}").parse().ok()?;
    value.is_finite().then_some(value)
}

fn renumber(expr: &mut Expr, ids: &mut usize) {
    expr.id = *ids;
    *ids += 1;
    match &mut expr.kind {
        ExprKind::Unspecified | ExprKind::Literal(_) | ExprKind::Ident(_) => {}
        ExprKind::Select { operand, .. } => renumber(operand, ids),
        ExprKind::Call { target, args, .. } => {
            for part in target.iter_mut().map(|target| &mut **target).chain(args) {
                renumber(part, ids);
            }
        }
        ExprKind::List(elements) => elements
            .iter_mut()
            .for_each(|element| renumber(&mut element.value, ids)),
        ExprKind::Map(entries) => {
            for entry in entries {
                renumber(&mut entry.key, ids);
                renumber(&mut entry.value, ids);
            }
        }
        ExprKind::Struct { fields, .. } => fields
            .iter_mut()
            .for_each(|field| renumber(&mut field.value, ids)),
        ExprKind::Comprehension(loops) => {
            let parts = [
                &mut loops.range,
                &mut loops.init,
                &mut loops.condition,
                &mut loops.step,
                &mut loops.result,
            ];
            for part in parts {
                renumber(part, ids);
            }
        }
    }
}
