//! Tokens, sets of them, and how they are named in errors.
//!
//! The order of the kinds is that of upstream's grammar file: errors list what was expected in it.

/// What a token is. The value is its place in [`Set`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    End,
    Equals,
    NotEquals,
    In,
    Less,
    LessEquals,
    GreaterEquals,
    Greater,
    And,
    Or,
    BracketOpen,
    BracketClose,
    BraceOpen,
    BraceClose,
    ParenOpen,
    ParenClose,
    Dot,
    Comma,
    Minus,
    Exclamation,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
    True,
    False,
    Null,
    Double,
    Int,
    Uint,
    String,
    Bytes,
    Identifier,
    EscapedIdentifier,
}

/// The names of the kinds, in their order.
const NAMES: [&str; 36] = [
    "<EOF>",
    "'=='",
    "'!='",
    "'in'",
    "'<'",
    "'<='",
    "'>='",
    "'>'",
    "'&&'",
    "'||'",
    "'['",
    "']'",
    "'{'",
    "'}'",
    "'('",
    "')'",
    "'.'",
    "','",
    "'-'",
    "'!'",
    "'?'",
    "':'",
    "'+'",
    "'*'",
    "'/'",
    "'%'",
    "'true'",
    "'false'",
    "'null'",
    "NUM_FLOAT",
    "NUM_INT",
    "NUM_UINT",
    "STRING",
    "BYTES",
    "IDENTIFIER",
    "ESC_IDENTIFIER",
];

/// A piece of the source.
#[derive(Debug, Clone)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its first code point's position.
    pub at: u32,
    /// One past its last code point's position.
    pub end: u32,
    /// Its text; `<EOF>` at the end.
    pub text: String,
    /// The blanks and comments before it.
    pub before: String,
}

/// A set of token kinds. One more member says that the end of the rule is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set(u64);

impl Set {
    /// Says that nothing more is needed.
    pub const EPSILON: Set = Set(1 << 63);

    /// The set of some kinds.
    pub const fn of(kinds: &[Kind]) -> Set {
        let mut bits = 0;
        let mut index = 0;
        while index < kinds.len() {
            bits |= 1 << kinds[index] as u8;
            index += 1;
        }
        Set(bits)
    }

    /// Whether `kind` is a member.
    pub fn contains(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Whether nothing more is needed.
    pub fn epsilon(self) -> bool {
        self.0 & Set::EPSILON.0 != 0
    }

    /// Both sets' members.
    #[must_use]
    pub fn union(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    /// The kinds alone.
    #[must_use]
    pub fn without_epsilon(self) -> Set {
        Set(self.0 & !Set::EPSILON.0)
    }

    /// The first kind's name, which is what a token that was left out is called.
    pub fn first(self) -> &'static str {
        NAMES
            .get(self.0.trailing_zeros() as usize)
            .copied()
            .unwrap_or("<EMPTY>")
    }
}

impl std::fmt::Display for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = (0..NAMES.len())
            .filter(|bit| self.0 & 1 << bit != 0)
            .map(|bit| NAMES[bit])
            .collect();
        match names.as_slice() {
            [] => f.write_str("{}"),
            [one] => f.write_str(one),
            many => write!(f, "{{{}}}", many.join(", ")),
        }
    }
}
