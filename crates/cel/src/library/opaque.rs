//! Values that only functions look into.

use std::fmt;
use std::net::IpAddr;

use super::authorizer::{AuthorizerRef, Decision, GroupCheck, PathCheck, ResourceCheck};
use super::named_format::NamedFormat;
use super::net::Cidr;
use super::quantity::Quantity;
use super::semver::Version;
use super::url::Url;
use crate::types::Type;

/// A value that only functions look into.
#[allow(missing_docs)]
pub enum Opaque<'a> {
    Ip(IpAddr),
    Cidr(Cidr),
    Url(Url),
    Quantity(Quantity),
    Semver(Version),
    Format(&'static NamedFormat),
    Authorizer(AuthorizerRef<'a>),
    PathCheck(PathCheck<'a>),
    GroupCheck(GroupCheck<'a>),
    ResourceCheck(ResourceCheck<'a>),
    Decision(Decision),
}

impl Opaque<'_> {
    /// The type.
    pub fn ty(&self) -> Type {
        let object = Type::object;
        match self {
            Opaque::Ip(_) => Type::Opaque("net.IP".into(), [].into()),
            Opaque::Cidr(_) => Type::Opaque("net.CIDR".into(), [].into()),
            Opaque::Url(_) => object("kubernetes.URL"),
            Opaque::Quantity(_) => object("kubernetes.Quantity"),
            Opaque::Semver(_) => object("kubernetes.Semver"),
            Opaque::Format(_) => object("kubernetes.NamedFormat"),
            Opaque::Authorizer(_) => object("kubernetes.authorization.Authorizer"),
            Opaque::PathCheck(_) => object("kubernetes.authorization.PathCheck"),
            Opaque::GroupCheck(_) => object("kubernetes.authorization.GroupCheck"),
            Opaque::ResourceCheck(_) => object("kubernetes.authorization.ResourceCheck"),
            Opaque::Decision(_) => object("kubernetes.authorization.Decision"),
        }
    }

    /// The size in bytes of addresses; 1 of everything else.
    pub fn size(&self) -> u64 {
        match self {
            Opaque::Ip(IpAddr::V4(_)) => 4,
            Opaque::Ip(IpAddr::V6(_)) => 16,
            Opaque::Cidr(cidr) => u64::from(cidr.bits).div_ceil(8),
            _ => 1,
        }
    }

    /// Whether two are equal; none, when they can't be compared.
    pub fn equal(&self, other: &Opaque<'_>) -> Option<bool> {
        Some(match (self, other) {
            (Opaque::Ip(one), Opaque::Ip(two)) => one == two,
            (Opaque::Cidr(one), Opaque::Cidr(two)) => one == two,
            (Opaque::Url(one), Opaque::Url(two)) => one.to_string() == two.to_string(),
            (Opaque::Quantity(one), Opaque::Quantity(two)) if !two.computed => {
                one.nanos() == two.nanos()
            }
            (Opaque::Semver(one), Opaque::Semver(two)) => one == two,
            (Opaque::Format(one), Opaque::Format(two)) => one.name == two.name,
            _ => return None,
        })
    }
}

impl fmt::Display for Opaque<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opaque::Ip(ip) => write!(f, "{ip}"),
            Opaque::Cidr(cidr) => write!(f, "{cidr}"),
            Opaque::Url(url) => write!(f, "{url}"),
            Opaque::Quantity(quantity) => write!(f, "{quantity}"),
            Opaque::Semver(version) => write!(f, "{version}"),
            Opaque::Format(format) => f.write_str(format.name),
            other => write!(f, "{}", other.ty()),
        }
    }
}
