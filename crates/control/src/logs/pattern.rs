//! Filter patterns of CloudWatch Logs
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>).
//!
//! Terms and quoted phrases that must all be there, `?` for terms of which one must be there, `-` for terms that must not
//! be there, and conditions on JSON messages. Matching is by exact case anywhere in the message. What is not supported
//! (regular expressions, patterns of space-delimited columns) is refused, never taken for something else.

mod json;
mod scan;

use json::Condition;
use scan::Scanner;

/// Why a text is no pattern, for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidPattern(String);

impl InvalidPattern {
    fn new(text: impl Into<String>) -> InvalidPattern {
        InvalidPattern(text.into())
    }
}

/// A pattern that messages can be held against.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Terms(Terms),
    Json(Condition),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Terms {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    /// Reads a pattern. The empty one takes every message.
    pub(super) fn parse(text: &str) -> Result<Pattern, InvalidPattern> {
        let text = text.trim();
        match text.chars().next() {
            Some('{') => json::parse(text).map(|condition| Pattern(Kind::Json(condition))),
            Some('[') => Err(InvalidPattern::new(
                "patterns of space-delimited columns are not supported",
            )),
            _ => Terms::parse(text).map(|terms| Pattern(Kind::Terms(terms))),
        }
    }

    /// Whether every message matches, so that no message needs to be looked at.
    pub(super) fn takes_all(&self) -> bool {
        self.0 == Kind::Terms(Terms::default())
    }

    /// Whether a message matches.
    pub(super) fn matches(&self, message: &str) -> bool {
        match &self.0 {
            Kind::Terms(terms) => terms.matches(message),
            Kind::Json(condition) => {
                serde_json::from_str(message).is_ok_and(|value| condition.holds(&value))
            }
        }
    }
}

impl Terms {
    fn parse(text: &str) -> Result<Terms, InvalidPattern> {
        let mut terms = Terms::default();
        let mut scanner = Scanner::new(text);
        while !scanner.at_end() {
            let list = if scanner.take("?") {
                &mut terms.any
            } else if scanner.take("-") {
                &mut terms.none
            } else {
                &mut terms.all
            };
            if scanner.peek() == Some('%') {
                return Err(InvalidPattern::new(
                    "regular expressions (%…%) are not supported",
                ));
            }
            list.push(scanner.term()?);
        }
        Ok(terms)
    }

    fn matches(&self, message: &str) -> bool {
        let is_in = |term: &String| message.contains(term.as_str());
        // With other terms beside them, optional ones decide nothing (the guide's note on `?`).
        let any = self.any.is_empty() || !self.all.is_empty() || self.any.iter().any(is_in);
        any && self.all.iter().all(is_in) && !self.none.iter().any(is_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, taken: &[&str], left: &[&str]) {
        let parsed = Pattern::parse(pattern).unwrap();
        for message in taken {
            assert!(parsed.matches(message), "{pattern} must take {message}");
        }
        for message in left {
            assert!(!parsed.matches(message), "{pattern} must leave {message}");
        }
    }

    #[test]
    fn terms() {
        check("", &["", "anything"], &[]);
        check("ERROR", &["an ERROR here", "[ERROR]"], &["error", ""]);
        check(
            "ERROR ARGUMENTS",
            &["ERROR 1 INVALID ARGUMENTS"],
            &["ERROR", "ARGUMENTS"],
        );
        check(
            "\"GET /health\"",
            &["GET /health HTTP/1.1"],
            &["GET  /health", "GET /"],
        );
        check("\"say \\\"hi\\\"\"", &["they say \"hi\" now"], &["say hi"]);
        check("?ERROR ?WARN", &["ERROR", "a WARN"], &["INFO"]);
        check("?\"not found\" ?WARN", &["not found"], &["not"]);
        check("ERROR -EXITING", &["ERROR on"], &["ERROR EXITING", "x"]);
        check("-INFO", &["ERROR"], &["INFO"]);
        check("ERROR ?WARN", &["ERROR"], &["WARN"]);
        check("-\"GET /health\"", &["GET /"], &["GET /health"]);
        assert!(Pattern::parse("  ").unwrap().takes_all());
    }

    #[test]
    fn json_conditions() {
        let event = r#"{"level":"error","status":503,"took":1.5,"ok":false,"none":null,
            "user":{"name":"ann b","roles":["admin","dev"]},"path":"/a/b.html"}"#;
        let taken = [
            "{ $.level = \"error\" }",
            "{ $.level = error }",
            "{ $.level = \"err*\" }",
            "{ $.path = \"/a/*.html\" }",
            "{ $.level != \"info\" }",
            "{ $.status = 503 }",
            "{ $.status = 5* }",
            "{ $.status >= 500 && $.status < 600 }",
            "{ $.took > 1 }",
            "{ $.status = 200 || $.level = \"error\" }",
            "{ ($.status = 200 || $.status = 503) && $.ok IS FALSE }",
            "{ $.user.name = \"ann b\" }",
            "{ $.user.roles[1] = \"dev\" }",
            "{ $.none IS NULL }",
            "{ $.level EXISTS }",
            "{ $.other NOT EXISTS }",
            "{ $.level = \"x\" || $.level = \"y\" || $.took = 1.5e0 }",
        ];
        let left = [
            "{ $.level = \"info\" }",
            "{ $.level = \"erro\" }",
            "{ $.level != \"error\" }",
            "{ $.other = \"x\" }",
            "{ $.status > 503 }",
            "{ $.level > 5 }",
            "{ $.ok IS TRUE }",
            "{ $.level NOT EXISTS }",
            "{ $.status = 200 || $.level = \"error\" && $.took = 2 }",
            "{ $.user.roles[2] = \"dev\" }",
        ];
        for pattern in taken {
            check(pattern, &[event], &["not json", "[]", ""]);
        }
        for pattern in left {
            check(pattern, &[], &[event]);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let deep = format!("{{ {}$.a = 1 }}", "(".repeat(100));
        let refused = [
            "GET /health",
            "\"open",
            "?",
            "-",
            "%[a-z]%",
            "-%x%",
            "[ip, user]",
            "{",
            "{}",
            "{ $.a }",
            "{ $.a = }",
            "{ $.a = \"x\"",
            "{ $.a = 1 } x",
            "{ $.a = 1 && }",
            "{ ($.a = 1 }",
            "{ a = 1 }",
            "{ $.a[x] = 1 }",
            "{ $.a < \"x\" }",
            "{ $.a IS MAYBE }",
            "{ $.a = %x% }",
            &deep,
        ];
        for pattern in refused {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
        assert_eq!(
            Pattern::parse("GET /health").unwrap_err().to_string(),
            "Invalid character(s) in term '/health'; put it in double quotes"
        );
    }

    /// Texts from the signs of the grammar, from a fixed sequence of choices.
    #[test]
    fn any_text_is_taken_or_refused() {
        let signs = [
            "{", "}", "(", ")", "[", "]", "$", ".", "\"", "\\", "*", "=", "!=", "<", "&&", "||",
            "?", "-", "%", " ", "a", "é", "1", "IS", "NOT", "EXISTS", "NULL",
        ];
        let mut state = 1_u32;
        let mut taken = 0;
        for _ in 0..20_000 {
            let mut text = String::from(if state.is_multiple_of(2) {
                "{ $.a "
            } else {
                ""
            });
            for _ in 0..state % 9 {
                // Numerical Recipes' linear congruential generator: the same texts in every run.
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(signs[(state >> 16) as usize % signs.len()]);
            }
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if let Ok(pattern) = Pattern::parse(&text) {
                taken += 1;
                pattern.matches("{\"a\":\"é1\"}");
                pattern.matches("a 1 é");
            }
        }
        assert!(taken > 100, "only {taken} texts were patterns");
    }
}
