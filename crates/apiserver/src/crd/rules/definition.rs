//! Whether the rules of a definition compile, and what they may cost.

use karve_api::crd::validate::{Schema, schemas, shown_rule};
use karve_api::field::{Bad, Error, Kind};
use karve_cel::cost::{ESTIMATE_MAX, ESTIMATE_TOTAL_MAX};
use karve_cel::rule::Rules;
use karve_cel::schema::Decl;
use serde_json::Value;

use super::{NO_TYPE, is_embedded, own, text};

/// What is wrong with the rules of a definition. Schemas that an update leaves as they are stay as they are.
pub fn check(old: Option<&Value>, definition: &Value) -> Vec<Error> {
    let before = old.map(schemas).unwrap_or_default();
    let mut errors = Vec::new();
    for Schema { path, schema } in schemas(definition) {
        if before.iter().any(|b| b.schema == schema) {
            continue;
        }
        let mut stored = Vec::new();
        before.iter().for_each(|b| sources(b.schema, &mut stored));
        let mut check = Check {
            errors: Vec::new(),
            total: 0,
            expensive: Vec::new(),
            stored,
        };
        let place = Place {
            path: path.clone(),
            root: true,
            cardinality: Some(1),
            loose: None,
        };
        check.schema(schema, &place);
        errors.append(&mut check.errors);
        if check.total > ESTIMATE_TOTAL_MAX {
            for (_, path) in check.expensive {
                let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
                errors.push(forbidden(path, detail.to_owned()));
            }
            let name =
                "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
            errors.push(forbidden(
                path,
                too_costly(name, check.total, ESTIMATE_TOTAL_MAX),
            ));
        }
    }
    errors
}

/// The sources of all rules.
fn sources<'v>(schema: &'v Value, into: &mut Vec<&'v str>) {
    for rule in own(schema) {
        into.extend([text(rule, "rule"), text(rule, "messageExpression")]);
    }
    match schema {
        Value::Object(members) => members.values().for_each(|m| sources(m, into)),
        Value::Array(items) => items.iter().for_each(|i| sources(i, into)),
        _ => {}
    }
}

fn forbidden(field: String, detail: String) -> Error {
    Error {
        kind: Kind::Forbidden,
        field,
        value: Bad::Omitted,
        detail,
    }
}

fn too_costly(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

/// A place in a schema.
struct Place {
    path: String,
    root: bool,
    /// How often it may occur in an object, where the schema bounds that.
    cardinality: Option<u64>,
    /// The list above whose items have no counterparts in the old object.
    loose: Option<String>,
}

struct Check<'v> {
    errors: Vec<Error>,
    total: u64,
    expensive: Vec<(u64, String)>,
    stored: Vec<&'v str>,
}

impl Check<'_> {
    /// What is below comes first.
    fn schema(&mut self, schema: &Value, place: &Place) {
        let cardinality = place.cardinality.zip(max_elements(schema));
        let cardinality = cardinality.map(|(a, b)| a.saturating_mul(b));
        let below = |schema: &Value, path: String, loose: Option<String>| Place {
            path,
            root: is_embedded(schema),
            cardinality,
            loose,
        };
        let path = &place.path;
        if let Some(values) = schema.get("additionalProperties") {
            let at = format!("{path}.additionalProperties");
            self.schema(values, &below(values, at, place.loose.clone()));
        }
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{path}.properties[{name}]");
            self.schema(member, &below(member, at, place.loose.clone()));
        }
        if let Some(items) = schema.get("items") {
            let keyed = schema["x-kubernetes-list-type"] == "map";
            let loose = match keyed {
                true => place.loose.clone(),
                false => place.loose.clone().or_else(|| Some(path.clone())),
            };
            self.schema(items, &below(items, format!("{path}.items"), loose));
        }
        let rules = own(schema);
        if rules.is_empty() {
            return;
        }
        let at = format!("{path}.x-kubernetes-validations");
        let Some(decl) = Decl::of(schema, place.root, "selfType") else {
            self.errors.push(Error {
                kind: Kind::Internal,
                field: at,
                value: Bad::Omitted,
                detail: format!(
                    "internal error: failed to construct type information for x-kubernetes-validations rules: {NO_TYPE}"
                ),
            });
            return;
        };
        let envs = [Rules::new(&decl, false), Rules::new(&decl, true)];
        for (i, rule) in rules.iter().enumerate() {
            self.rule(rule, &envs, place, &format!("{at}[{i}]"));
        }
    }

    fn rule(&mut self, rule: &Value, envs: &[Rules; 2], place: &Place, at: &str) {
        let optional = rule["optionalOldSelf"] == true;
        let invalid = |name: &str, value: Bad, detail: String| Error {
            kind: Kind::Invalid,
            field: format!("{at}.{name}"),
            value,
            detail,
        };
        let shown = || shown_rule(rule);
        let env = |source: &str| &envs[usize::from(self.stored.contains(&source))];
        let source = text(rule, "rule");
        let env_of_rule = env(source);
        let compiled = env_of_rule.compile(source, optional);
        let expression = text(rule, "messageExpression");
        let message = (!expression.is_empty() && compiled.is_ok())
            .then(|| env(expression).compile_message(expression, optional));
        if let Ok(rule) = &compiled {
            let times = place.cardinality;
            let times = times.unwrap_or_else(|| env_of_rule.max_cardinality());
            let cost = rule.max_cost().saturating_mul(times);
            self.cost(cost, "estimated rule cost", format!("{at}.rule"));
        }
        if let Err(why) = &compiled {
            self.errors.push(invalid("rule", shown(), why.clone()));
        }
        match message {
            Some(Ok(program)) => {
                let cost = program.estimate().max;
                let field = format!("{at}.messageExpression");
                self.cost(cost, "estimated messageExpression cost", field);
            }
            Some(Err(why)) => self.errors.push(invalid("messageExpression", shown(), why)),
            None => {}
        }
        match (&compiled, &place.loose) {
            (Ok(compiled), Some(within)) if compiled.uses_old_self() => {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
                );
                self.errors.push(invalid("rule", source.into(), detail));
            }
            (Ok(compiled), _) if compiled.uses_old_self() => {}
            _ => {
                if let Some(set) = rule.get("optionalOldSelf").filter(|o| !o.is_null()) {
                    let detail = "may not be set if oldSelf is not used in rule";
                    let error = invalid("optionalOldSelf", set.into(), detail.to_owned());
                    self.errors.push(error);
                }
            }
        }
    }

    fn cost(&mut self, cost: u64, name: &str, field: String) {
        if cost > ESTIMATE_MAX {
            let detail = too_costly(name, cost, ESTIMATE_MAX);
            self.errors.push(forbidden(field.clone(), detail));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= ESTIMATE_TOTAL_MAX / 100 {
            self.expensive.push((cost, field));
            self.expensive
                .sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.expensive.truncate(4);
        }
    }
}

/// How many values below a schema there may be for one of its own, where it says so.
fn max_elements(schema: &Value) -> Option<u64> {
    let max = |name: &str| schema[name].as_i64().map(|max| max.max(0) as u64);
    match text(schema, "type") {
        "object" if schema.get("additionalProperties").is_some() => max("maxProperties"),
        "array" => max("maxItems"),
        _ => Some(1),
    }
}
