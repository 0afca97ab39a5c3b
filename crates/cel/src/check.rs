//! Type checking: what each part of an expression is, and which overloads its calls may mean.

mod literals;
mod unify;

use crate::ast::{Ast, Comprehension, Element, Entry, Expr, ExprKind, Field, Literal};
use crate::env::{Env, FieldType, Ident};
use crate::functions::{Function, Overload};
use crate::names;
use crate::source::{Issues, Source};
use crate::types::Type;

use unify::{Mapping, most_general};

/// What a node refers to.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Reference {
    /// Nothing, or a loop's variable.
    #[default]
    None,
    /// A variable of the environment.
    Variable(String),
    /// A type, as a value.
    Type(Type),
    /// A function, by the ids of the overloads that fit.
    Overloads(Vec<&'static str>),
}

/// A checked expression.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The expression.
    pub ast: Ast,
    /// The nodes' types.
    pub types: Vec<Type>,
    /// What the nodes refer to.
    pub references: Vec<Reference>,
}

impl Checked {
    /// The type of a node.
    pub fn ty(&self, expr: &Expr) -> &Type {
        &self.types[expr.id]
    }

    /// The type of the whole.
    pub fn output(&self) -> &Type {
        self.ty(&self.ast.root)
    }

    /// The overloads that a call may mean.
    pub fn overloads(&self, expr: &Expr) -> &[&'static str] {
        match &self.references[expr.id] {
            Reference::Overloads(ids) => ids,
            _ => &[],
        }
    }

    /// Whether a variable of the environment is used.
    pub fn uses(&self, variable: &str) -> bool {
        self.references
            .iter()
            .any(|reference| matches!(reference, Reference::Variable(name) if name == variable))
    }
}

/// Checks an expression.
pub fn check(mut ast: Ast, source: Source, env: &Env) -> Result<Checked, Issues> {
    let mut root = std::mem::replace(
        &mut ast.root,
        Expr {
            id: 0,
            at: 0,
            kind: ExprKind::Unspecified,
        },
    );
    let mut checker = Checker {
        env,
        issues: Issues::new(source),
        types: vec![None; ast.ids],
        references: vec![Reference::None; ast.ids],
        scopes: Vec::new(),
        mapping: Mapping::default(),
        params: 0,
    };
    checker.expr(&mut root);
    let types = checker
        .types
        .iter()
        .map(|ty| {
            ty.as_ref()
                .map_or(Type::Dyn, |ty| checker.mapping.substitute(ty, true))
        })
        .collect();
    ast.root = root;
    let mut issues = checker.issues;
    let checked = Checked {
        ast,
        types,
        references: checker.references,
    };
    if issues.is_empty() {
        literals::validate(&checked, &mut issues);
    }
    if issues.is_empty() {
        Ok(checked)
    } else {
        Err(issues)
    }
}

struct Checker<'a> {
    env: &'a Env,
    issues: Issues,
    types: Vec<Option<Type>>,
    references: Vec<Reference>,
    /// The loops' variables, innermost last.
    scopes: Vec<(String, Type)>,
    mapping: Mapping,
    params: usize,
}

impl Checker<'_> {
    fn expr(&mut self, expr: &mut Expr) {
        match &mut expr.kind {
            ExprKind::Unspecified => self.set(expr, Type::Error),
            ExprKind::Literal(literal) => {
                let ty = literal_type(literal);
                self.set(expr, ty);
            }
            ExprKind::Ident(name) => {
                let name = name.clone();
                self.ident(expr, &name);
            }
            ExprKind::Select { .. } => self.select(expr),
            ExprKind::Call { .. } => self.call(expr),
            ExprKind::List(elements) => {
                let ty = self.list(elements);
                self.set(expr, ty);
            }
            ExprKind::Map(entries) => {
                let ty = self.map(entries);
                self.set(expr, ty);
            }
            ExprKind::Struct { name, fields } => {
                let at = expr.at;
                let ty = self.message(at, name, fields);
                self.set(expr, ty);
            }
            ExprKind::Comprehension(loops) => {
                let ty = self.comprehension(loops);
                self.set(expr, ty);
            }
        }
    }

    fn set(&mut self, expr: &Expr, ty: Type) {
        self.types[expr.id] = Some(ty);
    }

    fn get(&self, expr: &Expr) -> Type {
        self.types[expr.id].clone().unwrap_or(Type::Error)
    }

    fn undeclared(&mut self, at: u32, name: &str) {
        self.issues.report(
            at,
            format!("undeclared reference to '{name}' (in container '')"),
        );
    }

    fn mismatch(&mut self, at: u32, expected: &Type, found: &Type) {
        self.issues.report(
            at,
            format!("expected type '{expected}' but found '{found}'"),
        );
    }

    fn local(&self, name: &str) -> Option<&Type> {
        self.scopes
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, ty)| ty)
    }

    /// Makes a node a variable or type of the environment, if there is one of this name.
    fn resolve_global(&mut self, expr: &mut Expr, name: &str) -> bool {
        let (reference, ty) = match self.env.ident(name) {
            Some(Ident::Variable(ty)) => (
                Reference::Variable(name.trim_start_matches('.').to_owned()),
                ty,
            ),
            Some(Ident::Type(of)) => (Reference::Type(of.clone()), Type::Type(Some(of.into()))),
            None => return false,
        };
        self.set(expr, ty);
        self.references[expr.id] = reference;
        expr.kind = ExprKind::Ident(name.to_owned());
        true
    }

    fn ident(&mut self, expr: &mut Expr, name: &str) {
        if let Some(ty) = self.local(name) {
            let ty = ty.clone();
            return self.set(expr, ty);
        }
        if !self.resolve_global(expr, name) {
            self.set(expr, Type::Error);
            self.undeclared(expr.at, name);
        }
    }

    fn select(&mut self, expr: &mut Expr) {
        if let Some(path) = qualified(expr) {
            let first = path.split('.').next().unwrap_or_default();
            if self.local(first).is_none() && self.resolve_global(expr, &path) {
                return;
            }
        }
        let ExprKind::Select {
            operand,
            field,
            test,
        } = &mut expr.kind
        else {
            return;
        };
        let (field, test) = (field.clone(), *test);
        let mut ty = self.field(expr.at, operand, &field, false);
        if test {
            ty = Type::Bool;
        }
        let ty = self.mapping.substitute(&ty, false);
        self.set(expr, ty);
    }

    /// The type of a field of an operand.
    fn field(&mut self, at: u32, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.expr(operand);
        let ty = self.mapping.substitute(&self.get(operand), false);
        let (target, is_optional) = ty.unwrap_optional();
        let result = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(name) => self.object_field(at, name, field),
            Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.issues.report(
                        at,
                        format!("type '{other}' does not support field selection"),
                    );
                }
                Type::Dyn
            }
        };
        if optional || is_optional {
            return Type::optional(result);
        }
        result
    }

    fn object_field(&mut self, at: u32, object: &str, field: &str) -> Type {
        match self.env.field(object, field) {
            FieldType::Known(ty) => return ty,
            FieldType::Unknown => self.issues.report(at, format!("undefined field '{field}'")),
            FieldType::NoType => self
                .issues
                .report(at, format!("unexpected failed resolution of '{object}'")),
        }
        Type::Error
    }

    fn optional_select(&mut self, expr: &mut Expr) {
        let at = expr.at;
        let ExprKind::Call { args, .. } = &mut expr.kind else {
            return;
        };
        let [operand, field] = args.as_mut_slice() else {
            return;
        };
        let ExprKind::Literal(Literal::String(name)) = &field.kind else {
            return;
        };
        let name = name.clone();
        self.set(field, Type::String);
        let ty = self.field(at, operand, &name, true);
        let ty = self.mapping.substitute(&ty, false);
        self.set(expr, ty);
        self.references[expr.id] = Reference::Overloads(vec!["select_optional_field"]);
    }

    fn call(&mut self, expr: &mut Expr) {
        let at = expr.at;
        let ExprKind::Call {
            target,
            function,
            args,
        } = &mut expr.kind
        else {
            return;
        };
        if function == names::OPTIONAL_SELECT {
            return self.optional_select(expr);
        }
        for arg in args.iter_mut() {
            self.expr(arg);
        }
        let mut name = function.clone();
        let mut known = None;
        if let Some(receiver) = target {
            // `a.b(…)` may be a method of `a`, or the function `a.b`.
            if let Some(prefix) = path_of(receiver) {
                let whole = format!("{prefix}.{function}");
                if let Some(found) = self.env.function(&whole) {
                    known = Some(found);
                    function.clone_from(&whole);
                    name = whole;
                    *target = None;
                }
            }
        }
        if known.is_none() {
            if let Some(receiver) = target {
                self.expr(receiver);
            }
            known = self.env.function(&name);
        }
        let Some(known) = known else {
            self.set(expr, Type::Error);
            return self.undeclared(at, &name);
        };
        let mut types: Vec<Type> = Vec::with_capacity(args.len() + 1);
        types.extend(target.iter().map(|target| self.get(target)));
        types.extend(args.iter().map(|arg| self.get(arg)));
        let logic = matches!(known.name, names::AND | names::OR);
        let resolved = if logic {
            let places: Vec<u32> = args.iter().map(|arg| arg.at).collect();
            self.logic(known, &types, &places)
        } else {
            let method = target.is_some();
            self.overload(at, known, &types, method)
        };
        match resolved {
            Some((ty, ids)) => {
                self.set(expr, ty);
                self.references[expr.id] = Reference::Overloads(ids);
            }
            None => self.set(expr, Type::Error),
        }
    }

    fn logic(
        &mut self,
        function: &Function,
        types: &[Type],
        places: &[u32],
    ) -> Option<(Type, Vec<&'static str>)> {
        let mut fits = true;
        for (ty, at) in types.iter().zip(places) {
            if !self.mapping.assignable(ty, &Type::Bool) {
                self.mismatch(*at, &Type::Bool, ty);
                fits = false;
            }
        }
        fits.then(|| (Type::Bool, vec![function.overloads[0].id]))
    }

    fn overload(
        &mut self,
        at: u32,
        function: &'static Function,
        types: &[Type],
        method: bool,
    ) -> Option<(Type, Vec<&'static str>)> {
        let mut ids = Vec::new();
        let mut result: Option<Type> = None;
        for overload in function
            .overloads
            .iter()
            .filter(|overload| overload.method == method)
        {
            let (wanted, returned) = self.instantiate(overload);
            if !self.mapping.all_assignable(types, &wanted) {
                continue;
            }
            ids.push(overload.id);
            let returned = self.mapping.substitute(&returned, false);
            result = Some(match result {
                None => returned,
                Some(known) if known.is_dyn() || known == returned => known,
                Some(_) => Type::Dyn,
            });
        }
        if result.is_none() {
            let signature = self.signature(types, method);
            self.issues.report(
                at,
                format!(
                    "found no matching overload for '{}' applied to '{signature}'",
                    function.name
                ),
            );
        }
        result.map(|ty| (ty, ids))
    }

    /// An overload's types with parameters of their own.
    fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        if overload.params.is_empty() {
            return (overload.args.clone(), overload.result.clone());
        }
        let mut fresh = Mapping::default();
        for param in &overload.params {
            let own = self.param();
            fresh.assignable(&own, &Type::Param(param.as_str().into()));
        }
        let args = overload
            .args
            .iter()
            .map(|ty| fresh.substitute(ty, false))
            .collect();
        (args, fresh.substitute(&overload.result, false))
    }

    fn param(&mut self) -> Type {
        self.params += 1;
        Type::Param(format!("_var{}", self.params - 1).into())
    }

    fn signature(&self, types: &[Type], method: bool) -> String {
        let mut types = types
            .iter()
            .map(|ty| self.mapping.substitute(ty, true).to_string())
            .collect::<Vec<_>>();
        let receiver = match method {
            true => format!("{}.", types.remove(0)),
            false => String::new(),
        };
        format!("{receiver}({})", types.join(", "))
    }

    /// The type of a value that may be left out: what it holds.
    fn unwrap(&mut self, expr: &Expr, optional: bool) -> Type {
        let ty = self.get(expr);
        if !optional {
            return ty;
        }
        let (inner, is_optional) = ty.unwrap_optional();
        if !is_optional && !inner.is_dyn() {
            self.mismatch(expr.at, &Type::optional(inner.clone()), &inner);
        }
        inner
    }

    /// What both types are. Literals of several types are refused later, where they are.
    fn join(&mut self, known: Option<Type>, ty: Type) -> Type {
        let Some(known) = known else { return ty };
        if self.mapping.assignable(&known, &ty) {
            return most_general(known, ty);
        }
        Type::Dyn
    }

    fn list(&mut self, elements: &mut [Element]) -> Type {
        let mut joined = None;
        for element in elements {
            self.expr(&mut element.value);
            let ty = self.unwrap(&element.value, element.optional);
            joined = Some(self.join(joined, ty));
        }
        let element = joined.unwrap_or_else(|| self.param());
        Type::list(element)
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            self.expr(&mut entry.key);
            let key = self.get(&entry.key);
            keys = Some(self.join(keys, key));
            self.expr(&mut entry.value);
            let value = self.unwrap(&entry.value, entry.optional);
            values = Some(self.join(values, value));
        }
        let key = keys.unwrap_or_else(|| self.param());
        let value = values.unwrap_or_else(|| self.param());
        Type::map(key, value)
    }

    fn message(&mut self, at: u32, name: &mut String, fields: &mut [Field]) -> Type {
        let Some(ty) = self.env.struct_type(name) else {
            match named_message(name) {
                Some(_) => {
                    self.issues
                        .report(at, format!("'{name}' is not a message type"));
                    for field in fields {
                        self.expr(&mut field.value);
                        self.issues
                            .report(field.at, format!("undefined field '{}'", field.name));
                    }
                }
                None => self.undeclared(at, name),
            }
            return Type::Error;
        };
        if let Some(bare) = name.strip_prefix('.') {
            *name = bare.to_owned();
        }
        for field in fields {
            self.expr(&mut field.value);
            let wanted = self.object_field(field.at, name, &field.name);
            let found = self.unwrap(&field.value, field.optional);
            if !self.mapping.assignable(&wanted, &found) {
                let name = &field.name;
                self.issues.report(
                    field.at,
                    format!("expected type of field '{name}' is '{wanted}' but provided type is '{found}'"),
                );
            }
        }
        ty
    }

    fn comprehension(&mut self, loops: &mut Comprehension) -> Type {
        self.expr(&mut loops.range);
        self.expr(&mut loops.init);
        let range = self.mapping.substitute(&self.get(&loops.range), false);
        let accumulator = self.get(&loops.init);
        let mark = self.scopes.len();
        self.scopes
            .push((loops.accumulator.clone(), accumulator.clone()));
        let two = loops.second.is_some();
        let (first, second) = match &range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Dyn),
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                self.issues.report(
                    loops.range.at,
                    format!(
                        "expression of type '{other}' cannot be range of a comprehension \
                         (must be list, map, or dynamic)"
                    ),
                );
                (Type::Error, Type::Error)
            }
        };
        self.scopes.push((loops.variable.clone(), first));
        self.scopes.extend(
            loops
                .second
                .iter()
                .map(|name| (name.clone(), second.clone())),
        );
        self.expr(&mut loops.condition);
        self.wants(&loops.condition, &Type::Bool);
        self.expr(&mut loops.step);
        self.wants(&loops.step, &accumulator);
        self.scopes.truncate(mark + 1);
        self.expr(&mut loops.result);
        self.scopes.truncate(mark);
        self.mapping.substitute(&self.get(&loops.result), false)
    }

    fn wants(&mut self, expr: &Expr, ty: &Type) {
        let found = self.get(expr);
        if !self.mapping.assignable(ty, &found) {
            self.mismatch(expr.at, ty, &found);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// Scalars that are types but can't be made field by field.
fn named_message(name: &str) -> Option<()> {
    matches!(
        name,
        "bool" | "bytes" | "double" | "int" | "list" | "map" | "string" | "uint"
    )
    .then_some(())
}

/// The dotted name that a chain of selections spells, when it begins with a variable.
fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Select { test: true, .. } => None,
        ExprKind::Select { operand, field, .. } => Some(format!("{}.{field}", path_of(operand)?)),
        _ => None,
    }
}

fn path_of(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Ident(name) => Some(name.clone()),
        _ => qualified(expr),
    }
}
