//! The grammars of names, with upstream's texts: DNS labels and subdomains, qualified names, label values, port names.
//!
//! Each check gives the texts of what is wrong; none when the name is right. Nothing here uses a regular expression: the
//! one in a text is only quoted.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD_TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY_TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME_TEXT: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// `must be no more than MAX characters`, the wording of upstream's older checks (which count bytes).
pub fn max_length(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// `must be no more than MAX bytes`: what upstream's newer checks say of the same thing.
pub fn max_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// A text of the older checks in the words of the newer ones.
pub fn in_bytes(text: String) -> String {
    match text.strip_suffix(" characters") {
        Some(rest) if rest.starts_with("must be no more than ") => format!("{rest} bytes"),
        _ => text,
    }
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(text: &[u8]) -> bool {
    match text {
        [] => false,
        [first, .., last] if !lower_alnum(*first) || !lower_alnum(*last) => false,
        [one] => lower_alnum(*one),
        all => all.iter().all(|b| lower_alnum(*b) || *b == b'-'),
    }
}

/// A DNS-1123 label: what names of namespaces, Services, containers and ports are.
pub fn dns1123_label(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > LABEL_MAX {
        errors.push(max_length(LABEL_MAX));
    }
    if !is_label(name.as_bytes()) {
        errors.push(match dns1123_subdomain(name).is_empty() {
            // A subdomain that is no label can only be so because of its dots.
            true => "must not contain dots".to_owned(),
            false => LABEL_TEXT.to_owned(),
        });
    }
    errors
}

/// A DNS-1123 subdomain: what most names are.
pub fn dns1123_subdomain(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > SUBDOMAIN_MAX {
        errors.push(max_length(SUBDOMAIN_MAX));
    }
    if !name.as_bytes().split(|b| *b == b'.').all(is_label) {
        errors.push(SUBDOMAIN_TEXT.to_owned());
    }
    errors
}

/// A DNS-1123 subdomain whose labels may begin with an underscore and have more of them inside.
pub fn dns1123_subdomain_with_underscore(name: &str) -> Vec<String> {
    const TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
    let mut errors = Vec::new();
    if name.len() > SUBDOMAIN_MAX {
        errors.push(max_length(SUBDOMAIN_MAX));
    }
    let label = |label: &[u8]| {
        let label = label.strip_prefix(b"_").unwrap_or(label);
        label.first().is_some_and(|b| lower_alnum(*b))
            && label.last().is_some_and(|b| lower_alnum(*b))
            && label
                .iter()
                .all(|b| lower_alnum(*b) || matches!(b, b'-' | b'_'))
    };
    if !name.as_bytes().split(|b| *b == b'.').all(label) {
        errors.push(TEXT.to_owned());
    }
    errors
}

/// `*.` and a subdomain.
pub fn wildcard_subdomain(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > SUBDOMAIN_MAX {
        errors.push(max_length(SUBDOMAIN_MAX));
    }
    let rest = name.strip_prefix("*.");
    if !rest.is_some_and(|r| r.as_bytes().split(|b| *b == b'.').all(is_label)) {
        errors.push(WILDCARD_TEXT.to_owned());
    }
    errors
}

/// A DNS-1035 label: starts with a letter.
pub fn dns1035_label(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > LABEL_MAX {
        errors.push(max_length(LABEL_MAX));
    }
    let bytes = name.as_bytes();
    if !is_label(bytes) || !bytes[0].is_ascii_lowercase() {
        errors.push(DNS1035_TEXT.to_owned());
    }
    errors
}

fn is_word(text: &[u8]) -> bool {
    match (text.first(), text.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && text
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        }
        _ => false,
    }
}

/// A qualified name: `name` or `prefix/name`, as keys of labels, annotations and taints are.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, rest)) if rest.contains('/') => {
            let mut text = format!("a valid label key {QUALIFIED_TEXT}");
            text.push_str(
                " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
            );
            return vec![text];
        }
        Some((prefix, rest)) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(
                    dns1123_subdomain(prefix)
                        .into_iter()
                        .map(|e| format!("prefix part {}", in_bytes(e))),
                );
            }
            rest
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", max_bytes(LABEL_MAX)));
    }
    if !is_word(name.as_bytes()) {
        errors.push(format!("name part {QUALIFIED_TEXT}"));
    }
    errors
}

/// A DNS-1123 subdomain that may have capitals.
pub fn subdomain_of_any_case(name: &str) -> Vec<String> {
    const TEXT: &str = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'Example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let wrong = dns1123_subdomain(&name.to_lowercase()).into_iter();
    wrong
        .map(|text| match text == SUBDOMAIN_TEXT {
            true => TEXT.to_owned(),
            false => in_bytes(text),
        })
        .collect()
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_bytes(LABEL_MAX));
    }
    if !value.is_empty() && !is_word(value.as_bytes()) {
        errors.push(LABEL_VALUE_TEXT.to_owned());
    }
    errors
}

/// The name of a port as IANA has it (RFC 6335).
pub fn port_name(name: &str) -> Vec<String> {
    let bytes = name.as_bytes();
    let mut errors = Vec::new();
    if bytes.len() > 15 {
        errors.push(max_length(15));
    }
    if bytes.is_empty() || !bytes.iter().all(|b| lower_alnum(*b) || *b == b'-') {
        errors.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if bytes.first() == Some(&b'-') || bytes.last() == Some(&b'-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    match (1..=65535).contains(&port) {
        true => Vec::new(),
        false => vec!["must be between 1 and 65535, inclusive".to_owned()],
    }
}

/// A key of a ConfigMap or Secret.
pub fn config_key(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.len() > SUBDOMAIN_MAX {
        errors.push(max_length(SUBDOMAIN_MAX));
    }
    if key.is_empty()
        || !key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        errors.push(CONFIG_KEY_TEXT.to_owned());
    }
    if key == "." {
        errors.push("must not be '.'".to_owned());
    } else if key == ".." {
        errors.push("must not be '..'".to_owned());
    } else if key.starts_with("..") {
        errors.push("must not start with '..'".to_owned());
    }
    errors
}

/// The name of an environment variable (KEP-4369: any printable ASCII but `=`).
pub fn env_name(name: &str) -> Vec<String> {
    let printable = |b: u8| (0x20..0x7f).contains(&b) && b != b'=';
    match name.is_empty() || !name.bytes().all(printable) {
        true => vec![ENV_NAME_TEXT.to_owned()],
        false => Vec::new(),
    }
}

/// A name that becomes a part of a path: all that RBAC asks of the names of its kinds.
pub fn path_segment(name: &str) -> Vec<String> {
    match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        _ => ['/', '%']
            .into_iter()
            .filter(|c| name.contains(*c))
            .map(|c| format!("may not contain '{c}'"))
            .collect(),
    }
}

/// The name with its trailing dash replaced, as upstream checks a `generateName`.
pub fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => name.to_owned(),
    }
}

const SUFFIX_LENGTH: usize = 5;
/// Without vowels and look-alikes, so that no words come out.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name made from `generateName`: the base cut to 58 bytes and five letters. `random` gives numbers below its
/// argument.
pub fn generate(base: &str, mut random: impl FnMut(usize) -> usize) -> String {
    let mut cut = base.len().min(LABEL_MAX - SUFFIX_LENGTH);
    while !base.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut name = String::with_capacity(cut + SUFFIX_LENGTH);
    name.push_str(&base[..cut]);
    for _ in 0..SUFFIX_LENGTH {
        let index = random(SUFFIX_ALPHABET.len()).min(SUFFIX_ALPHABET.len() - 1);
        name.push(char::from(SUFFIX_ALPHABET[index]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_with_upstreams_texts() {
        let long = "a".repeat(64);
        type Check = fn(&str) -> Vec<String>;
        let table: [(Check, &str, &[&str]); 14] = [
            (dns1123_label, "a-1", &[]),
            (dns1123_label, "1a", &[]),
            (dns1123_label, "Abc", &[LABEL_TEXT]),
            (dns1123_label, "a.b", &["must not contain dots"]),
            (
                dns1123_label,
                &long,
                &["must be no more than 63 characters"],
            ),
            (dns1123_subdomain, "a.b", &[]),
            (dns1123_subdomain, "a..b", &[SUBDOMAIN_TEXT]),
            (dns1035_label, "1a", &[DNS1035_TEXT]),
            (qualified_name, "example.com/a_b", &[]),
            (qualified_name, "/a", &["prefix part must be non-empty"]),
            (label_value, "", &[]),
            (
                port_name,
                "8080",
                &["must contain at least one letter (a-z)"],
            ),
            (
                port_name,
                "web_x",
                &["must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"],
            ),
            (path_segment, "a/b", &["may not contain '/'"]),
        ];
        for (check, name, errors) in table {
            assert_eq!(check(name), errors, "{name}");
        }
    }

    #[test]
    fn generated_names_have_five_letters_and_fit_a_label() {
        assert_eq!(generate("web-", |_| 0), "web-bbbbb");
        assert_eq!(generate(&"a".repeat(100), |n| n - 1).len(), 63);
    }
}
