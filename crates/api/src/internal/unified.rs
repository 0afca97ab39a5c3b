//! Unified diffs as Python's difflib makes them, whose port upstream uses: not the shortest, but the same.
//!
//! The longest run of equal lines is taken first, then the longest on either side of it. Lines that occur often in a
//! long text don't start a run. Bounded: the product of the texts' lines is, and past that there is one change.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

const CONTEXT: usize = 3;
/// From here on, frequent lines are passed over.
const LONG: usize = 200;
/// Lines of one text times lines of the other.
const WORK_MAX: usize = 64_000_000;

/// What became of the lines of a range: those of `old` are now those of `new`.
#[derive(Debug, Clone)]
struct Step {
    same: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// The unified diff of two texts; empty when they are the same.
pub(super) fn diff(old: &str, new: &str) -> String {
    let (old, new) = (lines(old), lines(new));
    let mut out = String::new();
    for group in groups(steps(&old, &new)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let span = |start: usize, end: usize| match end - start {
            1 => format!("{}", start + 1),
            0 => format!("{start},0"),
            length => format!("{},{length}", start + 1),
        };
        let _ = writeln!(
            out,
            "@@ -{} +{} @@",
            span(first.old.start, last.old.end),
            span(first.new.start, last.new.end)
        );
        for step in group {
            if step.same {
                old[step.old]
                    .iter()
                    .for_each(|line| add(&mut out, ' ', line));
                continue;
            }
            old[step.old]
                .iter()
                .for_each(|line| add(&mut out, '-', line));
            new[step.new]
                .iter()
                .for_each(|line| add(&mut out, '+', line));
        }
    }
    out
}

fn add(out: &mut String, sign: char, line: &str) {
    out.push(sign);
    out.push_str(line);
    out.push('\n');
}

fn lines(text: &str) -> Vec<&str> {
    text.split('\n').collect()
}

/// How `old` becomes `new`.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (a, b, size) in matches(old, new) {
        if i < a || j < b {
            steps.push(Step {
                same: false,
                old: i..a,
                new: j..b,
            });
        }
        (i, j) = (a + size, b + size);
        if size > 0 {
            steps.push(Step {
                same: true,
                old: a..i,
                new: b..j,
            });
        }
    }
    steps
}

/// Runs of equal lines in order, neighbours made one, and an empty one at the end.
fn matches(old: &[&str], new: &[&str]) -> Vec<(usize, usize, usize)> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (j, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(j);
    }
    if new.len() >= LONG {
        let often = new.len() / 100 + 1;
        places.retain(|_, at| at.len() <= often);
    }
    let mut found = Vec::new();
    // Ranges still to be searched; what is found is sorted at the end, so their order does not matter.
    let mut todo = vec![(0..old.len(), 0..new.len())];
    if old.len().saturating_mul(new.len()) > WORK_MAX {
        todo.clear();
    }
    while let Some((a, b)) = todo.pop() {
        let (i, j, size) = longest(old, new, &places, a.clone(), b.clone());
        if size == 0 {
            continue;
        }
        found.push((i, j, size));
        for (left, right) in [(a.start..i, b.start..j), (i + size..a.end, j + size..b.end)] {
            if !left.is_empty() && !right.is_empty() {
                todo.push((left, right));
            }
        }
    }
    found.sort_unstable();
    let mut joined: Vec<(usize, usize, usize)> = Vec::new();
    for (i, j, size) in found {
        match joined.last_mut() {
            Some(last) if last.0 + last.2 == i && last.1 + last.2 == j => last.2 += size,
            _ => joined.push((i, j, size)),
        }
    }
    joined.push((old.len(), new.len(), 0));
    joined
}

/// The longest run of equal lines in two ranges; of equally long ones the first.
fn longest(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    a: Range<usize>,
    b: Range<usize>,
) -> (usize, usize, usize) {
    let (mut i, mut j, mut size) = (a.start, b.start, 0);
    let mut ending: HashMap<usize, usize> = HashMap::new();
    for at in a.clone() {
        let mut next = HashMap::new();
        for &place in places.get(old[at]).into_iter().flatten() {
            if !b.contains(&place) {
                continue;
            }
            let length = place
                .checked_sub(1)
                .and_then(|before| ending.get(&before))
                .map_or(1, |n| n + 1);
            next.insert(place, length);
            if length > size {
                (i, j, size) = (at + 1 - length, place + 1 - length, length);
            }
        }
        ending = next;
    }
    while i > a.start && j > b.start && old[i - 1] == new[j - 1] {
        (i, j, size) = (i - 1, j - 1, size + 1);
    }
    while i + size < a.end && j + size < b.end && old[i + size] == new[j + size] {
        size += 1;
    }
    (i, j, size)
}

/// Changes with some lines around them; changes that are near each other are in one group.
fn groups(mut steps: Vec<Step>) -> Vec<Vec<Step>> {
    if let Some(first) = steps.first_mut().filter(|s| s.same) {
        cut_start(first);
    }
    if let Some(last) = steps.last_mut().filter(|s| s.same) {
        cut_end(last);
    }
    let mut groups = Vec::new();
    let mut group: Vec<Step> = Vec::new();
    for mut step in steps {
        if step.same && step.old.len() > 2 * CONTEXT {
            let mut before = step.clone();
            cut_end(&mut before);
            group.push(before);
            groups.push(std::mem::take(&mut group));
            cut_start(&mut step);
        }
        group.push(step);
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|step| !step.same));
    groups
}

fn cut_start(step: &mut Step) {
    let skip = step.old.len().saturating_sub(CONTEXT);
    step.old.start += skip;
    step.new.start += skip;
}

fn cut_end(step: &mut Step) {
    let skip = step.old.len().saturating_sub(CONTEXT);
    step.old.end -= skip;
    step.new.end -= skip;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_three_lines_around() {
        let old: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[4] = "x".to_owned();
        new.remove(20);
        let diff = diff(&old.join("\n"), &new.join("\n"));
        let want = "@@ -2,7 +2,7 @@\n 1\n 2\n 3\n-4\n+x\n 5\n 6\n 7\n@@ -18,7 +18,6 @@\n 17\n 18\n 19\n-20\n 21\n 22\n 23\n";
        assert_eq!(diff, want);
    }

    #[test]
    fn equal_texts_differ_in_nothing() {
        assert_eq!(diff("a\nb", "a\nb"), "");
    }
}
