//! Parts of points and lengths of time.

use super::{Native, failed, ok};
use crate::value::time::{self, Civil};
use crate::value::{Evaluated, Value};

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "getFullYear" => |_, args| part(args, |at| at.year, None),
        "getMonth" => |_, args| part(args, |at| at.month - 1, None),
        "getDayOfYear" => |_, args| part(args, |at| at.day_of_year, None),
        "getDayOfMonth" => |_, args| part(args, |at| at.day - 1, None),
        "getDate" => |_, args| part(args, |at| at.day, None),
        "getDayOfWeek" => |_, args| part(args, |at| at.day_of_week, None),
        "getHours" => |_, args| part(args, |at| at.hour, Some(3_600_000_000_000)),
        "getMinutes" => |_, args| part(args, |at| at.minute, Some(60_000_000_000)),
        "getSeconds" => |_, args| part(args, |at| at.second, Some(1_000_000_000)),
        "getMilliseconds" => |_, args| part(args, |at| at.millisecond, Some(1_000_000)),
        _ => return None,
    })
}

fn part<'a>(args: &[Value<'a>], of: fn(&Civil) -> i64, unit: Option<i64>) -> Option<Evaluated<'a>> {
    let (at, offset) = match (args, unit) {
        ([Value::Duration(nanos)], Some(unit)) => return ok(Value::Int(nanos / unit)),
        ([Value::Timestamp(at)], _) => (at, 0),
        ([Value::Timestamp(at), Value::String(zone)], _) => match time::offset(zone, at) {
            Ok(offset) => (at, offset),
            Err(text) => return failed(text),
        },
        _ => return None,
    };
    ok(Value::Int(of(&at.civil(offset))))
}
