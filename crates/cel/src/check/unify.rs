//! Which types fit which, and what type parameters turn out to be.

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Type;

/// What the parameters found so far stand for. Changes can be undone.
#[derive(Default)]
pub struct Mapping {
    known: HashMap<Arc<str>, Type>,
    undo: Vec<(Arc<str>, Option<Type>)>,
}

impl Mapping {
    fn add(&mut self, param: &Arc<str>, ty: Type) {
        let old = self.known.insert(Arc::clone(param), ty);
        self.undo.push((Arc::clone(param), old));
    }

    fn attempt(&mut self, fits: impl FnOnce(&mut Self) -> bool) -> bool {
        let mark = self.undo.len();
        if fits(self) {
            return true;
        }
        for (param, old) in self.undo.drain(mark..).rev() {
            match old {
                Some(ty) => self.known.insert(param, ty),
                None => self.known.remove(&param),
            };
        }
        false
    }

    /// Whether a value of `second` can stand where `first` is wanted, or the other way round.
    pub fn assignable(&mut self, first: &Type, second: &Type) -> bool {
        self.attempt(|mapping| mapping.fits(first, second))
    }

    /// The same for each of two lists.
    pub fn all_assignable(&mut self, first: &[Type], second: &[Type]) -> bool {
        first.len() == second.len()
            && self.attempt(|mapping| {
                first
                    .iter()
                    .zip(second)
                    .all(|(one, two)| mapping.fits(one, two))
            })
    }

    fn fits(&mut self, first: &Type, second: &Type) -> bool {
        if let Type::Param(param) = second {
            match self.substitution(first, param) {
                Substitution::Valid => return true,
                Substitution::Conflict => return false,
                Substitution::Cyclic => {}
            }
        }
        if let Type::Param(param) = first {
            return matches!(self.substitution(second, param), Substitution::Valid);
        }
        if first.is_dyn_or_error() || second.is_dyn_or_error() {
            return true;
        }
        match (first, second) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::List(one), Type::List(two)) => self.fits(one, two),
            (Type::Map(one), Type::Map(two)) => {
                self.fits(&one.0, &two.0) && self.fits(&one.1, &two.1)
            }
            (Type::Opaque(one, params), Type::Opaque(two, others)) => {
                one == two
                    && params.len() == others.len()
                    && params
                        .iter()
                        .zip(others.iter())
                        .all(|(one, two)| self.fits(one, two))
            }
            (Type::Type(_), Type::Type(_)) => true,
            _ => first == second,
        }
    }

    fn substitution(&mut self, ty: &Type, param: &Arc<str>) -> Substitution {
        if matches!(ty, Type::Param(name) if name == param) {
            return Substitution::Valid;
        }
        if let Some(known) = self.known.get(param).cloned() {
            if *ty == known {
                return Substitution::Valid;
            }
            if !self.fits(ty, &known) {
                return Substitution::Conflict;
            }
            let general = most_general(ty.clone(), known);
            if !self.occurs(param, &general) {
                self.add(param, general);
            }
            return Substitution::Valid;
        }
        if self.occurs(param, ty) {
            return Substitution::Cyclic;
        }
        self.add(param, ty.clone());
        Substitution::Valid
    }

    fn occurs(&self, param: &Arc<str>, within: &Type) -> bool {
        match within {
            Type::Param(name) if name == param => true,
            Type::Param(name) => self
                .known
                .get(name)
                .is_some_and(|known| self.occurs(param, known)),
            Type::List(element) => self.occurs(param, element),
            Type::Map(entry) => self.occurs(param, &entry.0) || self.occurs(param, &entry.1),
            Type::Opaque(_, params) => params.iter().any(|ty| self.occurs(param, ty)),
            Type::Type(Some(of)) => self.occurs(param, of),
            _ => false,
        }
    }

    /// The type with the known parameters replaced; the unknown ones become dynamic if `settle`.
    pub fn substitute(&self, ty: &Type, settle: bool) -> Type {
        match ty {
            Type::Param(name) => match self.known.get(name) {
                Some(known) => self.substitute(known, settle),
                None if settle => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(element) => Type::list(self.substitute(element, settle)),
            Type::Map(entry) => Type::map(
                self.substitute(&entry.0, settle),
                self.substitute(&entry.1, settle),
            ),
            Type::Opaque(name, params) if !params.is_empty() => Type::Opaque(
                Arc::clone(name),
                params
                    .iter()
                    .map(|param| self.substitute(param, settle))
                    .collect(),
            ),
            Type::Type(Some(of)) => Type::Type(Some(self.substitute(of, settle).into())),
            other => other.clone(),
        }
    }
}

enum Substitution {
    Valid,
    /// The parameter stands for something that does not fit.
    Conflict,
    /// The parameter occurs in the type.
    Cyclic,
}

/// Whether `null` fits a type.
fn nullable(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp
    )
}

/// The more general of two types that fit each other.
pub fn most_general(first: Type, second: Type) -> Type {
    if less_specific(&first, &second) {
        first
    } else {
        second
    }
}

fn less_specific(first: &Type, second: &Type) -> bool {
    match (first, second) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(one), Type::List(two)) => less_specific(one, two),
        (Type::Map(one), Type::Map(two)) => {
            less_specific(&one.0, &two.0) && less_specific(&one.1, &two.1)
        }
        (Type::Opaque(one, params), Type::Opaque(two, others)) => {
            one == two
                && params.len() == others.len()
                && params
                    .iter()
                    .zip(others.iter())
                    .all(|(one, two)| less_specific(one, two))
        }
        (Type::Type(_), Type::Type(_)) => true,
        _ => first == second,
    }
}

/// Whether two types are the same, with parameters equal to any type.
pub fn equivalent(first: &Type, second: &Type) -> bool {
    match (first, second) {
        (Type::List(one), Type::List(two)) => equivalent(one, two),
        (Type::Map(one), Type::Map(two)) => {
            equivalent(&one.0, &two.0) && equivalent(&one.1, &two.1)
        }
        (Type::Opaque(one, params), Type::Opaque(two, others)) => {
            one == two
                && params.len() == others.len()
                && params
                    .iter()
                    .zip(others.iter())
                    .all(|(one, two)| equivalent(one, two))
        }
        (Type::Type(one), Type::Type(two)) => match (one, two) {
            (Some(one), Some(two)) => equivalent(one, two),
            _ => true,
        },
        _ => first == second,
    }
}
