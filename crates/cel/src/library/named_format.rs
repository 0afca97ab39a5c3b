//! Named formats: `format.dns1123Label().validate(text)`.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::opaque::Opaque;
use super::url::Url;
use super::{Native, ok, texts};
use crate::value::{Value, time};

/// A format.
#[derive(Debug)]
pub struct NamedFormat {
    /// The name behind `format.`.
    key: &'static str,
    /// The name that it shows.
    pub name: &'static str,
    /// The length of the pattern that it costs as much as.
    pub pattern_size: u64,
    validate: fn(&str) -> Vec<String>,
}

const fn format(
    key: &'static str,
    name: &'static str,
    pattern_size: u64,
    validate: fn(&str) -> Vec<String>,
) -> NamedFormat {
    NamedFormat {
        key,
        name,
        pattern_size,
        validate,
    }
}

static FORMATS: [NamedFormat; 13] = [
    format("dns1123Label", "DNS1123Label", 30, |text| {
        label(text, false)
    }),
    format("dns1123Subdomain", "DNS1123Subdomain", 60, |text| {
        subdomain(text, false)
    }),
    format("dns1035Label", "DNS1035Label", 30, |text| {
        label_1035(text, false)
    }),
    format("qualifiedName", "QualifiedName", 60, qualified_name),
    format("dns1123LabelPrefix", "DNS1123LabelPrefix", 30, |text| {
        label(text, true)
    }),
    format(
        "dns1123SubdomainPrefix",
        "DNS1123SubdomainPrefix",
        60,
        |text| subdomain(text, true),
    ),
    format("dns1035LabelPrefix", "DNS1035LabelPrefix", 30, |text| {
        label_1035(text, true)
    }),
    format("labelValue", "LabelValue", 40, label_value),
    format("uri", "URI", 1103, |text| {
        Url::parse(text).err().into_iter().collect()
    }),
    format("uuid", "uuid", 70, |text| {
        one("does not match the UUID format", uuid(text))
    }),
    format("byte", "byte", 84, |text| {
        one(
            "invalid base64",
            !text.is_empty() && STANDARD.decode(text).is_ok(),
        )
    }),
    format("date", "date", 71, |text| {
        one("invalid date", time::parse_date(text).is_some())
    }),
    format("datetime", "datetime", 71, |text| {
        one("invalid datetime", date_time(text))
    }),
];

fn one(wrong: &str, valid: bool) -> Vec<String> {
    if valid {
        Vec::new()
    } else {
        vec![wrong.to_owned()]
    }
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

fn longer(text: &str, most: usize) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} bytes"))
}

fn pattern(message: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples
        .iter()
        .map(|example| format!("'{example}'"))
        .collect();
    format!(
        "{message} (e.g. {}, regex used for validation is '{regex}')",
        examples.join(",  or ")
    )
}

/// The name that a prefix stands for: a dash at its end may be followed by a letter.
fn masked(text: &str, prefix: bool) -> String {
    match text
        .strip_suffix('-')
        .and_then(|rest| rest.char_indices().next_back())
    {
        Some((last, _)) if prefix => format!("{}a", &text[..last]),
        _ => text.to_owned(),
    }
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| lower(*b))
        && bytes.last().is_some_and(|b| lower(*b))
        && bytes.iter().all(|b| lower(*b) || *b == b'-')
}

fn label(text: &str, prefix: bool) -> Vec<String> {
    let text = masked(text, prefix);
    let mut wrong: Vec<String> = longer(&text, 63).into_iter().collect();
    if !is_label(&text) && text.split('.').all(is_label) {
        wrong.push("must not contain dots".to_owned());
    } else if !is_label(&text) {
        let message = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                       and must start and end with an alphanumeric character";
        wrong.push(pattern(message, LABEL, &["my-name", "123-abc"]));
    }
    wrong
}

fn subdomain(text: &str, prefix: bool) -> Vec<String> {
    let text = masked(text, prefix);
    let mut wrong: Vec<String> = longer(&text, 253).into_iter().collect();
    if !text.split('.').all(is_label) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                       and must start and end with an alphanumeric character";
        wrong.push(pattern(message, SUBDOMAIN, &["example.com"]));
    }
    wrong
}

fn label_1035(text: &str, prefix: bool) -> Vec<String> {
    let text = masked(text, prefix);
    let mut wrong: Vec<String> = longer(&text, 63).into_iter().collect();
    if !is_label(&text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        let message = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
                       start with an alphabetic character, and end with an alphanumeric character";
        wrong.push(pattern(message, LABEL_1035, &["my-name", "abc-123"]));
    }
    wrong
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn qualified_name(text: &str) -> Vec<String> {
    let message = "must consist of alphanumeric characters, '-', '_' or '.', \
                   and must start and end with an alphanumeric character";
    let examples = ["MyName", "my.name", "123-abc"];
    let mut wrong = Vec::new();
    let mut parts = text.split('/');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let name = match (second, third) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(
                    subdomain(first, false)
                        .into_iter()
                        .map(|error| format!("prefix part {error}")),
                );
            }
            name
        }
        _ => {
            let text = pattern(
                &format!("a valid label key {message}"),
                QUALIFIED,
                &examples,
            );
            return vec![format!(
                "{text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else {
        wrong.extend(longer(name, 63).map(|error| format!("name part {error}")));
    }
    if !is_name(name) {
        wrong.push(format!(
            "name part {}",
            pattern(message, QUALIFIED, &examples)
        ));
    }
    wrong
}

fn label_value(text: &str) -> Vec<String> {
    let mut wrong: Vec<String> = longer(text, 63).into_iter().collect();
    if !text.is_empty() && !is_name(text) {
        let message = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                       and must start and end with an alphanumeric character";
        wrong.push(pattern(
            message,
            LABEL_VALUE,
            &["MyValue", "my_value", "12345"],
        ));
    }
    wrong
}

/// A UUID, whose dashes may be left out.
fn uuid(text: &str) -> bool {
    let mut rest = text;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.get(..length) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => rest = &rest[length..],
            _ => return false,
        }
    }
    rest.is_empty()
}

fn date_time(text: &str) -> bool {
    time::parse_timestamp(&text.to_ascii_uppercase()).is_some()
}

fn made<'a>(format: &'static NamedFormat) -> Value<'a> {
    Value::Opaque(Rc::new(Opaque::Format(format)))
}

/// The format that a function without arguments stands for.
pub fn constant<'a>(function: &str) -> Option<Value<'a>> {
    let key = function.strip_prefix("format.")?;
    FORMATS.iter().find(|format| format.key == key).map(made)
}

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "format.named" => |_, args| match args {
            [Value::String(key)] => {
                let found = FORMATS.iter().find(|format| *format.key == **key);
                ok(found.map_or(Value::Optional(None), |format| Value::some(made(format))))
            }
            _ => None,
        },
        "validate" => |_, args| match args {
            [Value::Opaque(opaque), Value::String(text)] => match &**opaque {
                Opaque::Format(format) => {
                    let wrong = (format.validate)(text);
                    ok(if wrong.is_empty() {
                        Value::Optional(None)
                    } else {
                        Value::some(texts(wrong))
                    })
                }
                _ => None,
            },
            _ => None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_right_from_wrong() {
        for (key, right, wrong) in [
            ("dns1123Label", "a-1", "A"),
            ("dns1123Subdomain", "a.b-c", "a..b"),
            ("dns1035Label", "a1", "1a"),
            ("dns1035LabelPrefix", "a-", "-"),
            ("qualifiedName", "example.com/A_b", "a/b/c"),
            ("labelValue", "", "-"),
            ("uri", "https://a/b", "b"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
            ("byte", "aGVsbG8=", "a"),
            ("date", "2021-02-28", "2021-02-30"),
            ("datetime", "2021-01-01T00:00:00Z", "2021-01-01"),
        ] {
            let format = FORMATS.iter().find(|format| format.key == key).unwrap();
            assert_eq!((format.validate)(right), Vec::<String>::new(), "{key}");
            assert!(!(format.validate)(wrong).is_empty(), "{key}");
        }
    }
}
