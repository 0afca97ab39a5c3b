//! A directive's arguments, taken one by one, with errors that name the line.

use std::str::FromStr;
use std::time::Duration;

use super::super::Error;
use super::super::syntax::Directive;

/// The arguments of `directive` that are not yet taken.
pub struct Words<'a> {
    directive: &'a Directive,
    at: usize,
}

impl<'a> Words<'a> {
    pub fn of(directive: &'a Directive) -> Words<'a> {
        Words { directive, at: 0 }
    }

    pub fn error(&self, message: impl Into<String>) -> Error {
        let message = format!("{}: {}", self.directive.name, message.into());
        Error::at(self.directive.line, message)
    }

    pub fn peek(&self) -> Option<&'a str> {
        self.directive.arguments.get(self.at).map(String::as_str)
    }

    pub fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    pub fn rest(&mut self) -> &'a [String] {
        let rest = &self.directive.arguments[self.at..];
        self.at = self.directive.arguments.len();
        rest
    }

    pub fn need(&mut self, what: &str) -> Result<&'a str, Error> {
        self.next()
            .ok_or_else(|| self.error(format!("{what} is missing")))
    }

    pub fn number<T: FromStr>(&mut self, what: &str) -> Result<T, Error> {
        let word = self.need(what)?;
        word.parse()
            .map_err(|_| self.error(format!("{word:?} is no {what}")))
    }

    pub fn duration(&mut self, what: &str) -> Result<Duration, Error> {
        let word = self.need(what)?;
        super::duration(word).ok_or_else(|| self.error(format!("{word:?} is no {what}")))
    }

    /// Nothing may follow, and no block.
    pub fn end(&self) -> Result<(), Error> {
        if let Some(word) = self.peek() {
            return Err(self.error(format!("unexpected {word:?}")));
        }
        self.no_block()
    }

    pub fn no_block(&self) -> Result<(), Error> {
        match self.directive.block.first() {
            Some(inner) => Err(Error::at(
                inner.line,
                format!("{}: unknown property {:?}", self.directive.name, inner.name),
            )),
            None => Ok(()),
        }
    }

    pub fn unknown(&self) -> Error {
        Error::at(
            self.directive.line,
            format!("unknown property {:?}", self.directive.name),
        )
    }
}
