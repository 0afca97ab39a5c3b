//! The names under which operators are functions.

/// `c ? a : b`
pub const CONDITIONAL: &str = "_?_:_";
/// `a && b`
pub const AND: &str = "_&&_";
/// `a || b`
pub const OR: &str = "_||_";
/// `!a`
pub const NOT: &str = "!_";
/// `-a`
pub const NEGATE: &str = "-_";
/// `a[b]`
pub const INDEX: &str = "_[_]";
/// `a[?b]`
pub const OPTIONAL_INDEX: &str = "_[?_]";
/// `a.?b`
pub const OPTIONAL_SELECT: &str = "_?._";
/// `a == b`
pub const EQUALS: &str = "_==_";
/// `a != b`
pub const NOT_EQUALS: &str = "_!=_";
/// `a + b`
pub const ADD: &str = "_+_";
/// `a in b`
pub const IN: &str = "@in";
/// Whether a loop's accumulator is not false: errors let it go on.
pub const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
/// A map with one more entry.
pub const MAP_INSERT: &str = "cel.@mapInsert";
/// The accumulator of macros, which no one can name.
pub const ACCUMULATOR: &str = "@result";
/// What the accumulator was called before; still not a name for a variable.
pub const OLD_ACCUMULATOR: &str = "__result__";

/// The function of a binary operator that is neither `&&` nor `||`.
pub fn binary(operator: &str) -> Option<&'static str> {
    Some(match operator {
        "<" => "_<_",
        "<=" => "_<=_",
        ">" => "_>_",
        ">=" => "_>=_",
        "==" => EQUALS,
        "!=" => NOT_EQUALS,
        "in" => IN,
        "+" => ADD,
        "-" => "_-_",
        "*" => "_*_",
        "/" => "_/_",
        "%" => "_%_",
        _ => return None,
    })
}
