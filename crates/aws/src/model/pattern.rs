//! Patterns of the API models, which are written for Java, as regular expressions of the `regex` crate.
//!
//! Differences handled: a pattern matches the whole text; `\w`, `\d` and `\s` are ASCII; one leading negative lookahead for
//! a literal (`^(?!aws:)`) becomes a forbidden prefix, since the `regex` crate has no lookahead.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use std::sync::OnceLock;

/// Compiled size bound of one pattern, bytes. The largest of the tables needs under 2 MiB.
const COMPILED_BYTES_MAX: usize = 8 << 20;

/// A pattern, compiled at its first use.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub struct Pattern {
    source: String,
    forbidden_prefix: Option<String>,
    compiled: OnceLock<Result<Regex, String>>,
}

impl From<String> for Pattern {
    fn from(source: String) -> Pattern {
        let forbidden_prefix = lookahead(&source).map(|(prefix, _)| prefix.to_owned());
        Pattern {
            source,
            forbidden_prefix,
            compiled: OnceLock::new(),
        }
    }
}

impl Pattern {
    /// The pattern as the model has it, for messages.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the whole text matches. A pattern that cannot be compiled matches nothing; a test compiles them all.
    pub fn matches(&self, text: &str) -> bool {
        let forbidden = self
            .forbidden_prefix
            .as_deref()
            .is_some_and(|prefix| text.starts_with(prefix));
        !forbidden
            && self
                .regex()
                .as_ref()
                .is_ok_and(|regex| regex.is_match(text))
    }

    /// The compiled pattern, or why it cannot be.
    pub fn regex(&self) -> &Result<Regex, String> {
        self.compiled.get_or_init(|| {
            let rest = lookahead(&self.source).map_or(self.source.as_str(), |(_, rest)| rest);
            RegexBuilder::new(&format!(r"\A(?:{})\z", ascii_classes(rest)))
                .size_limit(COMPILED_BYTES_MAX)
                .build()
                .map_err(|error| error.to_string())
        })
    }
}

/// Splits `^(?!literal)rest` into the literal and the rest.
fn lookahead(source: &str) -> Option<(&str, &str)> {
    let (literal, rest) = source.strip_prefix("^(?!")?.split_once(')')?;
    let plain = literal
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == ':' || c == '-');
    plain.then_some((literal, rest))
}

/// Writes `\w`, `\d` and `\s` out, since they are Unicode classes in the `regex` crate.
fn ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('d') => out.push_str("[0-9]"),
            Some('s') => out.push_str(r"[\t\n\x0B\x0C\r ]"),
            Some('S') => out.push_str(r"[^\t\n\x0B\x0C\r ]"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expect: bool) {
        let pattern = Pattern::from(pattern.to_owned());
        pattern.regex().as_ref().unwrap();
        assert_eq!(pattern.matches(text), expect, "{pattern:?} on {text:?}");
    }

    #[test]
    fn whole_text_must_match() {
        check("[a-z]+", "abc", true);
        check("[a-z]+", "abc1", false);
        check("a|b", "ab", false);
        check("^a$", "a\n", false);
        check(".*", "a\nb", false);
    }

    #[test]
    fn classes_are_ascii() {
        check(r"[\w-]+", "a_1-", true);
        check(r"[\w-]+", "é", false);
        check(r"\d+", "١", false);
        check(r"^\S+$", "a b", false);
    }

    #[test]
    fn leading_lookahead_is_a_forbidden_prefix() {
        check("^(?!aws:).+", "team", true);
        check("^(?!aws:).+", "aws:team", false);
        check("^(?!aws:).+", "aws", true);
        check("^(?!aws:).+", "", false);
    }

    #[test]
    fn odd_dashes_are_literals() {
        check("[A-Za-z0-9][A-Za-z0-9-_]{3,39}", "my-app_1", true);
        check("[A-Za-z0-9][A-Za-z0-9-_]{3,39}", "-my-app", false);
    }
}
