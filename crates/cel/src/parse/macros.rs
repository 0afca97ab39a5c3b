//! Macros: calls that stand for loops and presence tests.

use super::build::Builder;
use crate::ast::{Comprehension, Element, Expr, ExprKind, Literal};
use crate::names;

/// A macro whose arguments are wrong: the position and what is wrong.
type Wrong = (u32, String);
type Expanded = Result<Expr, Wrong>;

/// The call, or what it stands for.
pub fn call(
    builder: &mut Builder<'_>,
    at: u32,
    name: &str,
    target: Option<Expr>,
    args: Vec<Expr>,
) -> Expr {
    let expanded = match (&target, name, args.len()) {
        (None, "has", 1) => has(builder, at, args),
        (Some(_), "all" | "exists" | "exists_one", 2 | 3)
        | (Some(_), "existsOne", 3)
        | (Some(_), "map", 2 | 3)
        | (Some(_), "filter", 2)
        | (Some(_), "optMap" | "optFlatMap" | "sortBy", 2)
        | (Some(_), "transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
            let target = target.expect("matched with a target");
            let mut expansion = Expansion { builder, at };
            expansion.method(name, target, args)
        }
        _ => {
            return builder.node(
                at,
                ExprKind::Call {
                    target: target.map(Box::new),
                    function: name.to_owned(),
                    args,
                },
            );
        }
    };
    expanded.unwrap_or_else(|(at, message)| {
        builder.issues.report(at, message);
        builder.node(at, ExprKind::Unspecified)
    })
}

fn has(builder: &mut Builder<'_>, at: u32, mut args: Vec<Expr>) -> Expanded {
    let arg = args.swap_remove(0);
    match arg.kind {
        ExprKind::Select { operand, field, .. } => Ok(builder.node(
            at,
            ExprKind::Select {
                operand,
                field,
                test: true,
            },
        )),
        _ => Err((arg.at, "invalid argument to has() macro".to_owned())),
    }
}

struct Expansion<'b, 'i> {
    builder: &'b mut Builder<'i>,
    at: u32,
}

/// A loop's variables.
struct Variables {
    first: String,
    second: Option<String>,
}

impl Expansion<'_, '_> {
    fn method(&mut self, name: &str, target: Expr, mut args: Vec<Expr>) -> Expanded {
        match name {
            "optMap" | "optFlatMap" => self.optional(name, target, args),
            "sortBy" => self.sort_by(target, args),
            "map" => {
                let variables = one_variable(&args[0], "argument is not an identifier")?;
                let transform = args.pop().expect("two or three arguments");
                let filter = (args.len() == 2).then(|| args.swap_remove(1));
                Ok(self.list(target, variables, filter, transform))
            }
            "filter" => {
                let variables = one_variable(&args[0], "argument is not an identifier")?;
                let filter = args.swap_remove(1);
                let element = args.swap_remove(0);
                Ok(self.list(target, variables, Some(filter), element))
            }
            "transformList" => {
                let (variables, filter, transform) = transformed(args)?;
                Ok(self.list(target, variables, filter, transform))
            }
            "transformMap" | "transformMapEntry" => {
                let (variables, filter, transform) = transformed(args)?;
                let mut insert = vec![self.accumulator()];
                if name == "transformMap" {
                    insert.push(self.node(ExprKind::Ident(variables.first.clone())));
                }
                insert.push(transform);
                let step = self.call(names::MAP_INSERT, insert);
                let init = self.node(ExprKind::Map(Vec::new()));
                Ok(self.collect(target, variables, filter, init, step))
            }
            _ => {
                let variables = match args.len() {
                    2 => one_variable(&args[0], "argument must be a simple name")?,
                    _ => two_variables(&args[0], &args[1])?,
                };
                let predicate = args.pop().expect("two or three arguments");
                Ok(self.quantifier(name, target, variables, predicate))
            }
        }
    }

    fn node(&mut self, kind: ExprKind) -> Expr {
        self.builder.node(self.at, kind)
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.node(ExprKind::Literal(literal))
    }

    fn accumulator(&mut self) -> Expr {
        self.node(ExprKind::Ident(names::ACCUMULATOR.to_owned()))
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.builder.operator(self.at, function, args)
    }

    fn quantifier(
        &mut self,
        name: &str,
        range: Expr,
        variables: Variables,
        predicate: Expr,
    ) -> Expr {
        let accumulator = self.accumulator();
        let (init, condition, step) = match name {
            "all" => {
                let condition = self.call(names::NOT_STRICTLY_FALSE, vec![accumulator.clone()]);
                let step = self.call(names::AND, vec![accumulator.clone(), predicate]);
                (Literal::Bool(true), condition, step)
            }
            "exists" => {
                let not = self.call(names::NOT, vec![accumulator.clone()]);
                let condition = self.call(names::NOT_STRICTLY_FALSE, vec![not]);
                let step = self.call(names::OR, vec![accumulator.clone(), predicate]);
                (Literal::Bool(false), condition, step)
            }
            _ => {
                let one = self.literal(Literal::Int(1));
                let more = self.call(names::ADD, vec![accumulator.clone(), one]);
                let same = self.accumulator();
                let step = self.call(names::CONDITIONAL, vec![predicate, more, same]);
                (Literal::Int(0), self.literal(Literal::Bool(true)), step)
            }
        };
        let init = self.literal(init);
        let mut result = self.accumulator();
        if !matches!(name, "all" | "exists") {
            let one = self.literal(Literal::Int(1));
            result = self.call(names::EQUALS, vec![result, one]);
        }
        self.comprehension(range, variables, init, condition, step, result)
    }

    fn list(
        &mut self,
        range: Expr,
        variables: Variables,
        filter: Option<Expr>,
        element: Expr,
    ) -> Expr {
        let element = Element {
            optional: false,
            value: element,
        };
        let list = self.node(ExprKind::List(vec![element]));
        let accumulator = self.accumulator();
        let step = self.call(names::ADD, vec![accumulator, list]);
        let init = self.node(ExprKind::List(Vec::new()));
        self.collect(range, variables, filter, init, step)
    }

    fn collect(
        &mut self,
        range: Expr,
        variables: Variables,
        filter: Option<Expr>,
        init: Expr,
        step: Expr,
    ) -> Expr {
        let step = match filter {
            Some(filter) => {
                let same = self.accumulator();
                self.call(names::CONDITIONAL, vec![filter, step, same])
            }
            None => step,
        };
        let condition = self.literal(Literal::Bool(true));
        let result = self.accumulator();
        self.comprehension(range, variables, init, condition, step, result)
    }

    fn comprehension(
        &mut self,
        range: Expr,
        variables: Variables,
        init: Expr,
        condition: Expr,
        step: Expr,
        result: Expr,
    ) -> Expr {
        self.node(ExprKind::Comprehension(Box::new(Comprehension {
            range,
            variable: variables.first,
            second: variables.second,
            accumulator: names::ACCUMULATOR.to_owned(),
            init,
            condition,
            step,
            result,
        })))
    }

    /// `target.hasValue() ? optional.of(body with the value named) : optional.none()`
    fn optional(&mut self, name: &str, target: Expr, mut args: Vec<Expr>) -> Expanded {
        let otherwise = format!("{name}() variable name must be a simple identifier");
        let variable = name_of(&args[0], &otherwise)?.to_owned();
        let body = args.swap_remove(1);
        let copy = self.builder.copy(&target);
        let value = self.member("value", copy);
        let bind = self.bind(&variable, value, body);
        let then = match name {
            "optMap" => self.call("optional.of", vec![bind]),
            _ => bind,
        };
        let has = self.member("hasValue", target);
        let none = self.call("optional.none", Vec::new());
        Ok(self.call(names::CONDITIONAL, vec![has, then, none]))
    }

    /// The target, named, sorted by what `map` makes of it.
    fn sort_by(&mut self, target: Expr, mut args: Vec<Expr>) -> Expanded {
        const INPUT: &str = "@__sortBy_input__";
        if matches!(
            target.kind,
            ExprKind::Literal(_) | ExprKind::Map(_) | ExprKind::Struct { .. }
        ) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err((target.at, message.to_owned()));
        }
        let variables = one_variable(&args[0], "argument is not an identifier")?;
        let input = self.node(ExprKind::Ident(INPUT.to_owned()));
        let transform = args.swap_remove(1);
        let keys = self.list(input.clone(), variables, None, transform);
        let same = self.builder.copy(&input);
        let sorted = self.node(ExprKind::Call {
            target: Some(Box::new(same)),
            function: "@sortByAssociatedKeys".to_owned(),
            args: vec![keys],
        });
        Ok(self.bind(INPUT, target, sorted))
    }

    /// `body` with `value` named.
    fn bind(&mut self, name: &str, value: Expr, body: Expr) -> Expr {
        let range = self.node(ExprKind::List(Vec::new()));
        let condition = self.literal(Literal::Bool(false));
        let step = self.node(ExprKind::Ident(name.to_owned()));
        self.node(ExprKind::Comprehension(Box::new(Comprehension {
            range,
            variable: "#unused".to_owned(),
            second: None,
            accumulator: name.to_owned(),
            init: value,
            condition,
            step,
            result: body,
        })))
    }

    fn member(&mut self, function: &str, target: Expr) -> Expr {
        self.node(ExprKind::Call {
            target: Some(Box::new(target)),
            function: function.to_owned(),
            args: Vec::new(),
        })
    }
}

fn name_of<'a>(expr: &'a Expr, otherwise: &str) -> Result<&'a str, Wrong> {
    match &expr.kind {
        ExprKind::Ident(name) => Ok(name),
        _ => Err((expr.at, otherwise.to_owned())),
    }
}

fn overwrites(expr: &Expr, name: &str) -> Result<(), Wrong> {
    if matches!(name, names::ACCUMULATOR | names::OLD_ACCUMULATOR) {
        return Err((
            expr.at,
            "iteration variable overwrites accumulator variable".to_owned(),
        ));
    }
    Ok(())
}

fn one_variable(expr: &Expr, otherwise: &str) -> Result<Variables, Wrong> {
    let name = name_of(expr, otherwise)?;
    overwrites(expr, name)?;
    Ok(Variables {
        first: name.to_owned(),
        second: None,
    })
}

fn two_variables(first: &Expr, second: &Expr) -> Result<Variables, Wrong> {
    let otherwise = "argument must be a simple name";
    let (one, two) = (name_of(first, otherwise)?, name_of(second, otherwise)?);
    if one == two {
        return Err((second.at, format!("duplicate variable name: {one}")));
    }
    overwrites(first, one)?;
    overwrites(second, two)?;
    Ok(Variables {
        first: one.to_owned(),
        second: Some(two.to_owned()),
    })
}

/// The parts of a `transform…` macro: variables, filter, transform.
fn transformed(mut args: Vec<Expr>) -> Result<(Variables, Option<Expr>, Expr), Wrong> {
    let variables = two_variables(&args[0], &args[1])?;
    let transform = args.pop().expect("three or four arguments");
    let filter = (args.len() == 3).then(|| args.swap_remove(2));
    Ok((variables, filter, transform))
}
