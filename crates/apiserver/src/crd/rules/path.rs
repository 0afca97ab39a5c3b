//! Where a rule says that it failed.

use serde_json::Value;

/// A path below another.
pub(super) fn child(at: &str, name: &str) -> String {
    match at {
        "" => name.to_owned(),
        at => format!("{at}.{name}"),
    }
}

/// A `fieldPath` (`.spec['a']`) as paths are shown: `spec.a`. Members of maps are shown in brackets.
pub(super) fn normal(path: &str, schema: &Value) -> String {
    let mut shown = String::new();
    let mut schema = schema;
    let mut rest = path.trim();
    while !rest.is_empty() {
        let name;
        (name, rest) = if let Some(quoted) = rest.strip_prefix("['") {
            let Some((name, rest)) = quoted.split_once("']") else {
                break;
            };
            (name.replace("\\'", "'").replace("\\\\", "\\"), rest)
        } else {
            let plain = rest.strip_prefix('.').unwrap_or(rest);
            let end = plain.find(['.', '[']).unwrap_or(plain.len());
            if end == 0 {
                break;
            }
            (plain[..end].to_owned(), &plain[end..])
        };
        match schema["properties"].get(&name) {
            Some(member) => {
                shown = child(&shown, &name);
                schema = member;
            }
            None => {
                shown.push_str(&format!("[{name}]"));
                schema = &schema["additionalProperties"];
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn paths_are_shown_as_fields() {
        let schema = json!({"properties": {
            "spec": {"properties": {"a": {}, "b.c": {}}},
            "map": {"additionalProperties": {}},
        }});
        for (path, shown) in [
            (".spec.a", "spec.a"),
            (".spec['b.c']", "spec.b.c"),
            (".map['x']", "map[x]"),
            (".", ""),
            (".spec['", "spec"),
        ] {
            assert_eq!(super::normal(path, &schema), shown);
        }
    }
}
