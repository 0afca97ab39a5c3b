//! What an expression says, after parsing: macros are expanded, positions are kept.

/// A node. `id` is unique in its expression, except that expanded macros may hold one node twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// The node's number: an index of the checker's tables.
    pub id: usize,
    /// Where errors about the node point: for operators and calls, the operator or the parenthesis.
    pub at: u32,
    /// What it is.
    pub kind: ExprKind,
}

/// The forms of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// What could not be read; errors have been reported.
    Unspecified,
    /// A constant.
    Literal(Literal),
    /// A variable. A leading dot asks for the outermost one.
    Ident(String),
    /// `operand.field`, or `has(operand.field)`.
    Select {
        /// What is selected from.
        operand: Box<Expr>,
        /// The field's or key's name.
        field: String,
        /// Whether only presence is asked for.
        test: bool,
    },
    /// A function, method or operator (`_+_`, `_?_:_`, …). `&&` and `||` may have more than two arguments.
    Call {
        /// The receiver of a method.
        target: Option<Box<Expr>>,
        /// The name.
        function: String,
        /// The arguments.
        args: Vec<Expr>,
    },
    /// `[…]`.
    List(Vec<Element>),
    /// `{…}`.
    Map(Vec<Entry>),
    /// `Type{…}`.
    Struct {
        /// The type's name.
        name: String,
        /// The fields.
        fields: Vec<Field>,
    },
    /// A loop that a macro stands for.
    Comprehension(Box<Comprehension>),
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

/// One element of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Whether it is left out when it has no value (`[?x]`).
    pub optional: bool,
    /// The element.
    pub value: Expr,
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Whether it is left out when it has no value (`{?k: v}`).
    pub optional: bool,
    /// The key.
    pub key: Expr,
    /// The value.
    pub value: Expr,
}

/// One field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Where errors about the field point.
    pub at: u32,
    /// Whether it is left out when it has no value.
    pub optional: bool,
    /// The name.
    pub name: String,
    /// The value.
    pub value: Expr,
}

/// `accumulator = init; for variables in range { if !condition break; accumulator = step } result`.
#[derive(Debug, Clone, PartialEq)]
pub struct Comprehension {
    /// What is gone through: a list or a map.
    pub range: Expr,
    /// The element (or key); with a second variable, the index (or key).
    pub variable: String,
    /// The element (or value), when there are two.
    pub second: Option<String>,
    /// The accumulator's name.
    pub accumulator: String,
    /// Its first value.
    pub init: Expr,
    /// Whether to go on.
    pub condition: Expr,
    /// Its next value.
    pub step: Expr,
    /// The loop's value.
    pub result: Expr,
}

impl Comprehension {
    /// Whether it only names a value (as `optMap` does): nothing to go through, never a turn.
    pub fn is_bind(&self) -> bool {
        matches!(&self.range.kind, ExprKind::List(elements) if elements.is_empty())
            && self.condition.kind == ExprKind::Literal(Literal::Bool(false))
    }
}

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Ast {
    /// The whole.
    pub root: Expr,
    /// How many numbers were given out.
    pub ids: usize,
}
