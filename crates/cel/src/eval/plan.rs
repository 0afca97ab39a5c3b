//! A checked expression made ready to run: variables have places, functions are looked up, constants are found.

use std::collections::HashMap;

use regex::Regex;

use crate::ast::{Comprehension, Expr, ExprKind, Literal};
use crate::check::{Checked, Reference};
use crate::cost::LIST;
use crate::library::regex::compile;
use crate::library::{Native, named_format, native, operators};
use crate::names;
use crate::types::Type;

/// A step of an evaluation.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Literal(Literal),
    /// A value that is the same in each evaluation, by its place among the constants.
    Constant(usize),
    Type(Type),
    Attribute(Box<Attribute>),
    Test(Box<Attribute>),
    And(Vec<Node>),
    Or(Vec<Node>),
    If(Box<[Node; 3]>),
    Equal(Box<[Node; 2]>, bool),
    Not(Box<Node>),
    NotFalse(Box<Node>),
    /// `a.or(b)` and `a.orValue(b)`.
    OrElse(Box<[Node; 2]>, bool),
    Call(Box<Call>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Struct(String, Vec<(String, Node, bool)>),
    Fold(Box<Fold>),
    Bind(Box<Bind>),
    /// A loop's accumulator with one more element, and what the list of that element costs.
    Append(usize, Box<Node>, u64),
    /// A loop's accumulator with more entries.
    Insert(usize, Vec<Node>),
    Failed(String),
}

/// A variable or value and what is selected from it.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub base: Base,
    /// Whether the base costs nothing.
    pub free: bool,
    pub qualifiers: Vec<Qualifier>,
}

#[derive(Debug, Clone)]
pub(crate) enum Base {
    Variable(String),
    Local(usize),
    Value(Node),
}

#[derive(Debug, Clone)]
pub(crate) struct Qualifier {
    pub key: QualifierKey,
    pub optional: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum QualifierKey {
    Name(String),
    Computed(Node),
}

#[derive(Clone)]
pub(crate) struct Call {
    pub function: String,
    pub native: Option<Native>,
    pub overload: Option<&'static str>,
    pub operator: bool,
    /// Whether it costs nothing: a test of membership in a constant list.
    pub free: bool,
    pub args: Vec<Node>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({:?})", self.function, self.args)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub range: Node,
    pub init: Node,
    pub condition: Node,
    pub step: Node,
    pub result: Node,
    pub two: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Bind {
    pub value: Node,
    pub result: Node,
}

/// What a program needs beside its steps.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub constants: Vec<Node>,
    pub patterns: HashMap<String, Regex>,
}

/// Makes the steps. The error is upstream's, about a constant that can't be made.
pub(crate) fn plan(checked: &Checked) -> Result<(Node, Planned), String> {
    let mut planner = Planner {
        checked,
        locals: Vec::new(),
        planned: Planned::default(),
        error: None,
    };
    let root = planner.expr(&checked.ast.root);
    match planner.error {
        Some(error) => Err(error),
        None => Ok((root, planner.planned)),
    }
}

struct Planner<'a> {
    checked: &'a Checked,
    /// The names of the places.
    locals: Vec<String>,
    planned: Planned,
    error: Option<String>,
}

impl Planner<'_> {
    fn expr(&mut self, expr: &Expr) -> Node {
        match &expr.kind {
            ExprKind::Unspecified => Node::Failed("invalid expression".to_owned()),
            ExprKind::Literal(literal) => Node::Literal(literal.clone()),
            ExprKind::Ident(name) => self.ident(expr, name),
            ExprKind::Select {
                operand,
                field,
                test,
            } => {
                let field = self.field(operand, field);
                let mut attribute = self.attribute(operand);
                attribute.qualifiers.push(Qualifier {
                    key: QualifierKey::Name(field),
                    optional: false,
                });
                if *test {
                    return Node::Test(Box::new(attribute));
                }
                Node::Attribute(Box::new(attribute))
            }
            ExprKind::Call {
                target,
                function,
                args,
            } => self.call(expr, target.as_deref(), function, args),
            ExprKind::List(elements) => {
                let nodes: Vec<(Node, bool)> = elements
                    .iter()
                    .map(|element| (self.expr(&element.value), element.optional))
                    .collect();
                let constant = nodes
                    .iter()
                    .all(|(node, optional)| is_constant(node) && !optional);
                self.constant_if(constant, Node::List(nodes))
            }
            ExprKind::Map(entries) => {
                let nodes: Vec<(Node, Node, bool)> = entries
                    .iter()
                    .map(|entry| {
                        (
                            self.expr(&entry.key),
                            self.expr(&entry.value),
                            entry.optional,
                        )
                    })
                    .collect();
                let constant = nodes.iter().all(|(key, value, optional)| {
                    is_constant(key) && is_constant(value) && !optional
                });
                self.constant_if(constant, Node::Map(nodes))
            }
            ExprKind::Struct { name, fields } => {
                let nodes = fields
                    .iter()
                    .map(|field| (field.name.clone(), self.expr(&field.value), field.optional))
                    .collect();
                Node::Struct(name.clone(), nodes)
            }
            ExprKind::Comprehension(loops) => self.comprehension(loops),
        }
    }

    fn constant_if(&mut self, constant: bool, node: Node) -> Node {
        if !constant {
            return node;
        }
        self.planned.constants.push(node);
        Node::Constant(self.planned.constants.len() - 1)
    }

    /// A field that is named by a keyword has an escaped name in declared objects.
    fn field(&self, operand: &Expr, field: &str) -> String {
        let declared = matches!(self.checked.ty(operand), Type::Object(_));
        if declared && crate::escape::KEYWORDS.contains(&field) {
            return format!("__{field}__");
        }
        field.to_owned()
    }

    fn ident(&mut self, expr: &Expr, name: &str) -> Node {
        let base = match &self.checked.references[expr.id] {
            Reference::Variable(name) => Base::Variable(name.clone()),
            Reference::Type(ty) => return Node::Type(ty.clone()),
            _ => match self.locals.iter().rposition(|local| local == name) {
                Some(place) => Base::Local(place),
                None => Base::Variable(name.to_owned()),
            },
        };
        Node::Attribute(Box::new(Attribute {
            base,
            free: false,
            qualifiers: Vec::new(),
        }))
    }

    /// An expression as the beginning of an attribute.
    fn attribute(&mut self, expr: &Expr) -> Attribute {
        match self.expr(expr) {
            Node::Attribute(attribute) => *attribute,
            other => Attribute {
                base: Base::Value(other),
                free: false,
                qualifiers: Vec::new(),
            },
        }
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Node {
        match (function, args) {
            (names::OPTIONAL_SELECT, [operand, field]) => {
                let ExprKind::Literal(Literal::String(name)) = &field.kind else {
                    return Node::Failed("no such overload".to_owned());
                };
                let key = QualifierKey::Name(self.field(operand, name));
                return self.qualified(operand, key, true);
            }
            (names::INDEX | names::OPTIONAL_INDEX, [operand, key]) => {
                let key = match &key.kind {
                    ExprKind::Literal(Literal::String(name)) => QualifierKey::Name(name.clone()),
                    _ => QualifierKey::Computed(uncounted(self.expr(key))),
                };
                return self.qualified(operand, key, function == names::OPTIONAL_INDEX);
            }
            _ => {}
        }
        if let (Some(constant), []) = (named_format::constant(function), args) {
            drop(constant);
            return Node::Call(Box::new(self.plain_call(expr, function, Vec::new())));
        }
        let mut nodes: Vec<Node> = Vec::with_capacity(args.len() + 1);
        nodes.extend(target.map(|target| self.expr(target)));
        nodes.extend(args.iter().map(|arg| self.expr(arg)));
        self.special(expr, function, nodes)
    }

    fn qualified(&mut self, operand: &Expr, key: QualifierKey, optional: bool) -> Node {
        let mut attribute = self.attribute(operand);
        attribute.qualifiers.push(Qualifier { key, optional });
        Node::Attribute(Box::new(attribute))
    }

    /// Functions that do not simply take the values of their arguments.
    fn special(&mut self, expr: &Expr, function: &str, nodes: Vec<Node>) -> Node {
        let pair = |nodes: Vec<Node>| <[Node; 2]>::try_from(nodes).map(Box::new);
        let result = match function {
            names::AND => Ok(Node::And(nodes)),
            names::OR => Ok(Node::Or(nodes)),
            names::CONDITIONAL => {
                <[Node; 3]>::try_from(nodes).map(|[condition, then, otherwise]| {
                    Node::If(Box::new([condition, uncounted(then), uncounted(otherwise)]))
                })
            }
            names::EQUALS => pair(nodes).map(|nodes| Node::Equal(nodes, false)),
            names::NOT_EQUALS => pair(nodes).map(|nodes| Node::Equal(nodes, true)),
            "or" => pair(nodes).map(|nodes| Node::OrElse(nodes, false)),
            "orValue" => pair(nodes).map(|nodes| Node::OrElse(nodes, true)),
            names::NOT | names::NOT_STRICTLY_FALSE => <[Node; 1]>::try_from(nodes).map(|[node]| {
                let node = Box::new(node);
                if function == names::NOT {
                    Node::Not(node)
                } else {
                    Node::NotFalse(node)
                }
            }),
            names::ADD => Ok(self.add(expr, nodes)),
            names::MAP_INSERT => Ok(self.insert(expr, nodes)),
            _ => Ok(self.function(expr, function, nodes)),
        };
        result.unwrap_or_else(|_| Node::Failed(format!("no such overload: {function}")))
    }

    fn plain_call(&self, expr: &Expr, function: &str, args: Vec<Node>) -> Call {
        let overload = match self.checked.overloads(expr) {
            [only] => Some(*only),
            _ => None,
        };
        Call {
            native: native(function),
            overload,
            operator: operators::is_operator(function),
            free: overload == Some("in_list") && matches!(args.get(1), Some(Node::Constant(_))),
            function: function.to_owned(),
            args,
        }
    }

    fn function(&mut self, expr: &Expr, function: &str, nodes: Vec<Node>) -> Node {
        let pattern = match (function, nodes.get(1)) {
            ("matches" | "find" | "findAll", Some(Node::Literal(Literal::String(pattern)))) => {
                Some(pattern.clone())
            }
            _ => None,
        };
        if let Some(pattern) = pattern {
            match compile(&pattern) {
                Ok(regex) => {
                    self.planned.patterns.insert(pattern, regex);
                }
                Err(error) => self.error = self.error.take().or(Some(error)),
            }
        }
        let conversion = matches!(
            function,
            "bool"
                | "bytes"
                | "double"
                | "duration"
                | "dyn"
                | "int"
                | "string"
                | "timestamp"
                | "type"
                | "uint"
        );
        let constant = conversion && matches!(nodes.as_slice(), [only] if is_constant(only));
        let call = Node::Call(Box::new(self.plain_call(expr, function, nodes)));
        self.constant_if(constant, call)
    }

    /// The place of a local variable that a step is nothing but.
    fn local_of(&self, node: &Node) -> Option<usize> {
        match node {
            Node::Attribute(attribute) if attribute.qualifiers.is_empty() => match attribute.base {
                Base::Local(place) if self.locals[place] == names::ACCUMULATOR => Some(place),
                _ => None,
            },
            _ => None,
        }
    }

    fn add(&mut self, expr: &Expr, nodes: Vec<Node>) -> Node {
        if let Some(place) = nodes.first().and_then(|first| self.local_of(first)) {
            let (list, cost) = match &nodes[1] {
                Node::Constant(index) => (&self.planned.constants[*index], 0),
                other => (other, LIST),
            };
            if let Node::List(elements) = list
                && let [(element, false)] = elements.as_slice()
            {
                return Node::Append(place, Box::new(element.clone()), cost);
            }
        }
        self.function(expr, names::ADD, nodes)
    }

    fn insert(&mut self, expr: &Expr, mut nodes: Vec<Node>) -> Node {
        match nodes.first().and_then(|first| self.local_of(first)) {
            Some(place) => {
                nodes.remove(0);
                Node::Insert(place, nodes)
            }
            None => self.function(expr, names::MAP_INSERT, nodes),
        }
    }

    fn comprehension(&mut self, loops: &Comprehension) -> Node {
        let mark = self.locals.len();
        if loops.is_bind() {
            let value = self.expr(&loops.init);
            self.locals.push(loops.accumulator.clone());
            let result = self.expr(&loops.result);
            self.locals.truncate(mark);
            return Node::Bind(Box::new(Bind { value, result }));
        }
        let range = self.expr(&loops.range);
        let init = self.expr(&loops.init);
        self.locals.push(loops.accumulator.clone());
        self.locals.push(loops.variable.clone());
        self.locals.extend(loops.second.clone());
        let condition = self.expr(&loops.condition);
        let step = self.expr(&loops.step);
        self.locals.truncate(mark + 1);
        let result = self.expr(&loops.result);
        self.locals.truncate(mark);
        Node::Fold(Box::new(Fold {
            range,
            init,
            condition,
            step,
            result,
            two: loops.second.is_some(),
        }))
    }
}

/// The same step, whose first look at a variable is not counted: upstream counts it with the step around.
fn uncounted(node: Node) -> Node {
    match node {
        Node::Attribute(mut attribute) if !matches!(attribute.base, Base::Value(_)) => {
            attribute.free = true;
            Node::Attribute(attribute)
        }
        other => other,
    }
}

fn is_constant(node: &Node) -> bool {
    matches!(node, Node::Literal(_) | Node::Constant(_) | Node::Type(_))
}
