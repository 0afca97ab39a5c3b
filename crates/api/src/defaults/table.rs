//! Reads and runs the table of defaults.
//!
//! A line says: at this path of this kind (or of a type that kinds include), a member that is not set gets this value.
//! A path only leads through what is there; `x[]` is every item of a list. Lines run in order.

use super::hooks;
use serde_json::Value;
use std::sync::OnceLock;

/// A function for what a constant can't say; gets the node at the line's path.
pub(super) type Hook = fn(&mut Value);

enum Action {
    /// Gives the last member of the path a value.
    Set {
        member: &'static str,
        value: Value,
        when: Option<(&'static str, &'static str)>,
    },
    Include(usize),
    Call(Hook),
}

enum Step {
    Member(&'static str),
    Each,
}

struct Rule {
    steps: Vec<Step>,
    action: Action,
}

struct Section {
    /// `Container`, `apps/Deployment`.
    name: &'static str,
    /// Group and kind; none for types that kinds include.
    kind: Option<(&'static str, &'static str)>,
    rules: Vec<Rule>,
}

/// The table, one section for each type and kind.
struct Table(Vec<Section>);

fn steps(path: &'static str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|p| !p.is_empty()) {
        match part.strip_suffix("[]") {
            Some(name) => steps.extend([Step::Member(name), Step::Each]),
            None => steps.push(Step::Member(part)),
        }
    }
    steps
}

impl Table {
    fn load(text: &'static str) -> Table {
        let mut sections: Vec<Section> = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let mut columns = line.split('\t');
            let mut next = || columns.next().unwrap_or("");
            let (name, path, what, when) = (next(), next(), next(), next());
            let action = match (what.strip_prefix('@'), what.strip_prefix('!')) {
                (Some(included), _) => {
                    let at = sections.iter().position(|s| s.name == included);
                    Action::Include(at.expect("a type of the table stands before its users"))
                }
                (_, Some(hook)) if hook != "image" => Action::Call(hooks::by_name(hook)),
                // The member is given for the reader; the hook looks at its neighbours.
                (_, Some(_)) => Action::Call(hooks::image),
                _ => Action::Set {
                    member: path.rsplit('.').next().unwrap_or(path),
                    value: serde_json::from_str(what).expect("defaults in the table are JSON"),
                    when: when.split_once('='),
                },
            };
            let parent = match &action {
                Action::Include(_) => path,
                Action::Call(hook) if !std::ptr::fn_addr_eq(*hook, hooks::image as Hook) => path,
                _ => path.rsplit_once('.').map_or("", |(parent, _)| parent),
            };
            let rule = Rule {
                steps: steps(parent),
                action,
            };
            match sections.iter_mut().find(|s| s.name == name) {
                Some(section) => section.rules.push(rule),
                None => sections.push(Section {
                    name,
                    kind: name.split_once('/'),
                    rules: vec![rule],
                }),
            }
        }
        Table(sections)
    }

    fn run(&self, section: usize, node: &mut Value) {
        for rule in &self.0[section].rules {
            self.walk(&rule.steps, &rule.action, node);
        }
    }

    fn walk(&self, steps: &[Step], action: &Action, node: &mut Value) {
        match steps.split_first() {
            Some((Step::Member(name), rest)) => {
                if let Some(next) = node.get_mut(*name).filter(|v| !v.is_null()) {
                    self.walk(rest, action, next);
                }
            }
            Some((Step::Each, rest)) => {
                let items = node.as_array_mut().into_iter().flatten();
                items.for_each(|item| self.walk(rest, action, item));
            }
            None => match action {
                Action::Include(section) => self.run(*section, node),
                Action::Call(hook) => hook(node),
                Action::Set {
                    member,
                    value,
                    when,
                } => {
                    let free = match when {
                        // A number that Go always writes is not set when it is zero.
                        Some((own, "0")) if own == member => node[*own] == 0,
                        Some((sibling, wanted)) => {
                            node[*sibling] == **wanted && is_free(node, member)
                        }
                        None => is_free(node, member),
                    };
                    if free && node.is_object() {
                        node[*member] = value.clone();
                    }
                }
            },
        }
    }
}

/// Whether a member waits for its default. The empty text that an object still has when it is decoded is one behind a
/// pointer, which is a value to Go, but for the texts that Go always writes.
fn is_free(node: &Value, member: &str) -> bool {
    const ALWAYS_WRITTEN: [&str; 4] = ["apiGroup", "status", "strategy", "type"];
    match node.get(member) {
        Some(Value::String(text)) => text.is_empty() && ALWAYS_WRITTEN.contains(&member),
        other => super::unset(other),
    }
}

/// Runs the lines of a kind, if there are any.
pub(super) fn apply(group: &str, kind: &str, object: &mut Value) {
    static TABLE: OnceLock<Table> = OnceLock::new();
    let table = TABLE.get_or_init(|| Table::load(include_str!("table.tsv")));
    let section = table.0.iter().position(|s| s.kind == Some((group, kind)));
    if let Some(section) = section {
        table.run(section, object);
    }
}
