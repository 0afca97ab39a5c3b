//! The text form of label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.

use super::label::{LabelSelector, Operator, Requirement};
use super::lexer::{self, Token};
use crate::names;
use std::collections::BTreeSet;

/// Why a text is no label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseLabelError(String);

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        lexer::next(self.rest).0.as_value()
    }

    fn take(&mut self) -> Token<'a> {
        let (token, rest) = lexer::next(self.rest);
        self.rest = rest;
        token.as_value()
    }

    fn take_operator(&mut self) -> Token<'a> {
        let (token, rest) = lexer::next(self.rest);
        self.rest = rest;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (key, bare) = self.key()?;
        if let Some(operator) = bare {
            return build(key, operator, BTreeSet::new());
        }
        let token = self.take_operator();
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            other => {
                let found = other.literal();
                return Err(format!(
                    "found '{found}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        build(key, operator, values)
    }

    fn key(&mut self) -> Result<(&'a str, Option<Operator>), String> {
        let mut token = self.take();
        let mut bare = None;
        if token == Token::Bang {
            bare = Some(Operator::DoesNotExist);
            token = self.take();
        }
        let Token::Identifier(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.literal()));
        };
        let errors = names::qualified_name(key);
        if !errors.is_empty() {
            return Err(format!(
                "<nil>: Invalid value: {}: {}",
                crate::field::quote(key),
                errors.join("; ")
            ));
        }
        if bare.is_none() && matches!(self.peek(), Token::End | Token::Comma) {
            bare = Some(Operator::Exists);
        }
        Ok((key, bare))
    }

    fn exact_value(&mut self) -> Result<&'a str, String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok("");
        }
        match self.take() {
            Token::Identifier(value) => Ok(value),
            other => Err(format!("found '{}', expected: identifier", other.literal())),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<&'a str>, String> {
        let open = self.take();
        if open != Token::Open {
            return Err(format!("found '{}' expected: '('", open.literal()));
        }
        match self.peek() {
            Token::Identifier(_) | Token::Comma => {
                let values = self.identifiers()?;
                match self.take() {
                    Token::Close => Ok(values),
                    other => Err(format!("found '{}', expected: ')'", other.literal())),
                }
            }
            Token::Close => {
                self.take();
                Ok(BTreeSet::new())
            }
            other => Err(format!(
                "found '{}', expected: ',', ')' or identifier",
                other.literal()
            )),
        }
    }

    /// Up to the closing parenthesis. A comma with nothing beside it stands for an empty value.
    fn identifiers(&mut self) -> Result<BTreeSet<&'a str>, String> {
        let mut values = BTreeSet::new();
        loop {
            match self.take() {
                Token::Identifier(value) => {
                    values.insert(value);
                    match self.peek() {
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        other => {
                            return Err(format!(
                                "found '{}', expected: ',' or ')'",
                                other.literal()
                            ));
                        }
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.insert("");
                    }
                    match self.peek() {
                        Token::Close => {
                            values.insert("");
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.take();
                            values.insert("");
                        }
                        _ => {}
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', or identifier",
                        other.literal()
                    ));
                }
            }
        }
    }
}

fn build(key: &str, operator: Operator, values: BTreeSet<&str>) -> Result<Requirement, String> {
    Requirement::new(key, operator, values).map_err(|errors| {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        match &texts[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    })
}

impl LabelSelector {
    /// Reads the text form; empty matches everything. The error has the text of upstream's 400.
    pub fn parse(text: &str) -> Result<LabelSelector, ParseLabelError> {
        let mut parser = Parser { rest: text };
        let mut requirements = Vec::new();
        loop {
            match parser.peek() {
                Token::Identifier(_) | Token::Bang => {
                    requirements.push(parser.requirement().map_err(|e| {
                        ParseLabelError(format!("unable to parse requirement: {e}"))
                    })?);
                    match parser.take() {
                        Token::End => break,
                        Token::Comma => match parser.peek() {
                            Token::Identifier(_) | Token::Bang => {}
                            other => {
                                return Err(ParseLabelError(format!(
                                    "found '{}', expected: identifier after ','",
                                    other.literal()
                                )));
                            }
                        },
                        other => {
                            return Err(ParseLabelError(format!(
                                "found '{}', expected: ',' or 'end of string'",
                                other.literal()
                            )));
                        }
                    }
                }
                Token::End => break,
                other => {
                    return Err(ParseLabelError(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.literal()
                    )));
                }
            }
        }
        Ok(LabelSelector::from_requirements(requirements))
    }
}

impl std::str::FromStr for LabelSelector {
    type Err = ParseLabelError;

    fn from_str(text: &str) -> Result<LabelSelector, ParseLabelError> {
        LabelSelector::parse(text)
    }
}
