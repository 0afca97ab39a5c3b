//! `--token-auth-file`: a CSV file of `token,user,uid,"group1,group2"`.

use std::collections::HashMap;
use std::path::Path;

use super::Error;
use crate::identity::Identity;

/// Users by token.
#[derive(Debug, Default)]
pub struct TokenFile {
    users: HashMap<String, Identity>,
}

impl TokenFile {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<TokenFile, Error> {
        let read = |err| Error::Read {
            path: path.into(),
            err,
        };
        let text = std::fs::read_to_string(path).map_err(read)?;
        TokenFile::parse(&text).map_err(|why| Error::TokenFile {
            path: path.into(),
            why,
        })
    }

    fn parse(text: &str) -> Result<TokenFile, String> {
        let mut users = HashMap::new();
        for record in records(text)? {
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                let found = record.len();
                return Err(format!(
                    "must have at least 3 columns (token, user name, user uid), found {found}"
                ));
            };
            // As upstream, which says so in its log.
            if token.is_empty() {
                tracing::warn!("empty token in the token file");
                continue;
            }
            let groups = rest
                .first()
                .into_iter()
                .flat_map(|groups| groups.split(','));
            let user = Identity::authenticated(name, groups.map(str::to_owned));
            let user = user.with(uid, Default::default());
            if users.insert(token.clone(), user).is_some() {
                tracing::warn!("duplicate token in the token file");
            }
        }
        Ok(TokenFile { users })
    }

    /// The user of a token.
    pub fn get(&self, token: &str) -> Option<&Identity> {
        self.users.get(token)
    }
}

/// CSV as RFC 4180 and Go have it: quoted fields may hold commas, quotes (doubled) and line ends.
fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // Empty lines are no records.
        if let Some(next) = rest
            .strip_prefix("\r\n")
            .or_else(|| rest.strip_prefix('\n'))
        {
            rest = next;
            continue;
        }
        let mut record = Vec::new();
        loop {
            let (field, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted_field(quoted)?,
                None => plain_field(rest)?,
            };
            record.push(field);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => {
                    rest = after
                        .strip_prefix("\r\n")
                        .or_else(|| after.strip_prefix('\n'))
                        .unwrap_or(after);
                    break;
                }
            }
        }
        records.push(record);
    }
    Ok(records)
}

fn plain_field(text: &str) -> Result<(String, &str), String> {
    let end = text.find([',', '\n']).unwrap_or(text.len());
    let (field, after) = text.split_at(end);
    if field.contains('"') {
        return Err("bare \" in non-quoted field".to_owned());
    }
    Ok((field.trim_end_matches('\r').to_owned(), after))
}

fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest
            .find('"')
            .ok_or("extraneous or missing \" in quoted-field")?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if rest.is_empty()
                || rest.starts_with([',', '\n'])
                || rest.starts_with("\r\n") =>
            {
                return Ok((field, rest));
            }
            None => return Err("extraneous or missing \" in quoted-field".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn users_come_with_their_groups() {
        let text = "t1,alice,alice-uid,\"dev,ops\"\r\n\nt2,bob,\n\"t,3\",\"eve \"\"e\"\"\",u,one\n,nobody,x";
        let file = TokenFile::parse(text).expect("well formed");
        let of = |token: &str| {
            let user = file.get(token)?;
            Some((
                user.user.to_string(),
                user.uid.to_string(),
                user.groups.join(" "),
            ))
        };
        let row =
            |name: &str, uid: &str, groups: &str| Some((name.into(), uid.into(), groups.into()));
        assert_eq!(
            of("t1"),
            row("alice", "alice-uid", "dev ops system:authenticated")
        );
        assert_eq!(of("t2"), row("bob", "", "system:authenticated"));
        assert_eq!(of("t,3"), row("eve \"e\"", "u", "one system:authenticated"));
        assert_eq!((of(""), of("t")), (None, None));
        for wrong in ["t,u", "a\"b,c,d", "\"a,b,c", "\"a\"b,c,d"] {
            assert!(TokenFile::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a,\"\r\n ]{0,40}") {
            let _ = TokenFile::parse(&text);
        }
    }
}
