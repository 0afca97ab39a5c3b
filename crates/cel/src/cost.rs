//! What expressions cost: estimated before they are accepted, and counted while they run.
//!
//! A unit is about the cost of one look at a variable. Text counts a tenth of a unit a code point.

pub mod actual;
pub mod estimate;
pub mod range;

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::library::regex::compile;
use crate::value::EvalError;
use crate::value::compare::Work;

/// What one evaluation may cost.
pub const CALL_MAX: u64 = 1_000_000;
/// What all rules of a custom resource may cost in one request.
pub const REQUEST_MAX: u64 = 10_000_000;
/// What one rule may cost by estimate.
pub const ESTIMATE_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost by estimate.
pub const ESTIMATE_TOTAL_MAX: u64 = 100_000_000;

pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
pub(crate) const STRUCT: u64 = 40;
/// The cost of one code point.
pub(crate) const CHAR: f64 = 0.1;
/// The cost of one code point of a pattern.
pub(crate) const PATTERN_CHAR: f64 = 0.25;

/// How many elements one evaluation may compare. Costs count lists by their length alone, whatever they hold;
/// this bounds the time.
const WORK_MAX: u64 = 20_000_000;

/// Counts the cost of an evaluation.
pub struct Meter {
    cost: u64,
    limit: u64,
    /// What comparing may still do.
    pub work: Work,
    known: Arc<HashMap<String, Regex>>,
    compiled: HashMap<String, Regex>,
}

impl Meter {
    /// A meter that stops at a limit. `known` patterns are compiled already.
    pub fn new(limit: u64, known: Arc<HashMap<String, Regex>>) -> Meter {
        Meter {
            cost: 0,
            limit,
            work: Work(WORK_MAX),
            known,
            compiled: HashMap::new(),
        }
    }

    /// The cost so far.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Adds to the cost.
    pub fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit {
            Err(EvalError::CostLimit)
        } else {
            Ok(())
        }
    }

    /// Takes back what was charged too much.
    pub(crate) fn refund(&mut self, cost: u64) {
        self.cost = self.cost.saturating_sub(cost);
    }

    /// Refuses what would compare each of so many elements with each, when that will cost too much anyway.
    pub fn afford_quadratic(&self, count: usize) -> Result<(), EvalError> {
        let count = count as u64;
        let cost = count.saturating_mul(count).saturating_mul(2);
        if self.cost.saturating_add(cost) > self.limit {
            Err(EvalError::CostLimit)
        } else {
            Ok(())
        }
    }

    /// A compiled pattern.
    pub fn pattern(&mut self, pattern: &str) -> Result<&Regex, String> {
        if self.known.contains_key(pattern) {
            return Ok(&self.known[pattern]);
        }
        if !self.compiled.contains_key(pattern) {
            let regex = compile(pattern)?;
            self.compiled.insert(pattern.to_owned(), regex);
        }
        Ok(&self.compiled[pattern])
    }
}

/// A size times a factor, rounded up.
pub(crate) fn scaled(size: u64, factor: f64) -> u64 {
    let cost = (size as f64 * factor).ceil();
    if cost >= 2f64.powi(64) {
        u64::MAX
    } else {
        cost as u64
    }
}
