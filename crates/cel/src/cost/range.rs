//! Sizes and costs that are known only to lie between two bounds.

use super::scaled;

/// From a least to a greatest number. Sums and products stop at the greatest number there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

impl Range {
    /// Anything.
    pub const UNKNOWN: Range = Range {
        min: 0,
        max: u64::MAX,
    };
    /// Nothing.
    pub const ZERO: Range = Range { min: 0, max: 0 };
    /// One.
    pub const ONE: Range = Range { min: 1, max: 1 };
    /// The neutral element of [`or`](Range::or).
    pub const NONE: Range = Range {
        min: u64::MAX,
        max: 0,
    };

    /// Exactly this.
    pub fn exactly(number: u64) -> Range {
        Range {
            min: number,
            max: number,
        }
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Range) -> Range {
        Range {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    /// The product.
    #[must_use]
    pub fn times(self, other: Range) -> Range {
        Range {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    /// The product with a factor, rounded up.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Range {
        Range {
            min: scaled(self.min, factor),
            max: scaled(self.max, factor),
        }
    }

    /// One or the other.
    #[must_use]
    pub fn or(self, other: Range) -> Range {
        Range {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}
