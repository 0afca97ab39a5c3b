//! The user of a container: numbers from a name, a number, or what the pod says.
//!
//! The rules are those of containerd (`WithUser`, `WithUserID`, `WithAdditionalGIDs`) with the image's
//! own `/etc/passwd` and `/etc/group`.

use crate::config::Security;
use crate::status::ContainerUser;

/// Contents of the image's files; empty when it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Accounts {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Who a container runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: ContainerUser,
    /// The user's home, `/` when it has none.
    pub(crate) home: String,
}

impl Accounts {
    fn accounts(&self) -> impl Iterator<Item = Account<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            let home = fields.nth(1).unwrap_or_default();
            Some(Account {
                name,
                uid,
                gid,
                home,
            })
        })
    }

    /// Names, numbers and members of groups.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some((name, gid, fields.next().unwrap_or_default()))
        })
    }

    /// Who the container runs as; the error is what the kubelet shows.
    pub(crate) fn resolve(
        &self,
        image_user: Option<&str>,
        security: &Security,
    ) -> Result<Identity, String> {
        let (image_user, image_group) = split(image_user.unwrap_or_default());
        let wanted = match security.run_as_user {
            Some(uid) => uid.to_string(),
            None => image_user.to_owned(),
        };
        let account = self.find(&wanted)?;
        let gid = match (security.run_as_group, image_group) {
            (Some(gid), _) => gid,
            (None, Some(group)) if security.run_as_user.is_none() => self.group(group)?,
            _ => account.gid,
        };
        let mut supplemental_groups = security.supplemental_groups.clone();
        let is_member = |members: &str| members.split(',').any(|member| member == account.name);
        if !account.name.is_empty() {
            supplemental_groups.extend(
                self.groups()
                    .filter(|(_, _, members)| is_member(members))
                    .map(|(_, gid, _)| gid),
            );
        }
        let mut seen = std::collections::HashSet::new();
        supplemental_groups.retain(|gid| seen.insert(*gid));
        // As containerd since CVE-2022-36109: else files of other groups that deny the primary group open up.
        if !supplemental_groups.contains(&gid) {
            supplemental_groups.insert(0, gid);
        }
        let home = if account.home.is_empty() {
            "/"
        } else {
            account.home
        };
        let user = ContainerUser {
            uid: account.uid,
            gid,
            supplemental_groups,
        };
        Ok(Identity {
            user,
            home: home.to_owned(),
        })
    }

    /// The account of a name or number; a number needs none.
    fn find<'a>(&'a self, user: &'a str) -> Result<Account<'a>, String> {
        let user = if user.is_empty() { "0" } else { user };
        match user.parse::<u32>() {
            Ok(uid) => Ok(self
                .accounts()
                .find(|account| account.uid == uid)
                .unwrap_or(Account {
                    name: "",
                    uid,
                    gid: 0,
                    home: "",
                })),
            Err(_) => self
                .accounts()
                .find(|account| account.name == user)
                .ok_or_else(|| {
                    format!("unable to find user {user}: no matching entries in passwd file")
                }),
        }
    }

    fn group(&self, group: &str) -> Result<u32, String> {
        if let Ok(gid) = group.parse() {
            return Ok(gid);
        }
        self.groups()
            .find(|(name, _, _)| *name == group)
            .map(|(_, gid, _)| gid)
            .ok_or_else(|| {
                format!("unable to find group {group}: no matching entries in group file")
            })
    }
}

/// `user[:group]`.
fn split(user: &str) -> (&str, Option<&str>) {
    match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n"
                .to_owned(),
            group: "root:x:0:root\nextra:x:2000:other,app\nmore:x:2001:app\n".to_owned(),
        }
    }

    #[test]
    fn users_come_from_the_pod_or_the_image() {
        let none = Security::default();
        let run_as = |user, group| Security {
            run_as_user: user,
            run_as_group: group,
            ..Security::default()
        };
        let extra = Security {
            supplemental_groups: vec![7, 2000],
            ..Security::default()
        };
        for (image, security, expected) in [
            (None, &none, (0, 0, vec![0], "/root")),
            (
                Some("app"),
                &none,
                (1000, 1001, vec![1001, 2000, 2001], "/home/app"),
            ),
            (
                Some("1000"),
                &none,
                (1000, 1001, vec![1001, 2000, 2001], "/home/app"),
            ),
            (
                Some("app:extra"),
                &none,
                (1000, 2000, vec![2000, 2001], "/home/app"),
            ),
            (
                Some("app:7"),
                &none,
                (1000, 7, vec![7, 2000, 2001], "/home/app"),
            ),
            (Some("4242"), &none, (4242, 0, vec![0], "/")),
            (Some("app:7"), &run_as(Some(5), None), (5, 0, vec![0], "/")),
            (
                Some("app"),
                &run_as(None, Some(9)),
                (1000, 9, vec![9, 2000, 2001], "/home/app"),
            ),
            (
                Some("app"),
                &extra,
                (1000, 1001, vec![1001, 7, 2000, 2001], "/home/app"),
            ),
        ] {
            let identity = accounts().resolve(image, security).expect("resolve");
            let (uid, gid, supplemental_groups, home) = expected;
            assert_eq!(
                identity.user,
                ContainerUser {
                    uid,
                    gid,
                    supplemental_groups
                },
                "{image:?}"
            );
            assert_eq!(identity.home, home, "{image:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        for (image, text) in [
            (
                "ghost",
                "unable to find user ghost: no matching entries in passwd file",
            ),
            (
                "app:ghost",
                "unable to find group ghost: no matching entries in group file",
            ),
        ] {
            assert_eq!(
                accounts().resolve(Some(image), &Security::default()),
                Err(text.to_owned())
            );
        }
    }
}
