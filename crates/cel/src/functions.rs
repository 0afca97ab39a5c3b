//! The functions that Kubernetes' expressions may call: names, overloads, signatures.
//!
//! One line a function: its name, then its overloads as `id(types)result`, a method's id with a dot before it.
//! Single capitals stand for any type. The order of overloads is upstream's, for the first that fits decides.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub struct Overload {
    /// Its name in upstream's cost tables.
    pub id: &'static str,
    /// Whether the first type is the receiver's.
    pub method: bool,
    /// The types of the arguments, the receiver first.
    pub args: Vec<Type>,
    /// The type of the result.
    pub result: Type,
    /// The names of its type parameters.
    pub params: Vec<String>,
}

/// The overloads of a function.
#[derive(Debug)]
pub struct Function {
    /// The name.
    pub name: &'static str,
    /// The overloads.
    pub overloads: Vec<Overload>,
}

/// A function by its name. `stored` adds those that expressions may use only once they are stored, which
/// upstream does so that an older server can still read what this one accepted.
pub fn function(name: &str, stored: bool) -> Option<&'static Function> {
    static ALL: OnceLock<HashMap<&'static str, Function>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        TABLE
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                let function = parse_function(line);
                (function.name, function)
            })
            .collect()
    });
    let function = all.get(name)?;
    (stored || name != "includes").then_some(function)
}

fn parse_function(line: &'static str) -> Function {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().expect("a line has a name");
    let overloads = words.map(parse_overload).collect();
    Function { name, overloads }
}

fn parse_overload(text: &'static str) -> Overload {
    let (id, rest) = text.split_once('(').expect("an overload has arguments");
    let mut reader = Reader { rest };
    let mut args = Vec::new();
    while !reader.eat(')') {
        args.push(reader.parse());
        reader.eat(',');
    }
    let result = reader.parse();
    let mut params = Vec::new();
    for ty in args.iter().chain([&result]) {
        collect_params(ty, &mut params);
    }
    Overload {
        id: id.trim_start_matches('.'),
        method: id.starts_with('.'),
        args,
        result,
        params,
    }
}

fn collect_params(ty: &Type, params: &mut Vec<String>) {
    match ty {
        Type::Param(name) if !params.iter().any(|known| **known == **name) => {
            params.push(name.to_string())
        }
        Type::List(element) => collect_params(element, params),
        Type::Map(entry) => {
            collect_params(&entry.0, params);
            collect_params(&entry.1, params);
        }
        Type::Opaque(_, types) => types.iter().for_each(|ty| collect_params(ty, params)),
        Type::Type(Some(of)) => collect_params(of, params),
        _ => {}
    }
}

struct Reader {
    rest: &'static str,
}

impl Reader {
    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn parse(&mut self) -> Type {
        let end = self.rest.find(['(', ')', ',']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let mut params = Vec::new();
        if matches!(name, "list" | "map" | "optional" | "type") && self.eat('(') {
            while !self.eat(')') {
                params.push(self.parse());
                self.eat(',');
            }
        }
        let mut params = params.into_iter();
        let mut next = || params.next().unwrap_or(Type::Dyn);
        match name {
            "list" => Type::list(next()),
            "map" => Type::map(next(), next()),
            "optional" => Type::optional(next()),
            "type" => Type::Type(Some(next().into())),
            "dyn" => Type::Dyn,
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "duration" => Type::Duration,
            "timestamp" => Type::Timestamp,
            "IP" => Type::Opaque("net.IP".into(), [].into()),
            "CIDR" => Type::Opaque("net.CIDR".into(), [].into()),
            "URL" => Type::object("kubernetes.URL"),
            "Quantity" => Type::object("kubernetes.Quantity"),
            "Semver" => Type::object("kubernetes.Semver"),
            "Format" => Type::object("kubernetes.NamedFormat"),
            "Authorizer" | "PathCheck" | "GroupCheck" | "ResourceCheck" | "Decision" => {
                Type::object(&format!("kubernetes.authorization.{name}"))
            }
            param => Type::Param(param.into()),
        }
    }
}

const TABLE: &str = include_str!("functions.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        for line in TABLE.lines().filter(|line| !line.is_empty()) {
            let name = line.split(' ').next().unwrap();
            let found = function(name, true).unwrap();
            assert!(!found.overloads.is_empty(), "{name}");
            for overload in &found.overloads {
                for param in &overload.params {
                    assert_eq!(param.len(), 1, "{name}: {param} is no type");
                }
            }
        }
        assert!(function("includes", false).is_none());
    }
}
