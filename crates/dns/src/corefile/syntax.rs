//! Tokens to server blocks: keys, and directives with their arguments and blocks.

use super::Error;
use super::lexer::Token;

/// How deep blocks may lie in each other: a server's, a plugin's, a property's.
const DEPTH_MAX: u32 = 4;

/// One server block: what it answers for, and its directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Zones with their ports, as written.
    pub keys: Vec<Token>,
    /// The plugins, in the text's order.
    pub directives: Vec<Directive>,
}

/// A plugin or one of its properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The first word.
    pub name: String,
    /// Where it stands.
    pub line: u32,
    /// The rest of its line.
    pub arguments: Vec<String>,
    /// What stands in its braces.
    pub block: Vec<Directive>,
}

/// Parses a whole Corefile.
///
/// # Errors
/// Braces that don't match, and what is not supported of the language.
pub fn blocks(tokens: &[Token]) -> Result<Vec<Block>, Error> {
    let mut reader = Reader { tokens, at: 0 };
    let mut blocks = Vec::new();
    while reader.peek().is_some() {
        blocks.push(reader.server_block(blocks.is_empty())?);
    }
    Ok(blocks)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    /// The rest of the line of `row`, and whether it ends in an opening brace.
    fn line(&mut self, row: u32) -> (Vec<Token>, bool) {
        let mut words = Vec::new();
        while let Some(token) = self.peek().filter(|token| token.row == row) {
            self.at += 1;
            let last = self.peek().is_none_or(|next| next.row != row);
            if last && token.text == "{" {
                return (words, true);
            }
            words.push(token.clone());
        }
        (words, false)
    }

    fn server_block(&mut self, only: bool) -> Result<Block, Error> {
        let mut keys = Vec::new();
        while let Some(first) = self.peek() {
            if first.text == "import" {
                return Err(Error::at(first.line, "import is not supported"));
            }
            if first.text.starts_with('(') {
                return Err(Error::at(first.line, "snippets are not supported"));
            }
            if first.text == "}" {
                return Err(Error::at(first.line, "unexpected }"));
            }
            let (words, open) = self.line(first.row);
            // Addresses part by blanks or commas; a comma at the end goes on in the next line.
            let more = words.last().is_some_and(|word| word.text.ends_with(','));
            for word in &words {
                let parts = word.text.split(',').filter(|part| !part.is_empty());
                keys.extend(parts.map(|text| Token {
                    text: text.to_owned(),
                    ..word.clone()
                }));
            }
            if open {
                let directives = self.directives(first.line, 1)?;
                return Ok(Block { keys, directives });
            }
            if more {
                continue;
            }
            // A file with a single server may do without braces.
            if !only {
                return Err(Error::at(first.line, "{ expected after the zones"));
            }
            let directives = self.open_directives()?;
            return Ok(Block { keys, directives });
        }
        let line = self.tokens.last().map_or(1, |token| token.line);
        Err(Error::at(line, "{ expected after the zones"))
    }

    /// Directives up to the end of the file.
    fn open_directives(&mut self) -> Result<Vec<Directive>, Error> {
        let mut directives = Vec::new();
        while let Some(token) = self.next() {
            directives.push(self.directive(token, 1)?);
        }
        Ok(directives)
    }

    /// Directives up to the closing brace.
    fn directives(&mut self, opened: u32, depth: u32) -> Result<Vec<Directive>, Error> {
        let mut directives = Vec::new();
        loop {
            let Some(token) = self.next() else {
                return Err(Error::at(opened, "the block that begins here does not end"));
            };
            if token.text == "}" {
                return Ok(directives);
            }
            directives.push(self.directive(token, depth)?);
        }
    }

    fn directive(&mut self, name: &Token, depth: u32) -> Result<Directive, Error> {
        if name.text == "import" {
            return Err(Error::at(name.line, "import is not supported"));
        }
        if name.text == "{" || name.text == "}" {
            return Err(Error::at(name.line, format!("unexpected {}", name.text)));
        }
        if depth == DEPTH_MAX {
            return Err(Error::at(name.line, "blocks lie too deep in each other"));
        }
        let (words, open) = self.line(name.row);
        let block = match open {
            true => self.directives(name.line, depth + 1)?,
            false => Vec::new(),
        };
        Ok(Directive {
            name: name.text.clone(),
            line: name.line,
            arguments: words.into_iter().map(|word| word.text).collect(),
            block,
        })
    }
}
