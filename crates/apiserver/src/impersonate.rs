//! Acting as somebody else: the `Impersonate-*` headers of `kubectl --as`.

use http::HeaderMap;
use karve_api::status::{Denied, Status};

use crate::answer::Refusal;
use crate::identity::{Identity, MASTERS};

/// Who the request is to be answered as.
pub fn identity(own: Identity, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let Some(user) = text("impersonate-user") else {
        let alone = !groups.is_empty() || headers.contains_key("impersonate-uid");
        return match alone {
            true => {
                Err(Status::internal("requested impersonation without impersonating a user").into())
            }
            false => Ok(own),
        };
    };
    if !own.in_group(MASTERS) {
        return Err(Status::forbidden_resource(Denied {
            user: &own.user,
            verb: "impersonate",
            group: "",
            resource: "users",
            subresource: "",
            namespace: "",
            name: user,
            reason: "",
        })
        .into());
    }
    Ok(match user {
        "system:anonymous" if groups.is_empty() => Identity::anonymous(),
        user => Identity::authenticated(user, groups),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_administrators_act_as_others() {
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-user", "eve".parse().expect("header"));
        let who = |group: &str| {
            identity(Identity::authenticated("me", [group.to_owned()]), &headers)
                .map(|i| i.user.to_string())
        };
        assert_eq!(who(MASTERS).ok().as_deref(), Some("eve"));
        assert_eq!(who("dev").expect_err("refused").status().code, 403);
    }
}
