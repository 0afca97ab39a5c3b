//! Custom resources: what a CustomResourceDefinition says, as the engine needs it.
//!
//! A [`Custom`] belongs to one version of one definition and is made once, when the definition is served. Absent: the
//! server's part (which definitions are served, conditions, conversion by webhook).

use crate::schema::{Schema, Type};

/// What a version of a CustomResourceDefinition says of its objects.
#[derive(Debug)]
pub struct Custom {
    types: Schema,
}

impl Custom {
    /// The type of the objects, for server-side apply and for the order of members.
    pub fn ty(&self) -> Type<'_> {
        self.types.root()
    }
}
