//! Questions about what someone may do: `authorizer.group('apps').resource('deployments').check('get')`.

use std::rc::Rc;

use super::opaque::Opaque;
use super::{Native, failed, ok, text};
use crate::value::{Evaluated, Value};

/// Who decides. The server implements it.
pub trait Authorizer {
    /// Decides about one request.
    fn authorize(&self, question: &Question<'_>) -> Decision;
}

/// A request that someone might make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question<'q> {
    /// The service account that asks (namespace, name); without one, whoever made the request.
    pub service_account: Option<(&'q str, &'q str)>,
    /// The verb, of the API or of HTTP.
    pub verb: &'q str,
    /// What it is about.
    pub target: Target<'q>,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'q> {
    /// A path that is no resource's.
    Path(&'q str),
    /// A resource, of any version.
    Resource(ResourceName),
}

/// Names a resource. What is empty is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ResourceName {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while deciding.
    pub error: Option<String>,
}

/// An authorizer, and for whom it is asked.
#[derive(Clone)]
pub struct AuthorizerRef<'a> {
    authorizer: &'a dyn Authorizer,
    service_account: Option<Rc<(String, String)>>,
}

/// A question about a path, without a verb.
pub struct PathCheck<'a> {
    authorizer: AuthorizerRef<'a>,
    path: String,
}

/// A question about a group.
pub struct GroupCheck<'a> {
    authorizer: AuthorizerRef<'a>,
    group: String,
}

/// A question about a resource, without a verb.
pub struct ResourceCheck<'a> {
    authorizer: AuthorizerRef<'a>,
    resource: ResourceName,
}

impl<'a> AuthorizerRef<'a> {
    fn ask(&self, verb: &str, target: Target<'_>) -> Decision {
        self.authorizer.authorize(&Question {
            service_account: self
                .service_account
                .as_deref()
                .map(|(namespace, name)| (&**namespace, &**name)),
            verb,
            target,
        })
    }
}

impl<'a> Value<'a> {
    /// The variable `authorizer`.
    pub fn authorizer(authorizer: &'a dyn Authorizer) -> Value<'a> {
        made(Opaque::Authorizer(AuthorizerRef {
            authorizer,
            service_account: None,
        }))
    }

    /// The variable `authorizer.requestResource`.
    pub fn resource_authorizer(
        authorizer: &'a dyn Authorizer,
        resource: ResourceName,
    ) -> Value<'a> {
        made(Opaque::ResourceCheck(ResourceCheck {
            authorizer: AuthorizerRef {
                authorizer,
                service_account: None,
            },
            resource,
        }))
    }
}

fn made<'a>(opaque: Opaque<'a>) -> Value<'a> {
    Value::Opaque(Rc::new(opaque))
}

fn receiver<'v, 'a>(args: &'v [Value<'a>]) -> Option<&'v Opaque<'a>> {
    match args.first()? {
        Value::Opaque(opaque) => Some(opaque),
        _ => None,
    }
}

fn argument<'v>(args: &'v [Value<'_>], index: usize) -> Option<&'v str> {
    match args.get(index)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn decision<'v>(args: &'v [Value<'_>]) -> Option<&'v Decision> {
    match receiver(args)? {
        Opaque::Decision(decision) => Some(decision),
        _ => None,
    }
}

fn with<'a>(args: &[Value<'a>], set: fn(&mut ResourceName, String)) -> Option<Evaluated<'a>> {
    let Opaque::ResourceCheck(check) = receiver(args)? else {
        return None;
    };
    let mut resource = check.resource.clone();
    set(&mut resource, argument(args, 1)?.to_owned());
    ok(made(Opaque::ResourceCheck(ResourceCheck {
        authorizer: check.authorizer.clone(),
        resource,
    })))
}

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "path" => |_, args| {
            let (Opaque::Authorizer(authorizer), path) = (receiver(args)?, argument(args, 1)?)
            else {
                return None;
            };
            if path.trim().is_empty() {
                return failed("path must not be empty");
            }
            ok(made(Opaque::PathCheck(PathCheck {
                authorizer: authorizer.clone(),
                path: path.to_owned(),
            })))
        },
        "group" => |_, args| {
            let (Opaque::Authorizer(authorizer), group) = (receiver(args)?, argument(args, 1)?)
            else {
                return None;
            };
            ok(made(Opaque::GroupCheck(GroupCheck {
                authorizer: authorizer.clone(),
                group: group.to_owned(),
            })))
        },
        "serviceAccount" => |_, args| service_account(args),
        "resource" => |_, args| resource(args),
        "subresource" => |_, args| with(args, |resource, text| resource.subresource = text),
        "namespace" => |_, args| with(args, |resource, text| resource.namespace = text),
        "name" => |_, args| with(args, |resource, text| resource.name = text),
        "fieldSelector" => |_, args| with(args, |resource, text| resource.field_selector = text),
        "labelSelector" => |_, args| with(args, |resource, text| resource.label_selector = text),
        "check" => |_, args| {
            let verb = argument(args, 1)?;
            let decision = match receiver(args)? {
                Opaque::PathCheck(check) => check.authorizer.ask(verb, Target::Path(&check.path)),
                Opaque::ResourceCheck(check) => check
                    .authorizer
                    .ask(verb, Target::Resource(check.resource.clone())),
                _ => return None,
            };
            ok(made(Opaque::Decision(decision)))
        },
        "allowed" => |_, args| ok(Value::Bool(decision(args)?.allowed)),
        "reason" => |_, args| text(decision(args)?.reason.clone()),
        "errored" => |_, args| ok(Value::Bool(decision(args)?.error.is_some())),
        "error" => |_, args| text(decision(args)?.error.clone().unwrap_or_default()),
        _ => return None,
    })
}

fn service_account<'a>(args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let Opaque::Authorizer(authorizer) = receiver(args)? else {
        return None;
    };
    let (namespace, name) = (argument(args, 1)?, argument(args, 2)?);
    let label = |text: &str| {
        let end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        end(text.as_bytes().first())
            && end(text.as_bytes().last())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return failed("Invalid service account name");
    }
    if namespace.len() > 63 || !label(namespace) {
        return failed("Invalid service account namespace");
    }
    ok(made(Opaque::Authorizer(AuthorizerRef {
        authorizer: authorizer.authorizer,
        service_account: Some(Rc::new((namespace.to_owned(), name.to_owned()))),
    })))
}

fn resource<'a>(args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (Opaque::GroupCheck(check), name) = (receiver(args)?, argument(args, 1)?) else {
        return None;
    };
    if name.trim().is_empty() {
        return failed("resource must not be empty");
    }
    ok(made(Opaque::ResourceCheck(ResourceCheck {
        authorizer: check.authorizer.clone(),
        resource: ResourceName {
            group: check.group.clone(),
            resource: name.to_owned(),
            ..ResourceName::default()
        },
    })))
}
