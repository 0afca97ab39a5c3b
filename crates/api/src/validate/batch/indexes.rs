//! Texts of indexes such as `1,3-5,7`, with upstream's errors.

use crate::field::quote;

/// One interval, both ends included.
pub(super) type Interval = (i64, i64);

fn number(text: &str, completions: i64) -> Result<i64, String> {
    let number: i64 = text.parse().map_err(|_| {
        format!(
            "cannot convert string to integer for index: {}",
            quote(text)
        )
    })?;
    match number >= completions {
        true => Err(format!("too large index: {}", quote(text))),
        false => Ok(number),
    }
}

fn interval(text: &str, completions: i64) -> Result<Interval, String> {
    let parts: Vec<&str> = text.split('-').collect();
    match parts[..] {
        [one] => number(one, completions).map(|n| (n, n)),
        [first, last] => {
            let (x, y) = (number(first, completions)?, number(last, completions)?);
            match x >= y {
                true => Err(format!("non-increasing order, previous: {x}, current: {y}")),
                false => Ok((x, y)),
            }
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(text)
        )),
    }
}

/// How many indexes a text names.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (x, y) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= x) {
            return Err(format!(
                "non-increasing order, previous: {last}, current: {x}"
            ));
        }
        total += y - x + 1;
        last = Some(y);
    }
    Ok(total)
}

/// The first index that two texts share. Intervals that can't be read are passed over.
pub(super) fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let all = |text: &str| -> Vec<Interval> {
        let parts = text.split(',').filter(|_| !text.is_empty());
        parts
            .filter_map(|part| interval(part, completions).ok())
            .collect()
    };
    let (completed, failed) = (all(completed), all(failed));
    let (mut i, mut j) = (0, 0);
    while let (Some(c), Some(f)) = (completed.get(i), failed.get(j)) {
        if c.0 <= f.1 && f.0 <= c.1 {
            return Some(c.0.max(f.0));
        }
        match c.0 <= f.0 {
            true => i += 1,
            false => j += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_or_refused() {
        let table = [
            ("", Ok(0)),
            ("0,2-4", Ok(4)),
            ("1,1", Err("non-increasing order, previous: 1, current: 1")),
            ("3-2", Err("non-increasing order, previous: 3, current: 2")),
            (
                "x",
                Err("cannot convert string to integer for index: \"x\""),
            ),
            ("9", Err("too large index: \"9\"")),
        ];
        for (text, want) in table {
            assert_eq!(count(text, 9), want.map_err(str::to_owned), "{text}");
        }
        assert_eq!(overlap("0-3,7", "5,7-8", 9), Some(7));
        assert_eq!(overlap("0-3", "x,4", 9), None);
    }
}
