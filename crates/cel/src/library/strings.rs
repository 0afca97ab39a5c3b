//! Functions of text. Positions count code points.

use super::{LIST_MAX, Native, failed, format, ok, quote, text, texts};
use crate::cost::Meter;
use crate::value::{EvalError, Evaluated, Value};

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "contains" => |_, args| two(args, |text, part| text.contains(part)),
        "startsWith" => |_, args| two(args, |text, part| text.starts_with(part)),
        "endsWith" => |_, args| two(args, |text, part| text.ends_with(part)),
        "charAt" => char_at,
        "indexOf" => |meter, args| super::lists::index_of(meter, args).or_else(|| index_of(args)),
        "lastIndexOf" => {
            |meter, args| super::lists::last_index_of(meter, args).or_else(|| last_index_of(args))
        }
        "lowerAscii" => |_, args| one(args, |text| text.to_ascii_lowercase()),
        "upperAscii" => |_, args| one(args, |text| text.to_ascii_uppercase()),
        "trim" => |_, args| one(args, |text| text.trim_matches(is_space).to_owned()),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "join" => join,
        "strings.quote" => |_, args| one(args, quote::cel_quote),
        "format" => |_, args| match args {
            [Value::String(pattern), Value::List(list)] => match format::format(pattern, list) {
                Ok(shown) => text(shown),
                Err(error) => Some(Err(error)),
            },
            _ => None,
        },
        "jsonpatch.escapeKey" => {
            |_, args| one(args, |key| key.replace('~', "~0").replace('/', "~1"))
        }
        _ => return None,
    })
}

/// Go's `unicode.IsSpace`.
fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t'..='\r' | ' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

fn two<'a>(args: &[Value<'a>], holds: fn(&str, &str) -> bool) -> Option<Evaluated<'a>> {
    match args {
        [Value::String(one), Value::String(two)] => ok(Value::Bool(holds(one, two))),
        _ => None,
    }
}

fn one<'a>(args: &[Value<'a>], change: fn(&str) -> String) -> Option<Evaluated<'a>> {
    match args {
        [Value::String(one)] => text(change(one)),
        _ => None,
    }
}

fn out_of_range<'a>(index: i64) -> Option<Evaluated<'a>> {
    failed(format!("index out of range: {index}"))
}

fn char_at<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [Value::String(whole), Value::Int(index)] = args else {
        return None;
    };
    let Ok(at) = usize::try_from(*index) else {
        return out_of_range(*index);
    };
    match whole.chars().nth(at) {
        Some(c) => text(c.to_string()),
        None if at == whole.chars().count() => text(String::new()),
        None => out_of_range(*index),
    }
}

/// Where the code point with an index begins, in bytes.
fn byte_at(text: &str, index: usize) -> Option<usize> {
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .nth(index)
}

fn index_of<'a>(args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (whole, part, offset) = match args {
        [Value::String(whole), Value::String(part)] => (whole, part, 0),
        [
            Value::String(whole),
            Value::String(part),
            Value::Int(offset),
        ] => (whole, part, *offset),
        _ => return None,
    };
    let Ok(from) = usize::try_from(offset) else {
        return out_of_range(offset);
    };
    let length = whole.chars().count();
    if part.is_empty() {
        return ok(Value::Int(offset.min(length as i64)));
    }
    let found = byte_at(whole, from)
        .and_then(|begin| whole[begin..].find(&**part).map(|at| begin + at))
        .map_or(-1, |at| whole[..at].chars().count() as i64);
    ok(Value::Int(found))
}

fn last_index_of<'a>(args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (whole, part, offset) = match args {
        [Value::String(whole), Value::String(part)] => (whole, part, None),
        [
            Value::String(whole),
            Value::String(part),
            Value::Int(offset),
        ] => (whole, part, Some(*offset)),
        _ => return None,
    };
    let length = whole.chars().count();
    let from = match offset {
        None if part.is_empty() => return ok(Value::Int(length as i64)),
        None if whole.len() < part.len() => return ok(Value::Int(-1)),
        None => length as i64 - 1,
        Some(offset) => offset,
    };
    let Ok(last) = usize::try_from(from) else {
        return out_of_range(from);
    };
    if part.is_empty() {
        return ok(Value::Int(from.min(length as i64)));
    }
    if last >= length {
        return ok(Value::Int(-1));
    }
    // The part may begin at `last` at most.
    let end =
        byte_at(whole, last).map_or(whole.len(), |begin| (begin + part.len()).min(whole.len()));
    let end = (end..=whole.len())
        .find(|end| whole.is_char_boundary(*end))
        .unwrap_or(whole.len());
    let found = whole[..end]
        .rfind(&**part)
        .map_or(-1, |at| whole[..at].chars().count() as i64);
    ok(Value::Int(found))
}

fn replace<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (whole, old, new, most) = match args {
        [Value::String(whole), Value::String(old), Value::String(new)] => (whole, old, new, -1),
        [
            Value::String(whole),
            Value::String(old),
            Value::String(new),
            Value::Int(most),
        ] => (whole, old, new, *most),
        _ => return None,
    };
    let count = if old.is_empty() {
        whole.chars().count() + 1
    } else {
        whole.matches(&**old).count()
    };
    let count = usize::try_from(most).map_or(count, |most| count.min(most));
    if count.saturating_mul(new.len()).saturating_add(whole.len()) > super::TEXT_MAX {
        return Some(Err(EvalError::CostLimit));
    }
    text(match usize::try_from(most) {
        Ok(most) => whole.replacen(&**old, new, most),
        Err(_) => whole.replace(&**old, new),
    })
}

fn split<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (whole, separator, most) = match args {
        [Value::String(whole), Value::String(separator)] => (whole, separator, -1),
        [
            Value::String(whole),
            Value::String(separator),
            Value::Int(most),
        ] => (whole, separator, *most),
        _ => return None,
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if most == 0 {
        return ok(Value::list(Vec::new()));
    }
    let parts: Vec<&str> = if separator.is_empty() {
        explode(whole, most)
    } else {
        whole.splitn(most, &**separator).collect()
    };
    if parts.len() > LIST_MAX {
        return Some(Err(EvalError::CostLimit));
    }
    ok(texts(parts))
}

/// The code points one by one, the rest of them in the last part.
fn explode(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if parts.len() + 1 == most {
            parts.push(rest);
            return parts;
        }
        let (first, after) = rest.split_at(c.len_utf8());
        parts.push(first);
        rest = after;
    }
    parts
}

fn substring<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (whole, start, end) = match args {
        [Value::String(whole), Value::Int(start)] => (whole, *start, None),
        [Value::String(whole), Value::Int(start), Value::Int(end)] => (whole, *start, Some(*end)),
        _ => return None,
    };
    if let Some(end) = end
        && start > end
    {
        return failed(format!(
            "invalid substring range. start: {start}, end: {end}"
        ));
    }
    let place = |index: i64| {
        usize::try_from(index)
            .ok()
            .and_then(|index| byte_at(whole, index))
    };
    let Some(from) = place(start) else {
        return out_of_range(start);
    };
    let to = match end {
        None => whole.len(),
        Some(end) => match place(end) {
            Some(to) => to,
            None => return out_of_range(end),
        },
    };
    text(whole[from..to].to_owned())
}

fn join<'a>(_: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return None,
    };
    let mut joined = String::new();
    for (index, value) in list.iter().enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        match value {
            Ok(Value::String(part)) => joined.push_str(&part),
            Ok(other) => {
                return failed(format!(
                    "join: invalid input: {}",
                    super::operators::plain(&other)
                ));
            }
            Err(error) => return Some(Err(error)),
        }
        if joined.len() > super::TEXT_MAX {
            return Some(Err(EvalError::CostLimit));
        }
    }
    text(joined)
}
