//! Acting as somebody else: the `Impersonate-*` headers of `kubectl --as`.
//!
//! Upstream's modes, tried in order: four constrained ones (KEP-5284), each with a question about the request itself
//! (`impersonate-on:MODE:VERB`) and one about the wanted user (`impersonate:MODE`), then the old `impersonate`, which
//! gives all that the wanted user has. The first refusal is the one that is told.

use std::collections::BTreeMap;

use http::HeaderMap;
use karve_api::field::quote;
use karve_api::names;
use karve_api::status::Status;

use crate::answer::Refusal;
use crate::authorize::{Attributes, Authorizer, Request};
use crate::identity::{Identity, MASTERS};
use crate::path::percent_decode;

const AUTHENTICATION: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";
const NODE: &str = "system:node:";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// From so many values on it is asked first whether all may be taken.
const MANY: usize = 4;

/// Whom the headers want.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// Takes credentials and wishes out of a request that is answered now.
pub fn forget(headers: &mut HeaderMap) {
    headers.remove(http::header::AUTHORIZATION);
    let wishes: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in wishes {
        headers.remove(name);
    }
}

/// Who the request is to be answered as.
pub fn identity(
    authorizer: &Authorizer,
    own: Identity,
    request: &Request<'_>,
    headers: &HeaderMap,
) -> Result<Identity, Refusal> {
    let Some(wanted) = wanted(headers)? else {
        return Ok(own);
    };
    let mut first = None;
    for mode in MODES {
        if !mode.applies(&wanted, &own) {
            continue;
        }
        match mode.take(authorizer, &own, request, &wanted) {
            Ok(identity) => return Ok(identity),
            Err(refused) => first = first.or(Some(refused)),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed").into()))
}

fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>, Refusal> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let all = |name: &str| -> Vec<String> {
        let values = headers
            .get_all(name)
            .into_iter()
            .filter_map(|v| v.to_str().ok());
        values.map(str::to_owned).collect()
    };
    let mut wanted = Wanted {
        user: text("impersonate-user"),
        uid: text("impersonate-uid"),
        groups: all("impersonate-group"),
        ..Wanted::default()
    };
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            let key = percent_decode(key, false);
            wanted
                .extra
                .entry(key)
                .or_default()
                .extend(all(name.as_str()));
        }
    }
    if !wanted.user.is_empty() {
        return Ok(Some(wanted));
    }
    match wanted == Wanted::default() {
        true => Ok(None),
        false => Err(Status::bad_request(format!(
            "requested {} without impersonating a user name",
            shown(&wanted)
        ))
        .into()),
    }
}

/// As Go prints the structure, which upstream's text has.
fn shown(wanted: &Wanted) -> String {
    let list = |items: &[String]| match items.is_empty() {
        true => "[]string(nil)".to_owned(),
        false => format!(
            "[]string{{{}}}",
            items
                .iter()
                .map(|t| quote(t))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    let extra: Vec<String> = (wanted.extra.iter())
        .map(|(key, values)| format!("{}:{}", quote(key), list(values)))
        .collect();
    let extra = match extra.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => format!("map[string][]string{{{}}}", extra.join(", ")),
    };
    format!(
        "&user.DefaultInfo{{Name:\"\", UID:{}, Groups:{}, Extra:{extra}}}",
        quote(&wanted.uid),
        list(&wanted.groups)
    )
}

/// One way to act as somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Old,
}

const MODES: [Mode; 5] = [
    Mode::AssociatedNode,
    Mode::ArbitraryNode,
    Mode::ServiceAccount,
    Mode::UserInfo,
    Mode::Old,
];

fn node(user: &str) -> Option<&str> {
    let name = user.strip_prefix(NODE)?;
    names::dns1123_subdomain(name).is_empty().then_some(name)
}

/// Namespace and name of a ServiceAccount.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    let valid =
        names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Old => "",
        }
    }

    fn applies(self, wanted: &Wanted, own: &Identity) -> bool {
        let only_user =
            wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        match self {
            Mode::AssociatedNode => {
                let bound = own.extra.get(NODE_NAME).map(Vec::as_slice);
                only_user
                    && service_account(&own.user).is_some()
                    && node(&wanted.user)
                        .is_some_and(|name| matches!(bound, Some([one]) if one == name))
            }
            Mode::ArbitraryNode => only_user && node(&wanted.user).is_some(),
            Mode::ServiceAccount => only_user && service_account(&wanted.user).is_some(),
            Mode::UserInfo => {
                node(&wanted.user).is_none() && service_account(&wanted.user).is_none()
            }
            Mode::Old => true,
        }
    }

    fn take(
        self,
        authorizer: &Authorizer,
        own: &Identity,
        request: &Request<'_>,
        wanted: &Wanted,
    ) -> Result<Identity, Refusal> {
        let verb = match self {
            Mode::Old => "impersonate".to_owned(),
            mode => format!("impersonate:{}", mode.name()),
        };
        // What a node agent's account is bound to is checked already, and counts for any node.
        let bare = own.clone().with(&own.uid, associated(own));
        let asker = if self == Mode::AssociatedNode {
            &bare
        } else {
            own
        };
        if self != Mode::Old {
            let about = request.by(asker);
            let on = format!("impersonate-on:{}:{}", self.name(), about.verb);
            authorizer.check(&Attributes { verb: &on, ..about })?;
        }
        let asking = Asking {
            authorizer,
            own: asker,
            verb: &verb,
            mode: self,
        };
        let groups = asking.user(wanted)?;
        if !wanted.uid.is_empty() {
            asking.ask(AUTHENTICATION, "uids", "", &wanted.uid)?;
        }
        asking.groups(wanted)?;
        asking.extra(wanted)?;
        Ok(become_user(wanted, groups))
    }
}

/// The names of extra facts in place of the facts.
fn associated(own: &Identity) -> BTreeMap<String, Vec<String>> {
    let keys: Vec<String> = own.extra.keys().cloned().collect();
    BTreeMap::from([(
        "authentication.kubernetes.io/associated-node-keys".to_owned(),
        keys,
    )])
}

fn become_user(wanted: &Wanted, groups: Vec<String>) -> Identity {
    let unauthenticated = "system:unauthenticated".to_owned();
    let mut identity = match &*wanted.user {
        "system:anonymous" => {
            let mut identity = Identity::anonymous();
            let mut groups = groups;
            if !groups.contains(&unauthenticated) {
                groups.push(unauthenticated);
            }
            identity.groups = groups.into();
            identity
        }
        user if groups.contains(&unauthenticated) => {
            let mut identity = Identity::authenticated(user, []);
            identity.groups = groups.into();
            identity
        }
        user => Identity::authenticated(user, groups),
    };
    identity = identity.with(&wanted.uid, wanted.extra.clone());
    identity
}

/// The questions of one mode.
struct Asking<'a> {
    authorizer: &'a Authorizer,
    own: &'a Identity,
    verb: &'a str,
    mode: Mode,
}

impl Asking<'_> {
    fn attributes<'b>(
        &'b self,
        group: &'b str,
        resource: &'b str,
        subresource: &'b str,
        name: &'b str,
    ) -> Attributes<'b> {
        Attributes {
            version: "v1",
            subresource,
            name,
            ..Attributes::resource(self.own, self.verb, group, resource)
        }
    }

    fn ask(
        &self,
        group: &str,
        resource: &str,
        subresource: &str,
        name: &str,
    ) -> Result<(), Refusal> {
        self.authorizer
            .check(&self.attributes(group, resource, subresource, name))
    }

    fn refuse(&self, resource: &str, name: &str, why: &str) -> Refusal {
        self.attributes(AUTHENTICATION, resource, "", name)
            .forbidden(why)
            .into()
    }

    /// The group of users and groups.
    fn group(&self) -> &'static str {
        if self.mode == Mode::Old {
            ""
        } else {
            AUTHENTICATION
        }
    }

    /// Asks for the name; answers the groups that come with it.
    fn user(&self, wanted: &Wanted) -> Result<Vec<String>, Refusal> {
        if let (false, Some(name)) = (self.mode == Mode::Old, node(&wanted.user)) {
            let name = if self.mode == Mode::AssociatedNode {
                "*"
            } else {
                name
            };
            self.ask(self.group(), "nodes", "", name)?;
            return Ok(vec!["system:nodes".to_owned()]);
        }
        if let Some((namespace, name)) = service_account(&wanted.user) {
            let asked = Attributes {
                namespace,
                ..self.attributes(self.group(), "serviceaccounts", "", name)
            };
            self.authorizer.check(&asked)?;
            let own = [
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ];
            return Ok(if wanted.groups.is_empty() {
                own.into()
            } else {
                wanted.groups.clone()
            });
        }
        self.ask(self.group(), "users", "", &wanted.user)?;
        Ok(wanted.groups.clone())
    }

    fn groups(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let constrained = self.mode != Mode::Old;
        let groups = &wanted.groups;
        if constrained && groups.iter().any(String::is_empty) {
            return Err(self.refuse(
                "groups",
                "",
                "impersonating the empty string group is not allowed",
            ));
        }
        if constrained && groups.iter().any(|g| g == MASTERS) {
            return Err(self.refuse(
                "groups",
                MASTERS,
                "impersonating the system:masters group is not allowed",
            ));
        }
        if constrained && groups.len() >= MANY && self.ask(self.group(), "groups", "", "*").is_ok()
        {
            return Ok(());
        }
        groups
            .iter()
            .try_for_each(|group| self.ask(self.group(), "groups", "", group))
    }

    fn extra(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let constrained = self.mode != Mode::Old;
        if let (true, Some(why)) = (constrained, wanted.extra.iter().find_map(wrong_extra)) {
            return Err(self.refuse("userextras", "", &why));
        }
        let values: usize = wanted.extra.values().map(Vec::len).sum();
        let many = wanted.extra.len() >= MANY || values >= MANY;
        if constrained && many && self.ask(AUTHENTICATION, "userextras", "*", "*").is_ok() {
            return Ok(());
        }
        for (key, values) in &wanted.extra {
            values
                .iter()
                .try_for_each(|value| self.ask(AUTHENTICATION, "userextras", key, value))?;
        }
        Ok(())
    }
}

/// What is wrong with a path that a domain is to stand before.
fn wrong_path(key: &str) -> Vec<String> {
    let invalid =
        |value: &str, why: &str| format!("extra.key: Invalid value: {}: {why}", quote(value));
    let Some((domain, path)) = key
        .split_once('/')
        .filter(|(d, p)| !d.is_empty() && !p.is_empty())
    else {
        return vec![invalid(
            key,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        )];
    };
    let mut wrong: Vec<String> = names::dns1123_subdomain(domain)
        .iter()
        .map(|why| invalid(domain, why))
        .collect();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(allowed) {
        const PATTERN: &str = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
        wrong.push(invalid(
            path,
            &format!("Invalid path (regex used for validation is '{PATTERN}')"),
        ));
    }
    wrong
}

/// What constrained modes do not take.
fn wrong_extra((key, values): (&String, &Vec<String>)) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let wrong = wrong_path(key);
    if !wrong.is_empty() {
        let wrong = match wrong.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        return Some(format!(
            "impersonating an invalid key in extra is not allowed: {wrong}"
        ));
    }
    if *key != key.to_lowercase() {
        return Some(format!(
            "impersonating a non-lowercase key in extra is not allowed: {}",
            quote(key)
        ));
    }
    match values.iter().any(String::is_empty) {
        true => Some("impersonating the empty string value in extra is not allowed".to_owned()),
        false => None,
    }
}

#[cfg(test)]
mod tests;
