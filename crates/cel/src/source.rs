//! The text of an expression, positions in it, and errors that point at them.
//!
//! Positions count code points, as upstream's do. The display form (a head line, the source line and a
//! caret under the place) is part of the API: it stands in the answers to those who write rules.

use std::fmt::{self, Write as _};

/// Errors listed at most; the rest is counted.
const ISSUES_MAX: usize = 100;
/// A longer source line is not repeated under its error.
const SNIPPET_MAX: usize = 16_384;

/// The position of what a syntax error left out.
pub const NOWHERE: u32 = u32::MAX;

/// An expression's text with its lines.
#[derive(Debug, Clone)]
pub struct Source {
    text: Vec<char>,
    /// Where the second and later lines begin.
    lines: Vec<u32>,
}

impl Source {
    /// Splits `text` into lines.
    pub fn new(text: &str) -> Source {
        let text: Vec<char> = text.chars().collect();
        let lines = (1u32..)
            .zip(&text)
            .filter(|(_, c)| **c == '\n')
            .map(|(next, _)| next)
            .collect();
        Source { text, lines }
    }

    /// The code points.
    pub fn text(&self) -> &[char] {
        &self.text
    }

    /// The line (from 1) and column (from 0) of a position.
    pub fn location(&self, at: u32) -> Location {
        if self.text.is_empty() || at == NOWHERE {
            return Location {
                line: 1,
                column: -1,
            };
        }
        let line = self.lines.partition_point(|begin| *begin <= at);
        let begin = if line == 0 { 0 } else { self.lines[line - 1] };
        Location {
            line: line as i32 + 1,
            column: (at - begin) as i32,
        }
    }

    fn snippet(&self, line: i32) -> Option<String> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        if self.text.is_empty() || index > self.lines.len() {
            return None;
        }
        let begin = if index == 0 {
            0
        } else {
            self.lines[index - 1] as usize
        };
        let end = self
            .lines
            .get(index)
            .map_or(self.text.len(), |next| *next as usize - 1);
        Some(self.text[begin..end].iter().collect())
    }
}

/// A place in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Counted from 1; -1 when the error has no place.
    pub line: i32,
    /// Counted from 0, in code points; -1 when the error has no place.
    pub column: i32,
}

impl Location {
    /// No place in particular.
    pub const NONE: Location = Location {
        line: -1,
        column: -1,
    };
}

/// One error in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Where.
    pub location: Location,
    /// What, without the place.
    pub message: String,
}

/// The errors of one expression, with its text.
#[derive(Debug, Clone)]
pub struct Issues {
    source: Source,
    found: Vec<Issue>,
    count: usize,
}

impl Issues {
    /// No errors yet.
    pub fn new(source: Source) -> Issues {
        Issues {
            source,
            found: Vec::new(),
            count: 0,
        }
    }

    /// Adds an error at a position.
    pub fn report(&mut self, at: u32, message: impl Into<String>) {
        let location = self.source.location(at);
        self.report_at(location, message);
    }

    /// Adds an error at a location.
    pub fn report_at(&mut self, location: Location, message: impl Into<String>) {
        self.count += 1;
        if self.count <= ISSUES_MAX {
            let message = message.into();
            self.found.push(Issue { location, message });
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The errors, in the order of their discovery.
    pub fn iter(&self) -> impl Iterator<Item = &Issue> {
        self.found.iter()
    }

    /// The text that the errors are about.
    pub fn source(&self) -> &Source {
        &self.source
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Issue> = self.found.iter().collect();
        sorted.sort_by_key(|issue| issue.location);
        for (index, issue) in sorted.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            write_issue(f, &self.source, issue)?;
        }
        if self.count > ISSUES_MAX {
            write!(
                f,
                "\n{} more errors were truncated",
                self.count - ISSUES_MAX
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Issues {}

fn write_issue(f: &mut fmt::Formatter<'_>, source: &Source, issue: &Issue) -> fmt::Result {
    let Location { line, column } = issue.location;
    write!(f, "ERROR: <input>:{line}:{}: {}", column + 1, issue.message)?;
    let Some(snippet) = source
        .snippet(line)
        .filter(|line| line.len() <= SNIPPET_MAX)
    else {
        return Ok(());
    };
    let snippet = snippet.replace('\t', " ");
    write!(f, "\n | {snippet}\n | ")?;
    let mut chars = snippet.chars();
    for c in chars.by_ref().take(usize::try_from(column).unwrap_or(0)) {
        f.write_char(if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' })?;
    }
    let wide = chars.next().is_some_and(|c| c.len_utf8() > 1);
    f.write_char(if wide { '\u{ff3e}' } else { '^' })
}
