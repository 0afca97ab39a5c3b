//! Text to expressions, with upstream's syntax errors.
//!
//! Bounded: an expression has at most 100,000 code points, rules nest at most 250 deep, and errors stop the
//! parser after 30 attempts to go on.

mod build;
mod grammar;
mod lexer;
mod machine;
mod macros;
mod predict;
#[cfg(test)]
mod tests;
#[allow(missing_docs)]
mod token;
mod unescape;

use crate::ast::Ast;
use crate::source::{Issues, Location, Source};

/// The longest expression, in code points.
const SIZE_MAX: usize = 100_000;

/// Parses an expression.
pub fn parse(text: &str) -> Result<(Ast, Source), Issues> {
    let source = Source::new(text);
    let mut issues = Issues::new(source.clone());
    let size = source.text().len();
    if size > SIZE_MAX {
        let message =
            format!("expression code point size exceeds limit: size: {size}, limit {SIZE_MAX}");
        issues.report_at(Location::NONE, message);
        return Err(issues);
    }
    let mut lexed = Vec::new();
    let tokens = lexer::lex(&source, |at, message| lexed.push((at, message)));
    let parsed = machine::parse(&tokens, lexed.len());
    let read = tokens[parsed.furthest].end;
    let given_up = parsed.tree.is_none();
    for (at, message) in lexed.into_iter().filter(|(at, _)| !given_up || *at < read) {
        issues.report(at, format!("Syntax error: {message}"));
    }
    for (at, message) in parsed.errors {
        issues.report(at, format!("Syntax error: {message}"));
    }
    if let Some(reason) = parsed.abandoned {
        issues.report_at(Location::NONE, reason);
    }
    let Some(tree) = parsed.tree else {
        return Err(issues);
    };
    let mut builder = build::Builder::new(&mut issues);
    let root = builder.tree(&tree);
    let ids = builder.ids();
    match root {
        Ok(root) if issues.is_empty() => Ok((Ast { root, ids }, source)),
        Ok(_) => Err(issues),
        Err(build::TooDeep) => {
            issues.report_at(Location::NONE, "max recursion depth exceeded");
            Err(issues)
        }
    }
}
