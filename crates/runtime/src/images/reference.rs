//! Image references, read and completed as docker does: `redis` is `docker.io/library/redis:latest`.
//!
//! Grammar and texts follow `github.com/distribution/reference`, whose errors the kubelet shows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Digest, ImageError};

/// Longest repository, domain included.
const NAME_MAX: usize = 255;
/// Longest tag.
const TAG_MAX: usize = 128;

/// A complete image reference: registry, repository, and a tag or digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageRef {
    /// The registry as in the reference, such as `docker.io` or `127.0.0.1:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The path in the registry, such as `library/redis`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; `None` when only a digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and path, without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
}

impl FromStr for ImageRef {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        parse(text).map_err(|reason| ImageError::InvalidReference {
            reference: text.to_owned(),
            reason: (!reason.is_empty()).then_some(reason),
        })
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(reference: ImageRef) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The reason is what follows `invalid reference format: `, empty for none.
fn parse(text: &str) -> Result<ImageRef, String> {
    let (domain, remainder) = split_domain(text);
    let remote = remainder.split(':').next().unwrap_or_default();
    if remote.to_lowercase() != remote {
        return Err(format!("repository name ({remote}) must be lowercase"));
    }
    let (rest, digest) = match remainder.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| String::new())?)),
        None => (remainder.as_str(), None),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    if !is_domain(&domain) || !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
        return Err(String::new());
    }
    if domain.len() + 1 + path.len() > NAME_MAX {
        return Err(format!(
            "repository name must not be more than {NAME_MAX} characters"
        ));
    }
    let tag = match (tag, &digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    };
    Ok(ImageRef {
        domain,
        path: path.to_owned(),
        tag: tag.map(str::to_owned),
        digest,
    })
}

/// Docker's rule: what stands before the first slash is a registry if it looks like one.
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => ("docker.io", text),
    };
    let domain = if domain == "index.docker.io" {
        "docker.io"
    } else {
        domain
    };
    if domain == "docker.io" && !remainder.contains('/') {
        return (domain.to_owned(), format!("library/{remainder}"));
    }
    (domain.to_owned(), remainder.to_owned())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, port)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit())
}

/// Lower-case letters and digits, with single `.`, one or two `_`, or any number of `-` between them.
fn is_path_component(component: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    component.starts_with(is_word)
        && component.ends_with(is_word)
        && component.split(is_word).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|c| c == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= TAG_MAX
        && tag.starts_with(is_word)
        && tag.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (given, full) in [
            ("redis", "docker.io/library/redis:latest".to_owned()),
            ("redis:7", "docker.io/library/redis:7".to_owned()),
            ("me/app", "docker.io/me/app:latest".to_owned()),
            (
                "index.docker.io/redis",
                "docker.io/library/redis:latest".to_owned(),
            ),
            ("localhost/app", "localhost/app:latest".to_owned()),
            (
                "127.0.0.1:1/none/such",
                "127.0.0.1:1/none/such:latest".to_owned(),
            ),
            ("[::1]:5000/a:1", "[::1]:5000/a:1".to_owned()),
            (
                "ghcr.io/a/b_c.d--e:V1.2",
                "ghcr.io/a/b_c.d--e:V1.2".to_owned(),
            ),
            (
                &format!("redis@{digest}"),
                format!("docker.io/library/redis@{digest}"),
            ),
            (
                &format!("redis:7@{digest}"),
                format!("docker.io/library/redis:7@{digest}"),
            ),
        ] {
            let parsed: ImageRef = given.parse().unwrap_or_else(|e| panic!("{given}: {e}"));
            assert_eq!(parsed.to_string(), full, "{given}");
            assert_eq!(
                parsed.to_string().parse::<ImageRef>().ok(),
                Some(parsed),
                "{given}"
            );
        }
    }

    #[test]
    fn bad_references_are_refused_with_upstreams_words() {
        for (given, text) in [
            ("", "invalid reference format"),
            (
                "UPPER case:1",
                "invalid reference format: repository name (library/UPPER case) must be lowercase",
            ),
            ("a..b", "invalid reference format"),
            ("a/", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
            ("bad_host.x/a", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("../a", "invalid reference format"),
        ] {
            let error = given.parse::<ImageRef>().expect_err(given);
            assert_eq!(error.to_string(), text, "{given}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_reads_the_same_again(text in "[a-zA-Z0-9.:/@_\\[\\] -]{0,40}") {
            if let Ok(reference) = text.parse::<ImageRef>() {
                proptest::prop_assert_eq!(reference.to_string().parse::<ImageRef>().ok(), Some(reference));
            }
        }
    }
}
