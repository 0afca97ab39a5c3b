//! What an expression can cost at most (and at least), from the sizes that its variables can have.
//!
//! The rules, those of functions included, are upstream's: whether a rule is accepted depends on them.

mod functions;

use std::collections::HashMap;

use super::range::Range;
use super::{CHAR, LIST, MAP, PATTERN_CHAR, STRUCT};
use crate::ast::{Comprehension, Element, Entry, Expr, ExprKind, Literal};
use crate::check::Checked;
use crate::env::Env;
use crate::names;
use crate::types::Type;

/// Estimates a checked expression in its environment.
pub fn estimate(checked: &Checked, env: &Env) -> Range {
    let mut estimator = Estimator {
        checked,
        env,
        paths: HashMap::new(),
        locals: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    };
    estimator.expr(&checked.ast.root)
}

/// Where a value comes from: a variable, then fields, `@items`, `@keys` or `@values`.
type Path = Vec<String>;

/// The sizes of a list's or map's parts.
#[derive(Debug, Clone, Copy)]
struct EntrySize {
    list: bool,
    key: Range,
    value: Range,
}

struct Local {
    path: Path,
    size: Option<Range>,
    entry: Option<EntrySize>,
}

struct Estimator<'a> {
    checked: &'a Checked,
    env: &'a Env,
    paths: HashMap<usize, Path>,
    locals: HashMap<String, Vec<Local>>,
    sizes: HashMap<usize, Range>,
    entries: HashMap<usize, EntrySize>,
}

/// An argument, as the functions' estimates see it.
struct Arg<'e> {
    path: Path,
    ty: Type,
    expr: &'e Expr,
    size: Option<Range>,
}

/// What a call costs, and how large its result is.
struct CallEstimate {
    cost: Range,
    result: Option<Range>,
}

impl CallEstimate {
    fn of(cost: Range) -> CallEstimate {
        CallEstimate { cost, result: None }
    }

    fn sized(cost: Range, result: Range) -> CallEstimate {
        CallEstimate {
            cost,
            result: Some(result),
        }
    }
}

/// Whether a range is of lists.
fn is_list(ty: &Type) -> bool {
    matches!(ty, Type::List(_))
}

impl Estimator<'_> {
    fn expr(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            ExprKind::Unspecified | ExprKind::Literal(_) => Range::ZERO,
            ExprKind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => vec![name.clone()],
                };
                self.paths.insert(expr.id, path);
                Range::ONE
            }
            ExprKind::Select {
                operand,
                field,
                test,
            } => self.select(expr, operand, field, *test),
            ExprKind::Call {
                target,
                function,
                args,
            } => self.call(expr, target.as_deref(), function, args),
            ExprKind::List(elements) => self.list(expr, elements),
            ExprKind::Map(entries) => self.map(expr, entries),
            ExprKind::Struct { fields, .. } => fields
                .iter()
                .map(|field| self.expr(&field.value))
                .fold(Range::exactly(STRUCT), Range::plus),
            ExprKind::Comprehension(loops) if loops.is_bind() => self.bind(expr, loops),
            ExprKind::Comprehension(loops) => self.comprehension(expr, loops),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name)?.last()
    }

    fn path(&self, expr: &Expr) -> Path {
        if let ExprKind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn below(&self, expr: &Expr, part: &str) -> Path {
        let mut path = self.path(expr);
        path.push(part.to_owned());
        path
    }

    fn push(&mut self, name: &str, path: Path, size: Option<Range>, entry: Option<EntrySize>) {
        let local = Local { path, size, entry };
        self.locals.entry(name.to_owned()).or_default().push(local);
    }

    fn pop(&mut self, name: &str) {
        if let Some(known) = self.locals.get_mut(name) {
            known.pop();
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Range {
        let mut cost = self.expr(operand);
        if test {
            return cost;
        }
        if matches!(
            self.checked.ty(operand),
            Type::Map(_) | Type::Object(_) | Type::Param(_)
        ) {
            cost = cost.plus(Range::ONE);
        }
        let path = self.below(operand, field);
        self.paths.insert(expr.id, path);
        cost
    }

    fn arg<'e>(&mut self, expr: &'e Expr) -> Arg<'e> {
        let mut path = self.path(expr);
        if matches!(
            path.first().map(String::as_str),
            Some(names::ACCUMULATOR | names::OLD_ACCUMULATOR)
        ) {
            path = Vec::new();
        }
        Arg {
            path,
            ty: self.checked.ty(expr).clone(),
            expr,
            size: self.size(expr),
        }
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Range {
        if let ("dyn", [arg]) = (function, args) {
            let cost = self.expr(arg).plus(Range::ONE);
            self.copy_sizes(expr, arg);
            return cost;
        }
        let mut costs = Vec::with_capacity(args.len());
        let mut seen = Vec::with_capacity(args.len());
        for arg in args {
            costs.push(self.expr(arg));
            seen.push(self.arg(arg));
        }
        let overloads = self.checked.overloads(expr);
        if overloads.is_empty() {
            return Range::ZERO;
        }
        let mut sum = Range::ZERO;
        let receiver = target.map(|target| {
            sum = self.expr(target);
            self.arg(target)
        });
        let mut cost = Range::NONE;
        let mut result: Option<Range> = None;
        for overload in overloads {
            let call = self.function(expr, function, overload, receiver.as_ref(), &seen, &costs);
            cost = cost.or(call.cost);
            if let Some(size) = call.result {
                result = Some(result.map_or(size, |known| known.or(size)));
            }
            let part = match *overload {
                "index_list" => Some("@items"),
                "index_map" => Some("@values"),
                _ => None,
            };
            if let (Some(part), Some(first)) = (part, args.first()) {
                result = self.entry(first).map(|entry| entry.value);
                let path = self.below(first, part);
                self.paths.insert(expr.id, path);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if let Some(size) = result {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(cost)
    }

    fn list(&mut self, expr: &Expr, elements: &[Element]) -> Range {
        let mut cost = Range::exactly(LIST);
        let mut value = if elements.is_empty() {
            Range::ZERO
        } else {
            Range::NONE
        };
        for element in elements {
            cost = cost.plus(self.expr(&element.value));
            value = value.or(self.size_or_unknown(&element.value));
        }
        self.entries.insert(
            expr.id,
            EntrySize {
                list: true,
                key: Range::ONE,
                value,
            },
        );
        cost
    }

    fn map(&mut self, expr: &Expr, entries: &[Entry]) -> Range {
        let mut cost = Range::exactly(MAP);
        let empty = if entries.is_empty() {
            Range::ZERO
        } else {
            Range::NONE
        };
        let (mut key, mut value) = (empty, empty);
        for entry in entries {
            cost = cost
                .plus(self.expr(&entry.key))
                .plus(self.expr(&entry.value));
            key = key.or(self.size_or_unknown(&entry.key));
            value = value.or(self.size_or_unknown(&entry.value));
        }
        self.entries.insert(
            expr.id,
            EntrySize {
                list: false,
                key,
                value,
            },
        );
        cost
    }

    fn comprehension(&mut self, expr: &Expr, loops: &Comprehension) -> Range {
        let mut cost = self.expr(&loops.range).plus(self.expr(&loops.init));
        let path = self.path(&loops.init);
        let (size, entry) = (self.size(&loops.init), self.entry(&loops.init));
        self.push(&loops.accumulator, path, size, entry);
        self.push_variables(loops);
        let turn = self.expr(&loops.condition).plus(self.expr(&loops.step));
        self.pop(&loops.variable);
        if let Some(second) = &loops.second {
            self.pop(second);
        }
        cost = cost.plus(self.expr(&loops.result));
        self.pop(&loops.accumulator);
        let turns = self.size_or_unknown(&loops.range);
        cost = cost.plus(turns.times(turn));
        match &loops.init.kind {
            ExprKind::Literal(_) => {
                if let Some(size) = self.size(&loops.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            ExprKind::List(_) | ExprKind::Map(_) => {
                self.sizes.insert(expr.id, turns);
                if let Some(entry) = self.entry(&loops.step) {
                    self.entries.insert(expr.id, entry);
                }
            }
            _ => {}
        }
        cost
    }

    fn push_variables(&mut self, loops: &Comprehension) {
        let entry = self.entry(&loops.range);
        let list = entry.map_or_else(
            || is_list(self.checked.ty(&loops.range)),
            |entry| entry.list,
        );
        let key = entry.map(|entry| entry.key);
        let value = entry.map(|entry| entry.value);
        let (keys, values) = if list {
            ("@indices", "@items")
        } else {
            ("@keys", "@values")
        };
        match &loops.second {
            Some(second) => {
                let path = self.below(&loops.range, keys);
                self.push(&loops.variable, path, key, None);
                let path = self.below(&loops.range, values);
                self.push(second, path, value, None);
            }
            None => {
                let (part, size) = if list {
                    ("@items", value)
                } else {
                    ("@keys", key)
                };
                let path = self.below(&loops.range, part);
                self.push(&loops.variable, path, size, None);
            }
        }
    }

    fn bind(&mut self, expr: &Expr, loops: &Comprehension) -> Range {
        let cost = self.expr(&loops.range).plus(self.expr(&loops.init));
        let path = self.path(&loops.init);
        let (size, entry) = (self.size(&loops.init), self.entry(&loops.init));
        self.push(&loops.accumulator, path, size, entry);
        let cost = cost.plus(self.expr(&loops.result));
        self.pop(&loops.accumulator);
        self.copy_sizes(expr, &loops.result);
        cost
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entry) = self.entry(from) {
            self.entries.insert(to.id, entry);
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(known) = self.sizes.get(&expr.id) {
            return Some(*known);
        }
        if let Some(exact) = exact_size(expr) {
            return Some(Range::exactly(exact));
        }
        if let Some(declared) = self.declared_size(&self.path(expr)) {
            self.sizes.insert(expr.id, declared);
            return Some(declared);
        }
        if self.checked.ty(expr).is_scalar() {
            return Some(Range::ONE);
        }
        match &expr.kind {
            ExprKind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    /// The size that a schema allows at a path.
    fn declared_size(&self, path: &[String]) -> Option<Range> {
        let (variable, rest) = path.split_first()?;
        let max = self.env.sized(variable)?.at(rest)?.max();
        Some(Range { min: 0, max })
    }

    fn entry(&self, expr: &Expr) -> Option<EntrySize> {
        if let Some(known) = self.entries.get(&expr.id) {
            return Some(*known);
        }
        match &expr.kind {
            ExprKind::Ident(name) => self.local(name)?.entry,
            _ => None,
        }
    }

    fn function(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Arg<'_>>,
        args: &[Arg<'_>],
        costs: &[Range],
    ) -> CallEstimate {
        let sum = costs.iter().copied().fold(Range::ZERO, Range::plus);
        let known = functions::listed(self, overload, target, args)
            .or_else(|| functions::kubernetes(self, function, overload, target, args));
        if let Some(call) = known {
            return CallEstimate {
                cost: call.cost.plus(sum),
                result: call.result,
            };
        }
        match overload {
            "logical_and" | "logical_or" => {
                let min = costs.first().map_or(0, |first| first.min);
                return CallEstimate::of(Range { min, max: sum.max });
            }
            "conditional" => return self.conditional(expr, args, costs),
            _ => {}
        }
        let call = self.standard(expr, overload, target, args);
        CallEstimate {
            cost: call.cost.plus(sum),
            result: call.result,
        }
    }

    fn conditional(&mut self, expr: &Expr, args: &[Arg<'_>], costs: &[Range]) -> CallEstimate {
        let ([_, then, otherwise], [condition, then_cost, otherwise_cost]) = (args, costs) else {
            return CallEstimate::of(Range::ONE);
        };
        let size = sized(then).or(sized(otherwise));
        let both = self.entry(then.expr).zip(self.entry(otherwise.expr));
        if let Some((one, two)) = both {
            self.entries.insert(expr.id, joined(one, two));
        }
        CallEstimate::sized(condition.plus(then_cost.or(*otherwise_cost)), size)
    }

    fn standard(
        &mut self,
        expr: &Expr,
        overload: &str,
        target: Option<&Arg<'_>>,
        args: &[Arg<'_>],
    ) -> CallEstimate {
        match (overload, target, args) {
            ("string_format", Some(target), _) => CallEstimate::of(sized(target).scaled(CHAR)),
            ("string_to_bytes", _, [arg]) => {
                let size = sized(arg);
                let max = size.max.wrapping_mul(4);
                CallEstimate::sized(size.scaled(CHAR), Range { min: size.min, max })
            }
            ("bytes_to_string", _, [arg]) => {
                let size = sized(arg);
                let min = size.min / 4;
                CallEstimate::sized(size.scaled(CHAR), Range { min, max: size.max })
            }
            ("strings_quote", _, [arg]) => {
                let size = sized(arg);
                let result = Range {
                    min: size.min.wrapping_add(2),
                    max: size.max.wrapping_mul(2).wrapping_add(2),
                };
                CallEstimate::sized(size.scaled(CHAR), result)
            }
            ("starts_with_string" | "ends_with_string", _, [arg]) => {
                CallEstimate::of(sized(arg).scaled(CHAR))
            }
            ("in_list", _, [_, list]) => CallEstimate::of(sized(list).scaled(1.0)),
            ("matches_string", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                let text = sized(text).plus(Range::ONE).scaled(CHAR);
                CallEstimate::of(text.times(sized(pattern).scaled(PATTERN_CHAR)))
            }
            ("contains_string", Some(target), [part]) => {
                CallEstimate::of(sized(target).scaled(CHAR).times(sized(part).scaled(CHAR)))
            }
            ("add_string" | "add_bytes" | "add_list", _, [one, two]) => {
                let size = sized(one).plus(sized(two));
                if let Some((one, two)) = self.entry(one.expr).zip(self.entry(two.expr)) {
                    self.entries.insert(expr.id, joined(one, two));
                }
                let cost = if overload == "add_list" {
                    Range::ONE
                } else {
                    size.scaled(CHAR)
                };
                CallEstimate::sized(cost, size)
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                _,
                [one, two],
            ) => {
                let max = sized(one).max.min(sized(two).max);
                let min = u64::from(max > 0);
                CallEstimate::of(Range { min, max }.scaled(CHAR))
            }
            _ => CallEstimate::of(Range::ONE),
        }
    }
}

/// The size of an argument, as far as it is known.
fn sized(arg: &Arg<'_>) -> Range {
    arg.size.unwrap_or(Range::UNKNOWN)
}

fn joined(one: EntrySize, two: EntrySize) -> EntrySize {
    EntrySize {
        list: one.list,
        key: one.key.or(two.key),
        value: one.value.or(two.value),
    }
}

fn exact_size(expr: &Expr) -> Option<u64> {
    Some(match &expr.kind {
        ExprKind::Literal(Literal::String(text)) => text.chars().count() as u64,
        ExprKind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        ExprKind::Literal(_) => 1,
        ExprKind::List(elements) => elements.len() as u64,
        ExprKind::Map(entries) => entries.len() as u64,
        _ => return None,
    })
}
