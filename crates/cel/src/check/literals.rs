//! Literals that are wrong whatever the data: durations, timestamps, patterns, format strings, and lists or
//! maps whose elements have several types.

use crate::ast::{Expr, ExprKind, Literal};
use crate::check::Checked;
use crate::check::unify::equivalent;
use crate::library::{format, regex};
use crate::source::Issues;
use crate::types::Type;
use crate::value::time;

/// Tells whether a literal is right.
type Valid = fn(&str) -> bool;

/// Reports what is wrong with an expression's literals.
pub fn validate(checked: &Checked, issues: &mut Issues) {
    let mut calls = Vec::new();
    let mut lists = Vec::new();
    let mut maps = Vec::new();
    let mut exempt = std::collections::HashSet::new();
    walk(&checked.ast.root, &mut |expr| match &expr.kind {
        ExprKind::Call { function, .. } => {
            calls.push(expr);
            if function == "format" {
                walk(expr, &mut |below| {
                    exempt.insert(below.id);
                });
            }
        }
        ExprKind::List(_) => lists.push(expr),
        ExprKind::Map(_) => maps.push(expr),
        _ => {}
    });
    let kinds: [(&str, Valid); 3] = [
        ("duration", |text| time::parse_duration(text).is_some()),
        ("timestamp", |text| time::parse_timestamp(text).is_some()),
        ("matches", |text| regex::compile(text).is_ok()),
    ];
    format::validate_calls(checked, &calls, issues);
    for (name, valid) in kinds {
        for call in &calls {
            let ExprKind::Call { function, args, .. } = &call.kind else {
                continue;
            };
            if function != name {
                continue;
            }
            if let Some((at, text)) = args.first().and_then(literal_string)
                && !valid(text)
            {
                issues.report(at, format!("invalid {name} argument"));
            }
        }
    }
    for list in lists.into_iter().filter(|list| !exempt.contains(&list.id)) {
        homogeneous_list(checked, list, issues);
    }
    for map in maps.into_iter().filter(|map| !exempt.contains(&map.id)) {
        homogeneous_map(checked, map, issues);
    }
}

fn literal_string(expr: &Expr) -> Option<(u32, &str)> {
    match &expr.kind {
        ExprKind::Literal(Literal::String(text)) => Some((expr.at, text)),
        _ => None,
    }
}

fn mismatch(issues: &mut Issues, at: u32, expected: &Type, found: &Type) {
    issues.report(
        at,
        format!("expected type '{expected}' but found '{found}'"),
    );
}

fn held(checked: &Checked, expr: &Expr, optional: bool) -> Type {
    let ty = checked.ty(expr).clone();
    if optional { ty.unwrap_optional().0 } else { ty }
}

fn homogeneous_list(checked: &Checked, list: &Expr, issues: &mut Issues) {
    let ExprKind::List(elements) = &list.kind else {
        return;
    };
    let mut first: Option<Type> = None;
    for element in elements {
        let ty = held(checked, &element.value, element.optional);
        match &first {
            None => first = Some(ty),
            Some(first) if !equivalent(first, &ty) => {
                return mismatch(issues, element.value.at, first, &ty);
            }
            Some(_) => {}
        }
    }
}

fn homogeneous_map(checked: &Checked, map: &Expr, issues: &mut Issues) {
    let ExprKind::Map(entries) = &map.kind else {
        return;
    };
    let mut first: Option<(Type, Type)> = None;
    for entry in entries {
        let key = checked.ty(&entry.key).clone();
        let value = held(checked, &entry.value, entry.optional);
        let Some((first_key, first_value)) = &first else {
            first = Some((key, value));
            continue;
        };
        if !equivalent(first_key, &key) {
            mismatch(issues, entry.key.at, first_key, &key);
        }
        if !equivalent(first_value, &value) {
            mismatch(issues, entry.value.at, first_value, &value);
        }
    }
}

/// Visits a node and all below it.
pub fn walk<'a>(expr: &'a Expr, visit: &mut impl FnMut(&'a Expr)) {
    visit(expr);
    match &expr.kind {
        ExprKind::Unspecified | ExprKind::Literal(_) | ExprKind::Ident(_) => {}
        ExprKind::Select { operand, .. } => walk(operand, visit),
        ExprKind::Call { target, args, .. } => {
            target.iter().for_each(|target| walk(target, visit));
            args.iter().for_each(|arg| walk(arg, visit));
        }
        ExprKind::List(elements) => elements
            .iter()
            .for_each(|element| walk(&element.value, visit)),
        ExprKind::Map(entries) => {
            for entry in entries {
                walk(&entry.key, visit);
                walk(&entry.value, visit);
            }
        }
        ExprKind::Struct { fields, .. } => {
            fields.iter().for_each(|field| walk(&field.value, visit))
        }
        ExprKind::Comprehension(loops) => {
            for part in [
                &loops.range,
                &loops.init,
                &loops.condition,
                &loops.step,
                &loops.result,
            ] {
                walk(part, visit);
            }
        }
    }
}
