//! What a path names, as upstream's RequestInfo reads it.

/// The parts of a path below `/api/V` or `/apis/G/V`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourcePath {
    /// Empty for the core group.
    pub group: String,
    /// For example `v1`.
    pub version: String,
    /// Empty when the request is for the namespace itself, or not in one.
    pub namespace: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Empty for collections.
    pub name: String,
    /// Empty when the request is for the object itself.
    pub subresource: String,
    /// What follows the subresource (for proxies), without a leading slash.
    pub rest: String,
    /// The old form `/api/v1/watch/...`.
    pub watch: bool,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Below a group and version.
    Resource(ResourcePath),
    /// Anything else, without a trailing slash.
    Other(String),
}

/// Decodes `%XX`; a wrong escape stays as it is.
pub fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%')
            .then(|| bytes.get(i + 1..i + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(if plus_is_space && bytes[i] == b'+' {
                    b' '
                } else {
                    bytes[i]
                });
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads a path that is still percent-encoded.
pub fn parse(path: &str) -> Target {
    let decoded = percent_decode(path, false);
    let trimmed = decoded.trim_end_matches('/');
    let mut parts = trimmed.split('/');
    parts.next();
    let parts: Vec<&str> = parts.collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, _, ..] => ("", &parts[1..]),
        ["apis", group, _, _, ..] => (*group, &parts[2..]),
        _ => return Target::Other(trimmed.to_owned()),
    };
    let mut path = ResourcePath {
        group: group.to_owned(),
        version: rest[0].to_owned(),
        ..ResourcePath::default()
    };
    let mut rest = &rest[1..];
    if rest[0] == "watch" && rest.len() > 1 {
        path.watch = true;
        rest = &rest[1..];
    }
    if rest[0] == "namespaces" && rest.len() > 1 && group.is_empty()
        || rest[0] == "namespaces" && rest.len() > 2
    {
        path.namespace = rest[1].to_owned();
        // namespaces/NAME, namespaces/NAME/status and namespaces/NAME/finalize are about the namespace.
        let about_itself = rest.len() == 2 || matches!(rest[2..], ["status" | "finalize"]);
        if !about_itself {
            rest = &rest[2..];
        }
    }
    path.resource = rest[0].to_owned();
    path.name = rest.get(1).copied().unwrap_or_default().to_owned();
    path.subresource = rest.get(2).copied().unwrap_or_default().to_owned();
    path.rest = rest.get(3..).unwrap_or_default().join("/");
    Target::Resource(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources_as_upstream_reads_them() {
        let rows = [
            ("/api/v1/pods", "//pods//"),
            ("/api/v1/pods/", "//pods//"),
            ("/api/v1/namespaces/a/pods/b", "/a/pods/b/"),
            ("/api/v1/namespaces/a/pods/b/log", "/a/pods/b/log"),
            ("/api/v1/namespaces", "//namespaces//"),
            ("/api/v1/namespaces/a", "/a/namespaces/a/"),
            ("/api/v1/namespaces/a/status", "/a/namespaces/a/status"),
            ("/api/v1/namespaces/a/finalize", "/a/namespaces/a/finalize"),
            ("/api/v1/namespaces/a/pods/x%2Fy", "/a/pods/x/y"),
            (
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "apps/a/deployments/b/scale",
            ),
            ("/api/v1/watch/namespaces/a/pods", "/a/pods//"),
        ];
        for (path, want) in rows {
            let Target::Resource(p) = parse(path) else {
                panic!("{path} names a resource")
            };
            let have = [p.group, p.namespace, p.resource, p.name, p.subresource].join("/");
            assert_eq!(have, want, "{path}");
        }
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/apis/apps",
            "/apis/apps/v1/",
            "/healthz",
            "//api/v1/pods",
        ] {
            assert!(matches!(parse(path), Target::Other(_)), "{path}");
        }
    }
}
