//! What plugins other than the cluster's names and upstreams do to one question.

pub mod hosts;
pub mod rewrite;
pub mod template;
