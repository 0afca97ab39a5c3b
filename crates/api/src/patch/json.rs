//! JSON patch (RFC 6902), with the habits of the library that upstream uses: `replace` of a missing member adds it,
//! negative indexes count from the end, and the root itself can't be the target.

use serde_json::Value;

use super::{PatchError, Patched, duplicates};
use crate::decode::json::{MAX_DEPTH, parse};
use crate::decode::node::Node;

/// Upstream's bound on the number of operations.
const OPERATIONS_MAX: usize = 10_000;

/// How much a document may grow by `copy`, as in upstream's library. Prevents documents that double at each step.
const COPIED_MAX: usize = 3 * 1024 * 1024;

/// How many items of lists may make room for others, or close ranks: about a second of work.
const SHIFTED_MAX: usize = 100_000_000;

/// The depth at which a document is measured while it is patched. `move` puts a document into another one, and what
/// nests without bound overflows the stack of whoever walks through it.
const MEASURED_DEPTH: usize = 1_500;

pub(super) fn apply(object: &Value, body: &[u8]) -> Result<Patched, PatchError> {
    let node = parse(body).map_err(|e| PatchError::Malformed(e.to_string()))?;
    let Node::Array(operations) = &node else {
        let word = node.go_word();
        return Err(PatchError::Malformed(format!(
            "json: cannot unmarshal {word} into Go value of type jsonpatch.Patch"
        )));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge {
            max: OPERATIONS_MAX,
            got: operations.len(),
        });
    }
    let mut document = Document {
        root: object.clone(),
        copied: 0,
        shifted: 0,
        deepest: MAX_DEPTH,
    };
    for operation in operations {
        document.apply(operation).ok_or(PatchError::Rejected)?;
    }
    if depth(&document.root) > MAX_DEPTH {
        return Err(PatchError::Rejected);
    }
    Ok(Patched {
        value: document.root,
        strict: complaints(operations),
    })
}

/// What strict decoding says: members that operations don't have, and duplicates.
fn complaints(operations: &[Node<'_>]) -> Vec<String> {
    let mut strict = Vec::new();
    for (i, operation) in operations.iter().enumerate() {
        strict.extend(
            duplicates(operation, &format!("[{i}]"))
                .into_iter()
                .map(|text| format!("json patch {text}")),
        );
        let Node::Object(members) = operation else {
            continue;
        };
        for (name, _) in members {
            if !matches!(&**name, "op" | "path" | "from" | "value") {
                strict.push(format!("json patch unknown field \"[{i}].{name}\""));
            }
        }
    }
    for operation in operations {
        let (Some(path), Some(value)) = (
            operation.get("path").and_then(Node::as_str),
            operation.get("value"),
        ) else {
            continue;
        };
        let path = path.trim_start_matches('/').replace('/', ".");
        strict.extend(duplicates(value, &path));
    }
    strict
}

struct Document {
    root: Value,
    copied: usize,
    shifted: usize,
    /// No part of it lies deeper.
    deepest: usize,
}

impl Document {
    /// `None` when the operation is none or does not fit.
    fn apply(&mut self, operation: &Node<'_>) -> Option<()> {
        let path = operation.get("path")?.as_str()?;
        let value = || operation.get("value").map(Node::to_value);
        match operation.get("op")?.as_str()? {
            "add" => {
                self.add(path, value()?)?;
                self.deepened(path, MAX_DEPTH)
            }
            "replace" => {
                self.replace(path, value()?)?;
                self.deepened(path, MAX_DEPTH)
            }
            "remove" => self.remove(path).map(drop),
            "test" => {
                let expected = value().unwrap_or(Value::Null);
                (*self.get(path).unwrap_or(&Value::Null) == expected).then_some(())
            }
            "move" => {
                let moved = self.remove(operation.get("from")?.as_str()?)?;
                self.add(path, moved)?;
                self.deepened(path, self.deepest)
            }
            "copy" => {
                let copy = self.get(operation.get("from")?.as_str()?)?.clone();
                self.copied += copy.to_string().len();
                if self.copied > COPIED_MAX {
                    return None;
                }
                self.add(path, copy)?;
                self.deepened(path, self.deepest)
            }
            _ => None,
        }
    }

    /// Something of at most that depth now lies where a path leads.
    fn deepened(&mut self, path: &str, by: usize) -> Option<()> {
        let there = path.matches('/').count();
        self.deepest = self.deepest.max(there + by);
        if self.deepest > MEASURED_DEPTH {
            self.deepest = depth(&self.root);
            // Far less than what is measured, so that it is measured seldom; far more than it may be in the end.
            return (self.deepest <= MEASURED_DEPTH / 3).then_some(());
        }
        Some(())
    }

    /// So many items of a list change their places.
    fn shift(&mut self, items: usize) -> Option<()> {
        self.shifted += items;
        (self.shifted <= SHIFTED_MAX).then_some(())
    }

    fn get(&self, path: &str) -> Option<&Value> {
        let mut at = &self.root;
        for part in parts(path)? {
            at = match at {
                Value::Object(members) => members.get(&part)?,
                Value::Array(items) => items.get(index(&part, items.len())?)?,
                _ => return None,
            };
        }
        Some(at)
    }

    /// The container of a path's last part, and that part.
    fn parent(&mut self, path: &str) -> Option<(&mut Value, String)> {
        let mut parts = parts(path)?;
        let last = parts.pop()?;
        let mut at = &mut self.root;
        for part in parts {
            at = match at {
                Value::Object(members) => members.get_mut(&part)?,
                Value::Array(items) => {
                    let i = index(&part, items.len())?;
                    items.get_mut(i)?
                }
                _ => return None,
            };
        }
        Some((at, last))
    }

    fn add(&mut self, path: &str, value: Value) -> Option<()> {
        let (parent, last) = self.parent(path)?;
        match parent {
            Value::Object(members) => {
                members.insert(last, value);
            }
            Value::Array(items) if last == "-" => items.push(value),
            Value::Array(items) => {
                // One past the end is a place, too.
                let i = index(&last, items.len() + 1)?;
                items.insert(i, value);
                let behind = items.len() - i;
                return self.shift(behind);
            }
            _ => return None,
        }
        Some(())
    }

    fn replace(&mut self, path: &str, value: Value) -> Option<()> {
        let (parent, last) = self.parent(path)?;
        match parent {
            Value::Object(members) => {
                members.insert(last, value);
            }
            Value::Array(items) => {
                let i = index(&last, items.len())?;
                *items.get_mut(i)? = value;
            }
            _ => return None,
        }
        Some(())
    }

    fn remove(&mut self, path: &str) -> Option<Value> {
        let (parent, last) = self.parent(path)?;
        match parent {
            Value::Object(members) => members.remove(&last),
            Value::Array(items) => {
                let i = index(&last, items.len())?;
                let removed = items.remove(i);
                let behind = items.len() - i;
                self.shift(behind)?;
                Some(removed)
            }
            _ => None,
        }
    }
}

/// How many lists and objects lie within each other.
fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The parts of a JSON pointer (RFC 6901).
fn parts(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix('/')?;
    Some(
        rest.split('/')
            .map(|part| part.replace("~1", "/").replace("~0", "~"))
            .collect(),
    )
}

/// A place in a list of that many places.
fn index(part: &str, places: usize) -> Option<usize> {
    let i: i64 = part.parse().ok()?;
    let i = if i < 0 {
        i.checked_add(i64::try_from(places).ok()?)?
    } else {
        i
    };
    usize::try_from(i).ok().filter(|i| *i < places)
}
