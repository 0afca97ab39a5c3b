//! YAML of which only texts matter: every scalar is one.

use anyhow::{Context, Result, bail};
use granit_parser::{Event, Parser};
use serde_json::{Map, Value};

/// What is being read.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// The first document of a text, with all scalars as texts.
pub fn texts(text: &str) -> Result<Value> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.context("read YAML")?;
        let value = match event {
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => match open.pop() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Map(members, _)) => Value::Object(members),
                None => bail!("an end without a beginning"),
            },
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::Alias(..) => bail!("aliases are not read here"),
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(value),
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(members, name)) => match name.take() {
                Some(name) => {
                    members.insert(name, value);
                }
                None => *name = Some(value.as_str().context("a name is a text")?.to_owned()),
            },
        }
    }
    bail!("there is no document")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn scalars_are_texts() {
        let have = super::texts("a: 1\nb:\n- true\n- \"x\"\nc: {}\n").unwrap();
        assert_eq!(have, json!({"a": "1", "b": ["true", "x"], "c": {}}));
    }
}
