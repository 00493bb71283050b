//! Who the application runs as: `USER` of the image looked up in the image's own files, as Docker does.

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Resolves `user[:group]`, each a name or a number, with the texts of `/etc/passwd` and `/etc/group`.
pub fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (user_part, group_part) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user_part = if user_part.is_empty() { "0" } else { user_part };
    let entry = find_user(user_part, passwd);
    let (uid, gid, home) = match (&entry, number(user_part)?) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Some(uid)) => (uid, 0, "/"),
        (None, None) => return Err(format!("the image has no user `{user_part}`")),
    };
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    if let Some(group_part) = group_part {
        let gid = find_group(group_part, group)?;
        return Ok(Identity {
            uid,
            gid,
            groups: vec![gid],
            home,
        });
    }
    let name = entry.map(|entry| entry.name);
    let mut groups: Vec<u32> = group_entries(group)
        .filter(|(_, _, members)| {
            name.is_some_and(|name| members.split(',').any(|member| member == name))
        })
        .map(|(_, gid, _)| gid)
        .collect();
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    Ok(Identity {
        uid,
        gid,
        groups,
        home,
    })
}

/// The number a name consists of; too large a number is an error, no number is `None`.
fn number(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        // The largest value means "leave as it is" to the kernel.
        Ok(id) if id < u32::MAX => Ok(Some(id)),
        _ => Err(format!("`{text}` is too large for a user or group id")),
    }
}

fn find_user<'a>(wanted: &str, passwd: &'a str) -> Option<PasswdEntry<'a>> {
    let entries = || passwd.lines().filter_map(passwd_entry);
    entries()
        .find(|entry| entry.name == wanted)
        .or_else(|| entries().find(|entry| Ok(Some(entry.uid)) == number(wanted)))
}

fn passwd_entry(line: &str) -> Option<PasswdEntry<'_>> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).unwrap_or_default();
    Some(PasswdEntry {
        name,
        uid,
        gid,
        home,
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn find_group(wanted: &str, text: &str) -> Result<u32, String> {
    if let Some((_, gid, _)) = group_entries(text).find(|(name, ..)| *name == wanted) {
        return Ok(gid);
    }
    number(wanted)?.ok_or_else(|| format!("the image has no group `{wanted}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:,,,:/srv/web:/sbin/nologin\nbroken\n7:x:8:9::/odd:\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nlogs:x:300:root,web\nvideo:x:44:web\n";

    fn check(user: &str, uid: u32, gid: u32, groups: &[u32], home: &str) {
        let expected = Identity {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        };
        assert_eq!(resolve(user, PASSWD, GROUP), Ok(expected), "{user}");
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        check("", 0, 0, &[0, 300], "/root");
        check("root", 0, 0, &[0, 300], "/root");
        check("web", 101, 102, &[44, 102, 300], "/srv/web");
        check("101", 101, 102, &[44, 102, 300], "/srv/web");
        check("1000", 1000, 0, &[0], "/");
        check("7", 8, 9, &[9], "/odd");
    }

    #[test]
    fn a_group_replaces_the_users_own() {
        check("web:logs", 101, 300, &[300], "/srv/web");
        check("web:0", 101, 0, &[0], "/srv/web");
        check("1000:1001", 1000, 1001, &[1001], "/");
        check("web:", 101, 102, &[44, 102, 300], "/srv/web");
    }

    #[test]
    fn what_the_image_does_not_have_is_named() {
        assert_eq!(
            resolve("ghost", PASSWD, GROUP).unwrap_err(),
            "the image has no user `ghost`"
        );
        assert_eq!(
            resolve("web:ghosts", PASSWD, GROUP).unwrap_err(),
            "the image has no group `ghosts`"
        );
        assert_eq!(
            resolve("ghost", "", "").unwrap_err(),
            "the image has no user `ghost`"
        );
        assert!(
            resolve("4294967295", PASSWD, GROUP)
                .unwrap_err()
                .contains("too large")
        );
        assert!(
            resolve("99999999999", PASSWD, GROUP)
                .unwrap_err()
                .contains("too large")
        );
    }
}
