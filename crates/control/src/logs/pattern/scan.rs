//! Reading the words of a pattern.

use super::InvalidPattern;

/// The rest of a pattern. White space before every word is skipped.
pub(super) struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Scanner<'a> {
        Scanner {
            rest: text.trim_start(),
        }
    }

    pub(super) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes a sign when it comes next.
    pub(super) fn take(&mut self, sign: &str) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    /// Takes a sign that must come next.
    pub(super) fn expect(&mut self, sign: &str) -> Result<(), InvalidPattern> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(InvalidPattern::new(format!(
                "expected {sign} before {}",
                self.shown()
            ))),
        }
    }

    /// Takes the characters that satisfy the condition, at least one.
    pub(super) fn word(
        &mut self,
        what: &str,
        part: impl Fn(char) -> bool,
    ) -> Result<&'a str, InvalidPattern> {
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(InvalidPattern::new(format!(
                "expected {what} before {}",
                self.shown()
            )));
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        Ok(word)
    }

    /// Takes a phrase in double quotes; a backslash stands before a quote or a backslash inside.
    pub(super) fn quoted(&mut self) -> Result<String, InvalidPattern> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = self.rest[at + 1..].trim_start();
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    Some((_, c)) => text.extend(['\\', c]),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(InvalidPattern::new("a double quote is not closed"))
    }

    /// Takes a term: a phrase in quotes, or a word of letters, digits and underscores.
    pub(super) fn term(&mut self) -> Result<String, InvalidPattern> {
        if self.peek() == Some('"') {
            return self.quoted();
        }
        let word = self.word("a term", |c| !c.is_whitespace())?;
        match word.chars().all(|c| c.is_alphanumeric() || c == '_') {
            true => Ok(word.to_owned()),
            false => {
                let text =
                    format!("Invalid character(s) in term '{word}'; put it in double quotes");
                Err(InvalidPattern::new(text))
            }
        }
    }

    fn shown(&self) -> String {
        match self.rest.chars().take(20).collect::<String>() {
            rest if rest.is_empty() => "the end".to_owned(),
            rest => format!("'{rest}'"),
        }
    }
}
