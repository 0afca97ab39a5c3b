//! Data on standard output: JSON for scripts, tables for people.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// Prints a value as JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("encode JSON")?;
    line(&text)
}

/// Prints one line. A reader that has gone away (`| head`) is no error.
pub fn line(text: &str) -> Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(()),
    }
}

/// Prints columns as kubectl does: three blanks between.
pub fn columns(header: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    let widths = widths(&header, rows);
    for row in std::iter::once(&header).chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        line(cells.join("   ").trim_end())?;
    }
    Ok(())
}

/// Prints a framed table as minikube does.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> Result<()> {
    line(&framed(header, rows))
}

fn framed(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|&name| name.to_owned()).collect();
    let widths = widths(&header, rows);
    let rule: String = widths
        .iter()
        .map(|&width| format!("|{}", "-".repeat(width + 2)))
        .collect();
    let rule = format!("{rule}|");
    let centred: String = header
        .iter()
        .zip(&widths)
        .map(|(cell, &width)| format!("| {cell:^width$} "))
        .collect();
    let mut lines = vec![rule.clone(), format!("{centred}|"), rule.clone()];
    for row in rows {
        let cells: String = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("| {cell:width$} "))
            .collect();
        lines.push(format!("{cells}|"));
    }
    lines.push(rule);
    lines.join("\n")
}

fn widths(header: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .chain(header.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    (0..header.len()).map(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_framed_as_minikube_frames_them() {
        let rows = vec![
            vec!["default".to_owned(), "kubernetes".to_owned()],
            vec!["a".to_owned(), "b".to_owned()],
        ];
        let expected = "\
|-----------|------------|
| NAMESPACE |    NAME    |
|-----------|------------|
| default   | kubernetes |
| a         | b          |
|-----------|------------|";
        assert_eq!(framed(&["NAMESPACE", "NAME"], &rows), expected);
    }
}
