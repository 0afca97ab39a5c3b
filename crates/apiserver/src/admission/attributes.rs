//! What a request is about, as plugins see it.

use std::fmt;

use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::call::Call;
use crate::object::Meta;
use crate::webhook::Invoked;

/// What is done to the object. Upstream's words in reviews and texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object, or a POST to a subresource.
    Create,
    /// A change of an object or of a part of it.
    Update,
    /// A deletion, or the mark that leads to one.
    Delete,
    /// A connection to something that runs.
    Connect,
}

impl Operation {
    /// As reviews and rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The options object of a request.
#[derive(Debug, Clone)]
pub enum Options {
    /// It has none.
    None,
    /// They are in the query, as for creates, updates and patches.
    InQuery,
    /// A DeleteOptions.
    Given(Value),
}

/// What a request is about. A validating plugin gets it shared, so it can't change the object.
pub struct Attributes<'a> {
    /// What is done. A PUT or an apply that makes an object is a create.
    pub operation: Operation,
    /// Who asks, and for which resource, subresource, namespace and name.
    pub call: &'a Call,
    /// The object as it would be; of a subresource with a kind of its own, that kind. Absent for deletions.
    pub object: Option<&'a mut Value>,
    /// The stored object. Absent for creates and connections.
    pub old: Option<&'a Value>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// See [`Attributes::options`].
    pub options: Options,
    /// What mutating plugins remember between rounds.
    pub reinvocation: Reinvocation,
}

/// Whether mutating plugins go a second round, and what those that ask others remember of the first.
#[derive(Debug, Default)]
pub struct Reinvocation {
    /// Whether this is the second round.
    pub second: bool,
    /// Whether somebody changed the object so that there has to be a second round.
    pub wanted: bool,
    /// Of MutatingAdmissionWebhook.
    pub webhooks: Invoked,
    /// Of MutatingAdmissionPolicy.
    pub policies: Invoked,
}

impl<'a> Attributes<'a> {
    /// Of a create (without `old`) or an update.
    pub fn of_write(
        call: &'a Call,
        object: &'a mut Value,
        old: Option<&'a Value>,
        dry_run: bool,
    ) -> Attributes<'a> {
        Attributes {
            operation: match old {
                None => Operation::Create,
                Some(_) => Operation::Update,
            },
            call,
            object: Some(object),
            old,
            dry_run,
            options: Options::InQuery,
            reinvocation: Reinvocation::default(),
        }
    }

    /// The object that would be stored; `null` for deletions.
    pub fn object(&self) -> &Value {
        self.object.as_deref().unwrap_or(&Value::Null)
    }

    /// Empty at the cluster scope.
    pub fn namespace(&self) -> &str {
        self.call.namespace()
    }

    /// Of the path, else of the object; empty when it will be generated, and in the deletion of a collection.
    pub fn name(&self) -> &str {
        match self.call.name() {
            "" => self.object().meta("name"),
            name => name,
        }
    }

    /// Whether it is about this resource itself, not a subresource.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.concerns(group, plural) && self.call.path.subresource.is_empty()
    }

    /// Whether it is about this resource or one of its subresources.
    pub fn concerns(&self, group: &str, plural: &str) -> bool {
        self.call.resource.plural == plural && self.call.resource.group == group
    }

    /// Whether a new object (not a subresource) is made.
    pub fn makes(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural)
    }

    /// The options as a review has them: CreateOptions, UpdateOptions, PatchOptions, DeleteOptions, or null.
    pub fn options(&self) -> Value {
        let kind = match (&self.options, self.operation) {
            (Options::None, _) => return Value::Null,
            (Options::Given(options), _) => return options.clone(),
            (Options::InQuery, Operation::Create) => "CreateOptions",
            (Options::InQuery, _) if self.call.verb == karve_api::resource::Verb::Patch => {
                "PatchOptions"
            }
            (Options::InQuery, _) => "UpdateOptions",
        };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        let query = &self.call.query;
        for name in ["fieldManager", "fieldValidation"] {
            if !query.text(name).is_empty() {
                options[name] = query.text(name).into();
            }
        }
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        if !dry_run.is_empty() {
            options["dryRun"] = json!(dry_run);
        }
        if kind == "PatchOptions" && query.get("force").is_some() {
            options["force"] = query.flag("force").into();
        }
        options
    }

    /// 403 as upstream's plugins refuse: where the name is not generated yet, it names the prefix.
    pub fn forbidden(&self, why: &str) -> Refusal {
        self.forbidden_status(why).into()
    }

    /// The same, to be changed.
    pub fn forbidden_status(&self, why: &str) -> Status {
        let resource = &self.call.resource;
        Status::forbidden(&resource.group, &resource.plural, self.refused_name(), why)
    }

    fn refused_name(&self) -> &str {
        let object = self.object();
        [
            self.call.name(),
            object.meta("name"),
            object.meta("generateName"),
            "Unknown",
        ]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default()
    }
}

/// What plugins tell beside their verdict.
#[derive(Debug, Default)]
pub struct Notes {
    /// For the client, as `Warning` headers.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
}

/// What is asked of a connection, as an object: PodExecOptions and its like.
pub fn connect_options(call: &Call) -> Value {
    let kind = match &*call.path.subresource {
        "exec" => "PodExecOptions",
        "attach" => "PodAttachOptions",
        "portforward" => "PodPortForwardOptions",
        _ => match &*call.resource.kind {
            "Service" => "ServiceProxyOptions",
            "Node" => "NodeProxyOptions",
            _ => "PodProxyOptions",
        },
    };
    let query = &call.query;
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    for name in ["stdin", "stdout", "stderr", "tty"] {
        if query.flag(name) {
            options[name] = true.into();
        }
    }
    if !query.text("container").is_empty() {
        options["container"] = query.text("container").into();
    }
    let command: Vec<&str> = query.all("command").collect();
    if !command.is_empty() {
        options["command"] = json!(command);
    }
    let ports: Vec<i64> = query.all("ports").filter_map(|p| p.parse().ok()).collect();
    if !ports.is_empty() {
        options["ports"] = json!(ports);
    }
    if call.path.subresource == "proxy" && !call.path.rest.is_empty() {
        options["path"] = call.path.rest.as_str().into();
    }
    options
}
