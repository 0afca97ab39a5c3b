//! The object form of label selectors: `{matchLabels, matchExpressions}`.

use super::label::{LabelSelector, Operator, Requirement};
use serde_json::{Map, Value};

/// An object that is no label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOperator(String);

fn build<'a>(
    key: &str,
    operator: Operator,
    values: impl IntoIterator<Item = &'a str>,
) -> Result<Requirement, InvalidOperator> {
    Requirement::new(key, operator, values).map_err(|errors| {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        InvalidOperator(texts.join(", "))
    })
}

impl LabelSelector {
    /// Of a plain map of labels, as Services have; an empty map or none matches everything.
    pub fn from_map(labels: Option<&Map<String, Value>>) -> Result<LabelSelector, InvalidOperator> {
        let requirements = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| build(key, Operator::Equals, value.as_str()))
            .collect::<Result<_, _>>()?;
        Ok(LabelSelector::from_requirements(requirements))
    }

    /// Of the object form. None (or null) matches nothing; an empty object matches everything.
    pub fn from_object(selector: Option<&Value>) -> Result<LabelSelector, InvalidOperator> {
        let Some(selector) = selector.and_then(Value::as_object) else {
            return Ok(LabelSelector::nothing());
        };
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        let mut requirements = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| build(key, Operator::Equals, value.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        for expression in expressions.into_iter().flatten() {
            let text = |name| expression.get(name).and_then(Value::as_str).unwrap_or("");
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(InvalidOperator(format!(
                        "{} is not a valid label selector operator",
                        crate::field::quote(other)
                    )));
                }
            };
            let values = expression.get("values").and_then(Value::as_array);
            let values = values.into_iter().flatten().filter_map(Value::as_str);
            requirements.push(build(text("key"), operator, values)?);
        }
        Ok(LabelSelector::from_requirements(requirements))
    }
}
