//! Expressions, compiled once and run often.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::check::{Checked, check};
use crate::cost::CALL_MAX;
use crate::cost::estimate::estimate;
use crate::cost::range::Range;
use crate::env::Env;
use crate::eval::{Activation, Node, Outcome, plan, run};
use crate::parse::parse;
use crate::source::Issues;
use crate::types::Type;

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    checked: Checked,
    root: Node,
    planned: crate::eval::Planned,
    patterns: Arc<HashMap<String, Regex>>,
    estimate: Range,
}

/// Why an expression can't be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It is wrong, at certain places.
    #[error("{0}")]
    Issues(Issues),
    /// A constant in it can't be made.
    #[error("{0}")]
    Constant(String),
}

impl Program {
    /// Compiles an expression.
    pub fn compile(text: &str, env: &Env) -> Result<Program, CompileError> {
        let (ast, source) = parse(text).map_err(CompileError::Issues)?;
        let checked = check(ast, source, env).map_err(CompileError::Issues)?;
        let (root, mut planned) = plan(&checked).map_err(CompileError::Constant)?;
        let patterns = Arc::new(std::mem::take(&mut planned.patterns));
        try_constants(&planned, &patterns)?;
        let estimate = estimate(&checked, env);
        Ok(Program {
            checked,
            root,
            planned,
            patterns,
            estimate,
        })
    }

    /// The type of the result.
    pub fn output(&self) -> &Type {
        self.checked.output()
    }

    /// Whether the expression uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.checked.uses(variable)
    }

    /// What it costs by estimate.
    pub fn estimate(&self) -> Range {
        self.estimate
    }

    /// Runs it, for at most `limit` units.
    pub fn evaluate<'a>(&'a self, variables: &Activation<'a>, limit: u64) -> Outcome<'a> {
        run(
            &self.root,
            &self.planned,
            Arc::clone(&self.patterns),
            variables,
            limit,
        )
    }
}

/// Makes each constant once, so that one that can't be made is found now.
fn try_constants(
    planned: &crate::eval::Planned,
    patterns: &Arc<HashMap<String, Regex>>,
) -> Result<(), CompileError> {
    for constant in &planned.constants {
        let outcome = run(
            constant,
            planned,
            Arc::clone(patterns),
            &Activation::new(),
            CALL_MAX,
        );
        if let Err(error) = outcome.value {
            return Err(CompileError::Constant(error.to_string()));
        }
    }
    Ok(())
}
