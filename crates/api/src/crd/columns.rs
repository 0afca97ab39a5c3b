//! The columns of a custom resource's Table.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::jsonpath::{self, JsonPath};
use crate::print::{self, Column};
use crate::resource::Table;
use crate::time;

/// Headers, and where the cells come from.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    headers: Vec<Column>,
    /// One for each header but the first, which is the name.
    paths: Vec<JsonPath>,
}

impl Columns {
    /// From `additionalPrinterColumns`. A column whose path is none ends the list, as upstream does.
    pub fn read(columns: &[Value]) -> Columns {
        // The texts of name and age are those of resources that have no columns of their own.
        let roles = Table::builtin().lookup("rbac.authorization.k8s.io", "v1", "roles");
        let common = roles.map_or(&[][..], |roles| print::columns(roles));
        let mut read = Columns {
            headers: common.first().cloned().into_iter().collect(),
            paths: Vec::new(),
        };
        let described = common.get(1).map_or("", |c| &c.description);
        let age = json!([{"name": "Age", "type": "date", "description": described, "jsonPath": ".metadata.creationTimestamp"}]);
        let columns = match columns.is_empty() {
            true => age.as_array().map_or(&[][..], Vec::as_slice),
            false => columns,
        };
        for column in columns {
            let text = |name: &str| column.get(name).and_then(Value::as_str).unwrap_or_default();
            let Ok(path) = JsonPath::parse(text("jsonPath")) else {
                break;
            };
            let description = match text("description") {
                "" => format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    text("jsonPath")
                ),
                own => own.to_owned(),
            };
            read.headers.push(Column {
                name: text("name").to_owned().into(),
                kind: text("type").to_owned().into(),
                format: text("format").to_owned().into(),
                description,
                priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0) as i32,
            });
            read.paths.push(path);
        }
        read
    }

    /// What stands over the cells.
    pub fn headers(&self) -> &[Column] {
        &self.headers
    }

    /// The cells of an object.
    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = object["metadata"]["name"].clone();
        let others = self
            .paths
            .iter()
            .zip(&self.headers[1..])
            .map(|(path, header)| match path.first(object) {
                Ok(Some(value)) => cell(&header.kind, &value, now),
                _ => Value::Null,
            });
        std::iter::once(name).chain(others).collect()
    }
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", value) => jsonpath::print(value).into(),
        ("integer", Value::Number(n)) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).into(),
        ("number", Value::Number(_)) => value.clone(),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) if text.is_empty() => "<unknown>".into(),
        ("date", Value::String(text)) => match time::parse(text) {
            Ok(then) => print::human_duration(now.as_second() - then.as_second()).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_of_the_columns_types() {
        let columns = json!([
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "priority": 1},
            {"name": "Map", "type": "string", "jsonPath": ".spec.map", "description": "A map"},
            {"name": "When", "type": "date", "jsonPath": ".spec.when"},
            {"name": "Wrong", "type": "boolean", "jsonPath": ".spec.replicas"},
        ]);
        let columns = Columns::read(columns.as_array().expect("a list"));
        assert_eq!(columns.headers()[2].priority, 1);
        assert_eq!(columns.headers()[3].description, "A map");
        let object = json!({"metadata": {"name": "a"}, "spec": {"replicas": 2, "map": {"x": 1}, "when": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let now = "2026-01-01T00:01:00Z".parse().expect("a time");
        assert_eq!(
            columns.cells(&object, now),
            [
                json!("a"),
                json!(2),
                json!("True"),
                json!("{\"x\":1}"),
                json!("60s"),
                Value::Null
            ]
        );
        assert_eq!(Columns::read(&[]).headers()[1].name, "Age");
    }
}
