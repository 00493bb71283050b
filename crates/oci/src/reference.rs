//! Names inside a registry: repositories, tags, and references to manifests.

use crate::{Digest, OciError};
use std::fmt;

/// Longest repository name in bytes (the bound that Docker's clients have; ECR allows one more).
pub const REPOSITORY_NAME_BYTES_MAX: usize = 255;
/// Longest tag in bytes (OCI distribution specification, pulling manifests).
pub const TAG_BYTES_MAX: usize = 128;

/// What a manifest is asked for by, inside a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that can be moved to another manifest.
    Tag(String),
    /// The manifest's own digest.
    Digest(Digest),
}

impl Reference {
    /// Reads a reference: text with a colon is a digest, other text a tag.
    pub fn parse(text: &str) -> Result<Reference, OciError> {
        if text.contains(':') {
            return Digest::parse(text).map(Reference::Digest);
        }
        check_tag(text)?;
        Ok(Reference::Tag(text.to_owned()))
    }

    /// The tag, when it is one.
    pub fn tag(&self) -> Option<&str> {
        match self {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => f.write_str(tag),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Checks a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn check_tag(tag: &str) -> Result<(), OciError> {
    let mut bytes = tag.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    match first && rest && tag.len() <= TAG_BYTES_MAX {
        true => Ok(()),
        false => Err(OciError::InvalidName(format!(
            "`{}` is not a tag: at most {TAG_BYTES_MAX} letters, digits, `_`, `.` and `-`, starting with a letter, a \
             digit or `_`",
            excerpt(tag)
        ))),
    }
}

/// Checks a repository name: components of lower-case letters and digits, separated inside by one `.`, one or two
/// `_` or any number of `-`, joined by `/` (OCI distribution specification, `<name>`). Such a name is safe as a
/// relative path, and none of its components starts with `_`.
pub fn check_repository(name: &str) -> Result<(), OciError> {
    let valid = name.len() <= REPOSITORY_NAME_BYTES_MAX && name.split('/').all(is_component);
    match valid {
        true => Ok(()),
        false => Err(OciError::InvalidName(format!(
            "`{}` is not a repository name: at most {REPOSITORY_NAME_BYTES_MAX} lower-case letters and digits, \
             separated by single `.`, `_`, `-` and `/`",
            excerpt(name)
        ))),
    }
}

fn is_component(component: &str) -> bool {
    let mut rest = component;
    loop {
        let run = rest
            .bytes()
            .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            .count();
        if run == 0 {
            return false;
        }
        rest = &rest[run..];
        if rest.is_empty() {
            return true;
        }
        rest = match separator_length(rest) {
            0 => return false,
            length => &rest[length..],
        };
    }
}

fn separator_length(text: &str) -> usize {
    match text.as_bytes() {
        [b'.', ..] => 1,
        [b'_', b'_', ..] => 2,
        [b'_', ..] => 1,
        bytes => bytes.iter().take_while(|b| **b == b'-').count(),
    }
}

/// The start of some untrusted text, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    const EXCERPT_CHARS: usize = 100;
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repository_names() {
        for good in [
            "a",
            "a/b/c",
            "my-app",
            "a--b",
            "a__b",
            "a.b_c-d",
            "0/1",
            &"a".repeat(255),
        ] {
            assert!(check_repository(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "A",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "_a",
            ".",
            "..",
            "a/../b",
            "a/_tags",
            "a b",
            "ä",
            &"a".repeat(256),
        ] {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags() {
        for good in ["latest", "v1.0-rc_1", "_", "A", &"t".repeat(128)] {
            assert!(check_tag(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", "a b", "ä", &"t".repeat(129)] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn names_of_the_grammar_are_accepted(name in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}(/[a-z0-9]{1,8}){0,3}") {
            prop_assert!(check_repository(&name).is_ok());
        }

        #[test]
        fn accepted_names_are_safe_paths(name in "[a-z0-9._/-]{0,20}") {
            if check_repository(&name).is_ok() {
                prop_assert!(name.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.starts_with('_')));
            }
        }

        #[test]
        fn a_reference_prints_as_it_was_read(text in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}") {
            prop_assert_eq!(Reference::parse(&text).unwrap().to_string(), text);
        }
    }
}
