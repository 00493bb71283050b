//! URLs of repositories: `https://`, `http://`, `ssh://` and git's short form `user@host:path`.

use std::fmt;
use std::net::IpAddr;

/// Characters of a URL.
pub const URL_CHARS_MAX: usize = 2048;

/// Characters of a branch's name.
const BRANCH_CHARS_MAX: usize = 255;

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP with TLS.
    Https,
    /// HTTP without.
    Http,
    /// Secure shell.
    Ssh,
}

/// The URL of a repository, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitUrl {
    text: String,
    /// How it is reached.
    pub transport: Transport,
    /// The host, lower case, with the port where the URL has one.
    pub host: String,
}

/// A URL that cannot be used; the text says why, and never repeats credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It has a user name or password for HTTP in it.
    #[error("it contains credentials: leave them out and use a connection")]
    Credentials,
    /// Not a form that is known.
    #[error("it must have the form https://host/path, ssh://user@host/path or user@host:path")]
    Form,
    /// Too long.
    #[error("it is longer than {URL_CHARS_MAX} characters")]
    Long,
}

impl GitUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it is not one of the forms, has credentials in it, or could be taken for an option.
    pub fn parse(text: &str) -> Result<GitUrl, InvalidUrl> {
        if text.len() > URL_CHARS_MAX {
            return Err(InvalidUrl::Long);
        }
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        if !plain || text.starts_with('-') {
            return Err(InvalidUrl::Form);
        }
        let (transport, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme_of(scheme)?, rest.split_once('/')),
            None => (Transport::Ssh, text.split_once(':')),
        };
        let (authority, path) = rest.ok_or(InvalidUrl::Form)?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        match (transport, user) {
            (Transport::Https | Transport::Http, Some(_)) => return Err(InvalidUrl::Credentials),
            (Transport::Ssh, Some(user)) if user.contains(':') => {
                return Err(InvalidUrl::Credentials);
            }
            (Transport::Ssh, Some(user)) if user.is_empty() || user.starts_with('-') => {
                return Err(InvalidUrl::Form);
            }
            _ => {}
        }
        let is_short = !text.contains("://");
        let usable = is_host(host) && !path.is_empty() && !(is_short && user.is_none());
        match usable {
            true => Ok(GitUrl {
                text: text.to_owned(),
                transport,
                host: host.to_ascii_lowercase(),
            }),
            false => Err(InvalidUrl::Form),
        }
    }

    /// Whether its host is this machine.
    pub fn is_loopback(&self) -> bool {
        let name = self.host_name();
        name == "localhost"
            || name.ends_with(".localhost")
            || name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// The host without its port.
    pub fn host_name(&self) -> &str {
        match self.host.strip_prefix('[').and_then(|h| h.split_once(']')) {
            Some((address, _)) => address,
            None => self.host.split(':').next().unwrap_or_default(),
        }
    }

    /// The path, without slashes around it and without the ending `.git`.
    pub fn path(&self) -> &str {
        let path = match self.text.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map(|(_, path)| path),
            None => self.text.split_once(':').map(|(_, path)| path),
        };
        let path = path.unwrap_or_default().trim_matches('/');
        path.strip_suffix(".git").unwrap_or(path)
    }

    /// Scheme, host and port, as credentials are bound to it.
    pub(super) fn origin(&self) -> String {
        let scheme = match self.transport {
            Transport::Https => "https",
            Transport::Http => "http",
            Transport::Ssh => "ssh",
        };
        format!("{scheme}://{}", self.host)
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn scheme_of(scheme: &str) -> Result<Transport, InvalidUrl> {
    match scheme {
        "https" => Ok(Transport::Https),
        "http" => Ok(Transport::Http),
        "ssh" => Ok(Transport::Ssh),
        _ => Err(InvalidUrl::Form),
    }
}

/// A host name or address, with or without a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                ("ok", port.strip_prefix(':'))
            }
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let named = !name.is_empty()
        && !name.starts_with(['-', '.'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// What is wrong with a branch's name (git-check-ref-format), if anything.
pub fn branch_problem(name: &str) -> Option<&'static str> {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    match () {
        () if name.is_empty() => Some("it is empty"),
        () if name.len() > BRANCH_CHARS_MAX => Some("it is longer than 255 characters"),
        () if name.contains(forbidden) => Some("it contains a character that no branch can have"),
        () if name.starts_with('-') || name == "@" => Some("no branch can have this name"),
        () if name.contains("..") || name.contains("@{") || name.ends_with('.') => {
            Some("no branch can have this name")
        }
        () if name.split('/').any(bad_part) => Some("no branch can have this name"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(Transport, &str, &str), InvalidUrl>) {
        let read = GitUrl::parse(text);
        let found = read
            .as_ref()
            .map(|url| (url.transport, url.host.as_str(), url.path()));
        assert_eq!(found, expect.as_ref().copied(), "{text}");
    }

    #[test]
    fn urls_are_of_known_forms_and_carry_no_credentials() {
        use Transport::*;
        check(
            "https://github.com/a/b.git",
            Ok((Https, "github.com", "a/b")),
        );
        check(
            "http://LOCALHOST:8080/a/",
            Ok((Http, "localhost:8080", "a")),
        );
        check("ssh://git@h:22/a", Ok((Ssh, "h:22", "a")));
        check("git@github.com:a/b.git", Ok((Ssh, "github.com", "a/b")));
        check("https://[::1]:8/a", Ok((Https, "[::1]:8", "a")));
        check("https://u:p@h/a", Err(InvalidUrl::Credentials));
        check("https://u@h/a", Err(InvalidUrl::Credentials));
        check("ssh://u:p@h/a", Err(InvalidUrl::Credentials));
        for text in [
            "",
            "/etc",
            "file:///etc",
            "git://h/a",
            "ext::sh -c id",
            "--upload-pack=x",
            "ssh://-oProxyCommand=x/a",
            "ssh://-o@h/a",
            "https://h",
            "https:///a",
            "https://h:0/a",
            "h:a",
            "https://h/a b",
            "https://h\\@x/a",
        ] {
            check(text, Err(InvalidUrl::Form));
        }
        check(
            &format!("https://h/{}", "a".repeat(3000)),
            Err(InvalidUrl::Long),
        );
    }

    #[test]
    fn loopback_is_this_machine() {
        let is = |text: &str| GitUrl::parse(text).is_ok_and(|url| url.is_loopback());
        assert!(is("http://localhost:3/a") && is("http://127.0.0.1/a") && is("http://[::1]:4/a"));
        assert!(!is("http://example.com/a") && !is("http://localhost.example.com/a"));
    }

    #[test]
    fn branches_have_names_that_git_takes() {
        for good in ["main", "feature/x", "v1.0", "ünï"] {
            assert_eq!(branch_problem(good), None, "{good}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a/", "/a", "a.lock", "a^", "x@{1}", "@", "a\n",
        ] {
            assert!(branch_problem(bad).is_some(), "{bad}");
        }
    }
}
