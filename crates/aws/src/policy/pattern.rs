//! Strings of policies, parsed once into tokens: literal text, `*`, `?` and variables.
//!
//! The value of a variable is compared as it is and never read as a pattern, so a name or tag with a `*` in it is no
//! wildcard (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>).

use super::context::{Context, normal};

/// What of the language applies to a string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    /// Whether `*` and `?` stand for other characters.
    pub(super) wildcards: bool,
    /// Whether `${…}` is a variable or an escape; not before version 2012-10-17.
    pub(super) variables: bool,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// It matches.
    Yes,
    /// It does not match, whatever the values of variables.
    No,
    /// A variable has no value (or several), so there is nothing it could match.
    Unresolved,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(String),
    AnyRun,
    AnyOne,
    /// A condition key in normal form and the text to take when it is missing.
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// A token with its variable replaced by a value.
#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    Literal(&'a str),
    AnyRun,
    AnyOne,
}

/// A string of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    tokens: Vec<Token>,
}

impl Pattern {
    pub(super) fn parse(source: &str, syntax: Syntax) -> Result<Pattern, String> {
        let mut tokens = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some(c) = rest.chars().next() {
            if syntax.variables && rest.starts_with("${") {
                let (token, after) = dollar(rest)?;
                rest = after;
                match token {
                    Token::Literal(text) => literal.push_str(&text),
                    token => push(&mut tokens, &mut literal, token),
                }
                continue;
            }
            rest = &rest[c.len_utf8()..];
            match c {
                '*' if syntax.wildcards => push(&mut tokens, &mut literal, Token::AnyRun),
                '?' if syntax.wildcards => push(&mut tokens, &mut literal, Token::AnyOne),
                _ => literal.push(c),
            }
        }
        if !literal.is_empty() {
            tokens.push(Token::Literal(literal));
        }
        // `**` is `*`; fewer tokens keep matching quick.
        tokens.dedup_by(|next, before| *next == Token::AnyRun && *before == Token::AnyRun);
        Ok(Pattern {
            source: source.to_owned(),
            tokens,
        })
    }

    /// The string as it is in the policy.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The condition keys of its variables, in lower case.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Variable { key, .. } => Some(key.as_str()),
            _ => None,
        })
    }

    /// Whether it is one variable and nothing else.
    pub(super) fn is_one_variable(&self) -> bool {
        matches!(self.tokens.as_slice(), [Token::Variable { .. }])
    }

    /// Whether its last character is a wildcard `*`.
    pub(super) fn ends_open(&self) -> bool {
        self.tokens.last() == Some(&Token::AnyRun)
    }

    fn resolve<'a>(&'a self, context: &'a Context) -> Option<Vec<Piece<'a>>> {
        let piece = |token: &'a Token| {
            Some(match token {
                Token::Literal(text) => Piece::Literal(text),
                Token::AnyRun => Piece::AnyRun,
                Token::AnyOne => Piece::AnyOne,
                Token::Variable { key, default } => {
                    Piece::Literal(match context.get_normal(key) {
                        Some([value]) => value,
                        // A multivalued key cannot be a variable.
                        Some(_) => return None,
                        None => default.as_deref()?,
                    })
                }
            })
        };
        self.tokens.iter().map(piece).collect()
    }

    /// Compares a whole value with the pattern.
    pub fn matches(&self, value: &str, context: &Context) -> Matched {
        match self.resolve(context) {
            Some(pieces) if matches_pieces(&pieces, value) => Matched::Yes,
            Some(_) => Matched::No,
            None => Matched::Unresolved,
        }
    }

    /// The text it stands for when it has no wildcards; none when a variable has no value.
    pub(super) fn text(&self, context: &Context) -> Option<String> {
        self.resolve(context)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Literal(text) => Some(text),
                Piece::AnyRun | Piece::AnyOne => None,
            })
            .collect()
    }
}

fn push(tokens: &mut Vec<Token>, literal: &mut String, token: Token) {
    if !literal.is_empty() {
        tokens.push(Token::Literal(std::mem::take(literal)));
    }
    tokens.push(token);
}

/// Reads `${…}` at the start of a text: the token and what follows.
fn dollar(text: &str) -> Result<(Token, &str), String> {
    for escaped in ["*", "?", "$"] {
        if let Some(after) = text
            .strip_prefix("${")
            .and_then(|text| text.strip_prefix(escaped))
            .and_then(|text| text.strip_prefix('}'))
        {
            return Ok((Token::Literal(escaped.to_owned()), after));
        }
    }
    let inner = &text[2..];
    let name_ends = inner
        .find(['}', ','])
        .ok_or_else(|| format!("the variable at \"{text}\" has no end"))?;
    let (name, tail) = inner.split_at(name_ends);
    let name_char = |c: char| {
        c.is_alphanumeric() || matches!(c, ' ' | '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@')
    };
    if !name.contains(':')
        || name.starts_with(':')
        || name.ends_with(':')
        || !name.chars().all(name_char)
    {
        return Err(format!("\"{name}\" is not the name of a variable"));
    }
    let (default, after) = match tail.strip_prefix(',') {
        None => (None, &tail[1..]),
        Some(tail) => {
            let quoted = tail.trim_start_matches(' ').strip_prefix('\'');
            let (default, after) = quoted
                .and_then(|text| text.split_once('\''))
                .ok_or_else(|| format!("the default value of \"{name}\" needs single quotes"))?;
            let after = after
                .strip_prefix('}')
                .ok_or_else(|| format!("the variable \"{name}\" has no end"))?;
            (Some(default.to_owned()), after)
        }
    };
    let key = normal(name);
    Ok((Token::Variable { key, default }, after))
}

/// Greedy matching with one point to return to: the last `*`. No star is tried again once the next one is reached, so the time
/// is linear for texts between stars and at most the pattern's length times the value's when there are `?` among them.
fn matches_pieces(pieces: &[Piece<'_>], value: &str) -> bool {
    let mut at = 0;
    let mut rest = value;
    let mut star: Option<(usize, &str)> = None;
    loop {
        let advanced = match pieces.get(at) {
            Some(Piece::AnyRun) if at + 1 == pieces.len() => return true,
            Some(Piece::AnyRun) => {
                star = Some((at + 1, rest));
                Some(rest)
            }
            Some(Piece::Literal(text)) => rest.strip_prefix(text),
            Some(Piece::AnyOne) => after_first(rest),
            None if rest.is_empty() => return true,
            None => None,
        };
        if let Some(after) = advanced {
            at += 1;
            rest = after;
            continue;
        }
        let Some((after_star, from)) = star else {
            return false;
        };
        let Some(from) = next_start(pieces.get(after_star), from) else {
            return false;
        };
        star = Some((after_star, from));
        at = after_star;
        rest = from;
    }
}

/// Where what follows a star may start next, after the first character of `from`.
fn next_start<'a>(piece: Option<&Piece<'_>>, from: &'a str) -> Option<&'a str> {
    let from = after_first(from)?;
    match piece {
        // Found in linear time, so that a long text after a star is not compared at every character.
        Some(Piece::Literal(text)) => from.find(text).map(|at| &from[at..]),
        _ => Some(from),
    }
}

fn after_first(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}
