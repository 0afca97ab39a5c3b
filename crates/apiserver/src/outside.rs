//! Texts of clients that are read before anybody knows who they are: the door for fuzzing their parsers.
//!
//! Nothing here asks a store or a clock. Absent: whether a token is good, which needs both.

use crate::authenticate;
use crate::list::token::Token;

/// A continue token's revision and start; the error is the message of the Status.
///
/// # Errors
/// Upstream's words, when it is none.
pub fn continue_token(text: &str) -> Result<(i64, String), String> {
    match Token::decode(text) {
        Ok(token) => Ok((token.revision, token.start)),
        Err(refusal) => Err(refusal.status().message.clone()),
    }
}

/// The text of a continue token.
pub fn write_continue_token(revision: i64, start: String) -> String {
    Token { revision, start }.encode()
}

/// The user that a web token speaks of at a moment (seconds since 1970), whoever signed it; `None` when it is none or
/// out of its time.
pub fn web_token(text: &str, now: i64) -> Option<String> {
    authenticate::claimed(text, now)
}
