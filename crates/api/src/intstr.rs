//! A value that is a number or a text: a port or its name, a count or a percentage.

use serde_json::Value;

/// A number or a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOrString<'a> {
    /// A number.
    Int(i64),
    /// A text.
    String(&'a str),
}

impl<'a> IntOrString<'a> {
    /// Of a JSON value; `None` for other types.
    pub fn from_json(value: &'a Value) -> Option<IntOrString<'a>> {
        match value {
            Value::Number(n) => n.as_i64().map(IntOrString::Int),
            Value::String(s) => Some(IntOrString::String(s)),
            _ => None,
        }
    }

    /// The number of percent, when it is one: digits and `%`.
    pub fn percent(self) -> Option<i64> {
        match self {
            IntOrString::String(text) => text
                .strip_suffix('%')
                .filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|d| d.parse().ok()),
            IntOrString::Int(_) => None,
        }
    }

    /// The number itself, or that share of `total`; `None` when the text is no percentage.
    pub fn scaled(self, total: i64, round_up: bool) -> Option<i64> {
        match self {
            IntOrString::Int(n) => Some(n),
            IntOrString::String(_) => {
                let product = self.percent()?.checked_mul(total)?;
                Some(match round_up {
                    true => product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0),
                    false => product.div_euclid(100),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_scale_with_the_rounding_asked_for() {
        let p = IntOrString::String("25%");
        assert_eq!(p.scaled(10, true), Some(3));
        assert_eq!(p.scaled(10, false), Some(2));
        assert_eq!(IntOrString::Int(4).scaled(10, true), Some(4));
        assert_eq!(IntOrString::String("x%").scaled(10, true), None);
    }
}
