//! DefaultTolerationSeconds: five minutes on a node that is not ready or unreachable, unless the Pod says otherwise.

use karve_api::defaults::admission as defaults;

use super::{Attributes, Operation};

/// Adds the tolerations.
pub fn mutate(attributes: &mut Attributes<'_>) {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if writes
        && attributes.is("", "pods")
        && let Some(pod) = &mut attributes.object
    {
        defaults::default_tolerations(pod);
    }
}
