//! What a ServiceAccount's token claims: bound ones of today, and those of Secrets.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// An object that a token is bound to.
#[derive(Debug, Clone, Deserialize, Default, PartialEq, Eq)]
#[serde(default)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Bound {
    fn shown(&self) -> Value {
        match self.uid.is_empty() {
            true => json!({"name": self.name}),
            false => json!({"name": self.name, "uid": self.uid}),
        }
    }
}

/// The claims of a token.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    pub exp: Option<f64>,
    pub nbf: Option<f64>,
    pub iat: Option<f64>,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Option<Kubernetes>,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub legacy_name: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub legacy_uid: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub legacy_secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub legacy_namespace: String,
}

/// What is Kubernetes' own in a bound token.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default)]
pub struct Kubernetes {
    pub namespace: String,
    pub serviceaccount: Bound,
    pub pod: Option<Bound>,
    pub secret: Option<Bound>,
    pub node: Option<Bound>,
    pub warnafter: Option<f64>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
        None(()),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
        Audience::None(()) => Vec::new(),
    })
}

/// What goes into a new token, in upstream's order.
pub struct NewClaims<'a> {
    pub issuer: &'a str,
    pub audiences: &'a [String],
    pub now: i64,
    pub expires: i64,
    pub id: &'a str,
    pub kubernetes: &'a Kubernetes,
}

impl NewClaims<'_> {
    /// As JSON.
    pub fn to_value(&self) -> Value {
        let own = self.kubernetes;
        let mut kubernetes = Map::new();
        kubernetes.insert("namespace".into(), own.namespace.as_str().into());
        if let Some(node) = &own.node {
            kubernetes.insert("node".into(), node.shown());
        }
        if let Some(pod) = &own.pod {
            kubernetes.insert("pod".into(), pod.shown());
        }
        if let Some(secret) = &own.secret {
            kubernetes.insert("secret".into(), secret.shown());
        }
        kubernetes.insert("serviceaccount".into(), own.serviceaccount.shown());
        if let Some(after) = own.warnafter {
            kubernetes.insert("warnafter".into(), (after as i64).into());
        }
        let subject = format!(
            "system:serviceaccount:{}:{}",
            own.namespace, own.serviceaccount.name
        );
        json!({
            "aud": self.audiences,
            "exp": self.expires,
            "iat": self.now,
            "iss": self.issuer,
            "jti": self.id,
            "kubernetes.io": kubernetes,
            "nbf": self.now,
            "sub": subject,
        })
    }
}

/// The claims of a token that lives in a Secret.
#[cfg(test)]
pub fn legacy(namespace: &str, account: &Bound, secret: &str) -> Value {
    json!({
        "iss": LEGACY_ISSUER,
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": account.name,
        "kubernetes.io/serviceaccount/service-account.uid": account.uid,
        "sub": format!("system:serviceaccount:{namespace}:{}", account.name),
    })
}

/// Who issues tokens that live in Secrets.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
