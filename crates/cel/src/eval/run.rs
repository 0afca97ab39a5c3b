//! The evaluator: it walks the steps and counts what they cost.

use std::rc::Rc;
use std::sync::Arc;

use super::attribute::{Found, look_up, select};
use super::plan::{Attribute, Base, Call, Fold, Node, Planned, QualifierKey};
use crate::ast::Literal;
use crate::cost::{LIST, MAP, Meter, STRUCT, actual};
use crate::library::operators::{insert_all, plain};
use crate::library::{LIST_MAX, named_format};
use crate::names;
use crate::value::compare::equal;
use crate::value::{Entries, EvalError, Evaluated, List, Map, Value};

/// The values of the variables.
#[derive(Default, Clone)]
pub struct Activation<'a> {
    values: Vec<(&'a str, Evaluated<'a>)>,
}

impl<'a> Activation<'a> {
    /// No variables.
    pub fn new() -> Activation<'a> {
        Activation::default()
    }

    /// Adds a variable.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: Value<'a>) -> Activation<'a> {
        self.values.push((name, Ok(value)));
        self
    }

    /// Adds a variable that may not fit its schema, which only matters if it is used.
    #[must_use]
    pub fn with_evaluated(mut self, name: &'a str, value: Evaluated<'a>) -> Activation<'a> {
        self.values.push((name, value));
        self
    }

    fn get(&self, name: &str) -> Evaluated<'a> {
        match self.values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => value.clone(),
            None => Err(EvalError::Failed(format!("no such attribute(s): {name}"))),
        }
    }
}

/// What came of an evaluation.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The value, or why there is none.
    pub value: Evaluated<'a>,
    /// What it cost.
    pub cost: u64,
}

/// Runs a program's steps.
pub(crate) fn run<'a>(
    root: &'a Node,
    planned: &'a Planned,
    patterns: Arc<std::collections::HashMap<String, regex::Regex>>,
    variables: &Activation<'a>,
    limit: u64,
) -> Outcome<'a> {
    let mut run = Run {
        planned,
        variables,
        meter: Meter::new(limit, patterns),
        locals: Vec::new(),
        constants: vec![None; planned.constants.len()],
    };
    let value = run.node(root);
    Outcome {
        value,
        cost: run.meter.cost(),
    }
}

struct Run<'a, 'v> {
    planned: &'a Planned,
    variables: &'v Activation<'a>,
    meter: Meter,
    locals: Vec<Evaluated<'a>>,
    constants: Vec<Option<Evaluated<'a>>>,
}

impl<'a> Run<'a, '_> {
    fn node(&mut self, node: &'a Node) -> Evaluated<'a> {
        match node {
            Node::Literal(literal) => Ok(constant(literal)),
            Node::Constant(index) => self.constant(*index),
            Node::Type(ty) => Ok(Value::Type(ty.clone())),
            Node::Attribute(attribute) => self.attribute(attribute),
            Node::Test(attribute) => self.test(attribute),
            Node::And(terms) => self.logic(terms, false),
            Node::Or(terms) => self.logic(terms, true),
            Node::If(parts) => self.conditional(parts),
            Node::Equal(parts, negated) => self.equal(parts, *negated),
            Node::Not(operand) => match self.charged_operand(operand)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                _ => Err(EvalError::Failed("no such overload".to_owned())),
            },
            Node::NotFalse(operand) => {
                let value = self.node(operand);
                self.meter.charge(1)?;
                match value {
                    Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
                    Err(EvalError::CostLimit) => Err(EvalError::CostLimit),
                    _ => Ok(Value::Bool(true)),
                }
            }
            Node::OrElse(parts, unwrap) => match self.node(&parts[0])? {
                Value::Optional(Some(value)) if *unwrap => Ok((*value).clone()),
                value @ Value::Optional(Some(_)) => Ok(value),
                Value::Optional(None) => self.node(&parts[1]),
                _ => Err(EvalError::no_such_overload()),
            },
            Node::Call(call) => self.call(call),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Struct(name, fields) => self.message(name, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(bind) => {
                let value = self.node(&bind.value);
                if matches!(value, Err(EvalError::CostLimit)) {
                    return value;
                }
                self.locals.push(value);
                let result = self.node(&bind.result);
                self.locals.pop();
                result
            }
            Node::Append(place, element, cost) => self.append(*place, element, *cost),
            Node::Insert(place, nodes) => self.insert(*place, nodes),
            Node::Failed(text) => Err(EvalError::Failed(text.clone())),
        }
    }

    fn charged_operand(&mut self, node: &'a Node) -> Evaluated<'a> {
        let value = self.node(node);
        self.meter.charge(1)?;
        value
    }

    /// A value that costs nothing and is made once an evaluation.
    fn constant(&mut self, index: usize) -> Evaluated<'a> {
        if let Some(known) = &self.constants[index] {
            return known.clone();
        }
        let before = self.meter.cost();
        let value = self.node(&self.planned.constants[index]);
        let spent = self.meter.cost() - before;
        self.meter.refund(spent);
        self.constants[index] = Some(value.clone());
        value
    }

    fn base(&mut self, attribute: &'a Attribute) -> Evaluated<'a> {
        let value = match &attribute.base {
            Base::Variable(name) => self.variables.get(name),
            Base::Local(place) => self.locals[*place].clone(),
            Base::Value(node) => self.node(node),
        };
        if !attribute.free {
            self.meter.charge(1)?;
        }
        value
    }

    fn attribute(&mut self, attribute: &'a Attribute) -> Evaluated<'a> {
        let base = self.base(attribute)?;
        self.qualify(base, &attribute.qualifiers)
    }

    fn key(&mut self, key: &'a QualifierKey) -> Evaluated<'a> {
        match key {
            QualifierKey::Name(name) => Ok(Value::text(name)),
            QualifierKey::Computed(node) => self.node(node),
        }
    }

    fn qualify(
        &mut self,
        base: Value<'a>,
        qualifiers: &'a [super::plan::Qualifier],
    ) -> Evaluated<'a> {
        if qualifiers.is_empty() {
            return Ok(base);
        }
        let (mut value, mut optional) = match base {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(value)) => ((*value).clone(), true),
            other => (other, false),
        };
        for qualifier in qualifiers {
            let key = self.key(&qualifier.key)?;
            optional = optional || qualifier.optional;
            value = if optional {
                match look_up(&value, &key)? {
                    Found::Value(found) => found,
                    _ => return Ok(Value::Optional(None)),
                }
            } else {
                let selected = select(&value, &key);
                self.meter.charge(1)?;
                selected?
            };
            if optional {
                self.meter.charge(1)?;
            }
        }
        Ok(if optional { Value::some(value) } else { value })
    }

    fn test(&mut self, attribute: &'a Attribute) -> Evaluated<'a> {
        let (last, rest) = attribute
            .qualifiers
            .split_last()
            .ok_or_else(EvalError::no_such_overload)?;
        let base = self.base(attribute)?;
        let value = match self.qualify(base, rest)? {
            Value::Optional(None) => return Ok(Value::Bool(false)),
            Value::Optional(Some(value)) => (*value).clone(),
            other => other,
        };
        let key = self.key(&last.key)?;
        Ok(Value::Bool(matches!(
            look_up(&value, &key)?,
            Found::Value(_)
        )))
    }

    /// `&&` (decided by false) or `||` (decided by true). Errors count only when nothing decides.
    fn logic(&mut self, terms: &'a [Node], decisive: bool) -> Evaluated<'a> {
        let mut failure = None;
        for term in terms {
            match self.node(term) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failure = failure.or(Some(EvalError::no_such_overload())),
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn conditional(&mut self, parts: &'a [Node; 3]) -> Evaluated<'a> {
        match self.node(&parts[0])? {
            Value::Bool(true) => self.node(&parts[1]),
            Value::Bool(false) => self.node(&parts[2]),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn equal(&mut self, parts: &'a [Node; 2], negated: bool) -> Evaluated<'a> {
        let (one, two) = match (self.node(&parts[0]), self.node(&parts[1])) {
            (Ok(one), Ok(two)) => (one, two),
            (Err(EvalError::CostLimit), _) | (_, Err(EvalError::CostLimit)) => {
                return Err(EvalError::CostLimit);
            }
            (Err(error), _) | (_, Err(error)) => {
                self.meter.charge(1)?;
                return Err(error);
            }
        };
        let same = equal(&one, &two, &mut self.meter.work)?;
        let (function, overload) = match negated {
            true => (names::NOT_EQUALS, "not_equals"),
            false => (names::EQUALS, "equals"),
        };
        let cost = actual::call(function, Some(overload), &[one, two], None);
        self.meter.charge(cost)?;
        Ok(Value::Bool(same != negated))
    }

    fn call(&mut self, call: &'a Call) -> Evaluated<'a> {
        if let Some(format) = named_format::constant(&call.function) {
            self.meter.charge(1)?;
            return Ok(format);
        }
        let mut args = Vec::with_capacity(call.args.len());
        let mut failure = None;
        for arg in &call.args {
            match self.node(arg) {
                Ok(value) => args.push(value),
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                // Calls of more than two arguments end at the first that fails, and cost nothing then.
                Err(error) if call.args.len() > 2 => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            self.meter.charge(1)?;
            return Err(error);
        }
        let result = call
            .native
            .and_then(|native| native(&mut self.meter, &args));
        let result = result.unwrap_or_else(|| Err(no_overload(call, &args)));
        if !call.free {
            let cost = actual::call(&call.function, call.overload, &args, result.as_ref().ok());
            self.meter.charge(cost)?;
        }
        result
    }

    /// A value that may be left out: none, when it is.
    fn optional(
        &mut self,
        node: &'a Node,
        optional: bool,
        what: &str,
    ) -> Result<Option<Value<'a>>, EvalError> {
        let value = self.node(node)?;
        if !optional {
            return Ok(Some(value));
        }
        match value {
            Value::Optional(held) => Ok(held.map(|value| (*value).clone())),
            other => Err(EvalError::Failed(format!(
                "cannot initialize optional {what} from non-optional value {}",
                plain(&other)
            ))),
        }
    }

    fn list(&mut self, elements: &'a [(Node, bool)]) -> Evaluated<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for (node, optional) in elements {
            values.extend(self.optional(node, *optional, "list element")?);
        }
        self.meter.charge(LIST)?;
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Evaluated<'a> {
        let mut made = Entries::default();
        for (key, value, optional) in entries {
            let key = self.node(key)?;
            let what = format!("entry '{}'", plain(&key));
            if let Some(value) = self.optional(value, *optional, &what)? {
                made.insert(key, value)?;
            }
        }
        self.meter.charge(MAP)?;
        Ok(Value::Map(Map::Owned(Rc::new(made))))
    }

    fn message(&mut self, name: &'a str, fields: &'a [(String, Node, bool)]) -> Evaluated<'a> {
        let mut made = Vec::with_capacity(fields.len());
        for (field, node, optional) in fields {
            let what = format!("entry '{field}'");
            if let Some(value) = self.optional(node, *optional, &what)? {
                made.push((field.clone(), value));
            }
        }
        self.meter.charge(STRUCT)?;
        Ok(Value::Map(Map::Made(Rc::new((name.to_owned(), made)))))
    }

    fn fold(&mut self, fold: &'a Fold) -> Evaluated<'a> {
        let range = self.node(&fold.range)?;
        let init = self.node(&fold.init);
        let mark = self.locals.len();
        self.locals.push(init);
        let result = match range {
            Value::List(list) => self.turns(
                fold,
                mark,
                list.iter().enumerate().map(|(index, element)| {
                    if fold.two {
                        (Ok(Value::Int(index as i64)), Some(element))
                    } else {
                        (element, None)
                    }
                }),
            ),
            Value::Map(map) => {
                let keys = map.keys();
                self.turns(
                    fold,
                    mark,
                    keys.into_iter().map(|key| {
                        let value = fold.two.then(|| {
                            map.find(&key)
                                .unwrap_or_else(|| Err(EvalError::no_such_overload()))
                        });
                        (Ok(key), value)
                    }),
                )
            }
            other => Err(EvalError::Failed(format!(
                "unsupported comprehension range type: {}",
                other.ty().runtime_name()
            ))),
        };
        self.locals.truncate(mark + 1);
        let result = result.and_then(|()| self.node(&fold.result));
        self.locals.truncate(mark);
        result
    }

    fn turns(
        &mut self,
        fold: &'a Fold,
        mark: usize,
        turns: impl Iterator<Item = (Evaluated<'a>, Option<Evaluated<'a>>)>,
    ) -> Result<(), EvalError> {
        for (first, second) in turns {
            self.locals.truncate(mark + 1);
            self.locals.push(first);
            self.locals.extend(second);
            match self.node(&fold.condition) {
                Ok(Value::Bool(false)) => return Ok(()),
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                _ => {}
            }
            let next = self.node(&fold.step);
            if matches!(next, Err(EvalError::CostLimit)) {
                return Err(EvalError::CostLimit);
            }
            self.locals[mark] = next;
        }
        Ok(())
    }

    /// The accumulator, taken out of its place, so that it can be changed where it is.
    fn take(&mut self, place: usize) -> Evaluated<'a> {
        std::mem::replace(&mut self.locals[place], Ok(Value::Null))
    }

    fn append(&mut self, place: usize, element: &'a Node, cost: u64) -> Evaluated<'a> {
        let element = self.node(element)?;
        self.meter.charge(2 + cost)?;
        match self.take(place)? {
            Value::List(List::Owned(mut values)) => {
                if values.len() >= LIST_MAX {
                    return Err(EvalError::CostLimit);
                }
                Rc::make_mut(&mut values).push(element);
                Ok(Value::List(List::Owned(values)))
            }
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn insert(&mut self, place: usize, nodes: &'a [Node]) -> Evaluated<'a> {
        let mut values = Vec::with_capacity(nodes.len());
        for node in nodes {
            values.push(self.node(node)?);
        }
        self.meter.charge(2)?;
        let mut added = Vec::new();
        match values.as_slice() {
            [key, value] => added.push((key.clone(), value.clone())),
            [Value::Map(more)] => {
                for key in more.keys() {
                    let value = more
                        .find(&key)
                        .unwrap_or_else(|| Err(EvalError::no_such_overload()))?;
                    added.push((key, value));
                }
            }
            _ => return Err(EvalError::no_such_overload()),
        }
        match self.take(place)? {
            Value::Map(Map::Owned(mut entries)) => {
                insert_all(Rc::make_mut(&mut entries), added)?;
                Ok(Value::Map(Map::Owned(entries)))
            }
            _ => Err(EvalError::no_such_overload()),
        }
    }
}

fn constant<'a>(literal: &'a Literal) -> Value<'a> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::text(text),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

fn no_overload(call: &Call, args: &[Value<'_>]) -> EvalError {
    if call.operator {
        return EvalError::Failed(format!("no such overload: {}", call.function));
    }
    let types: Vec<String> = args.iter().map(|arg| arg.ty().runtime_name()).collect();
    EvalError::Failed(format!(
        "no such overload: {}({})",
        call.function,
        types.join(", ")
    ))
}
