//! Image names as people write them, `host[:port]/repository[:tag][@digest]`.

use crate::reference::{check_repository, check_tag, excerpt};
use crate::{Digest, OciError, Reference};
use std::fmt;

/// The registry that names without a host mean.
const DEFAULT_HOST: &str = "docker.io";
/// The namespace of one-component names of the default registry.
const DEFAULT_NAMESPACE: &str = "library";
/// Longest host name in bytes (RFC 1035, section 2.3.4), with brackets and port.
const HOST_BYTES_MAX: usize = 261;

/// The name of an image in some registry, after Docker's reference grammar: without a host it is on `docker.io`,
/// without a tag and a digest it is `latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    /// The registry's host and, when given, port: `127.0.0.1:5000`, `[::1]:5000`, `public.ecr.aws`.
    pub host: String,
    /// The repository in that registry.
    pub repository: String,
    /// The tag, when one was given (or `latest` when nothing was).
    pub tag: Option<String>,
    /// The digest, when one was given; it decides over the tag.
    pub digest: Option<Digest>,
}

impl ImageName {
    /// Reads an image name.
    pub fn parse(text: &str) -> Result<ImageName, OciError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let (host, rest) = split_host(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned())),
            None => (rest, None),
        };
        if let Some(tag) = &tag {
            check_tag(tag)?;
        }
        let host = host.unwrap_or(DEFAULT_HOST);
        check_host(host)?;
        let repository = match host == DEFAULT_HOST && !path.contains('/') {
            true => format!("{DEFAULT_NAMESPACE}/{path}"),
            false => path.to_owned(),
        };
        check_repository(&repository)?;
        let tag = match (&tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            _ => tag,
        };
        Ok(ImageName {
            host: host.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// What the manifest is asked for by: the digest when there is one, else the tag.
    pub fn reference(&self) -> Reference {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Reference::Digest(digest.clone()),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            (None, None) => Reference::Tag("latest".to_owned()),
        }
    }

    /// The host without port and brackets.
    pub fn host_name(&self) -> &str {
        split_port(&self.host).0
    }

    /// The port, when one was given.
    pub(crate) fn port(&self) -> Option<u16> {
        split_port(&self.host).1.and_then(|port| port.parse().ok())
    }

    /// Whether the registry is on this machine: a loopback address or `localhost`.
    pub fn is_loopback(&self) -> bool {
        let name = self.host_name();
        name == "localhost"
            || name
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first component is a host when it could not be part of a repository name: it has a dot, a colon or a capital
/// letter, or is `localhost`.
fn split_host(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first
                    .bytes()
                    .any(|b| matches!(b, b'.' | b':' | b'[') || b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, text),
    }
}

/// Splits a host from its port; brackets of an IPv6 address are removed.
fn split_port(host: &str) -> (&str, Option<&str>) {
    if let Some(rest) = host.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((address, port)) => (address, port.strip_prefix(':')),
            None => (rest, None),
        };
    }
    match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

fn check_host(host: &str) -> Result<(), OciError> {
    let (name, port) = split_port(host);
    let name_valid = match host.starts_with('[') {
        true => name.parse::<std::net::Ipv6Addr>().is_ok() && host_tail_is_port(host),
        false => name.split('.').all(is_host_label),
    };
    let port_valid = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match name_valid && port_valid && host.len() <= HOST_BYTES_MAX {
        true => Ok(()),
        false => Err(OciError::InvalidName(format!(
            "`{}` is not a registry host",
            excerpt(host)
        ))),
    }
}

fn host_tail_is_port(host: &str) -> bool {
    host.split_once(']')
        .is_some_and(|(_, tail)| tail.is_empty() || tail.starts_with(':'))
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(
            ImageName::parse(text).unwrap().to_string(),
            expect,
            "{text}"
        );
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check("python", "docker.io/library/python:latest");
        check("python:3.12", "docker.io/library/python:3.12");
        check("grafana/grafana", "docker.io/grafana/grafana:latest");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/app:v1", "localhost:5000/app:v1");
        check("[::1]:5000/app", "[::1]:5000/app:latest");
        check("[::1]/app", "[::1]/app:latest");
        check(
            "public.ecr.aws/aws-containers/hello-app-runner",
            "public.ecr.aws/aws-containers/hello-app-runner:latest",
        );
        check(
            &format!("r.example/a@sha256:{hex}"),
            &format!("r.example/a@sha256:{hex}"),
        );
        check(
            &format!("r.example/a:t@sha256:{hex}"),
            &format!("r.example/a:t@sha256:{hex}"),
        );
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "Python",
            "a:",
            "a:b:c",
            "a@",
            "a@sha256:12",
            "host.example/",
            "host.example:x/a",
            "host.example:0/a",
            "host.example:70000/a",
            "host..example/a",
            "-h.example/a",
            "[::1/a",
            "[::1]x/a",
            "[zz]:1/a",
            "https://host.example/a",
            "a b",
            "r.example/a?b",
        ] {
            assert!(ImageName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_known() {
        for (text, expect) in [
            ("localhost:1/a", true),
            ("127.0.0.9:5000/a", true),
            ("[::1]/a", true),
            ("r.example/a", false),
        ] {
            assert_eq!(
                ImageName::parse(text).unwrap().is_loopback(),
                expect,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_is_the_identity(
            host in "([a-z0-9]{1,6}\\.){1,3}[a-z]{2,4}(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,6}(/[a-z0-9]{1,6}){0,3}",
            tag in proptest::option::of("[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}"),
        ) {
            let text = match &tag { Some(tag) => format!("{host}/{path}:{tag}"), None => format!("{host}/{path}") };
            let name = ImageName::parse(&text).unwrap();
            prop_assert_eq!(&name.host, &host);
            prop_assert_eq!(&name.repository, &path);
            prop_assert_eq!(ImageName::parse(&name.to_string()).unwrap(), name);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(name) = ImageName::parse(&text) {
                prop_assert_eq!(ImageName::parse(&name.to_string()).unwrap(), name);
            }
        }
    }
}
