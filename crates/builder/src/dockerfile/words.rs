//! The words of instructions: how they are told apart, and what quotes, escapes and variables in them become (Docker's
//! reference, "Environment replacement").

use super::Form;
use regex::{NoExpand, Regex, RegexBuilder};

/// Longest word or text with its variables put in, in bytes: no whole file is longer.
const WORD_BYTES_MAX: usize = super::BYTES_MAX as usize;

/// Longest pattern in a variable's braces, and longest value it is for, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

/// What variables are worth.
pub type Value<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Tells the forms of a command apart: what looks like a list and is none is for a shell, as with Docker.
pub fn form(text: &str) -> Result<Form, String> {
    if text.starts_with('[')
        && let Ok(words) = serde_json::from_str::<Vec<String>>(text)
    {
        return match words.is_empty() {
            true => Err("the list is empty".to_owned()),
            false => Ok(Form::Exec(words)),
        };
    }
    Ok(Form::Shell(text.to_owned()))
}

/// Words with their quotes and escapes, as they stand.
///
/// # Errors
/// For a quotation without an end.
pub fn raw(text: &str, escape: char) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (c, None) if c == '\'' || c == '"' => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, open) if c == escape && open != Some('\'') => {
                word.push(c);
                word.extend(characters.next());
                continue;
            }
            _ => {}
        }
        word.push(character);
    }
    if quote.is_some() {
        return Err("a quotation has no end".to_owned());
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    Ok(words)
}

/// `name=value` pairs, or one name and one value with a space between; the values as they stand.
pub fn pairs(text: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = raw(text, escape)?;
    if words.first().is_some_and(|first| !first.contains('=')) {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("`{text}` has no value"))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pairs = words.into_iter().map(|word| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{word}` has no name or no value")),
    });
    pairs.collect()
}

/// A word for a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Reads a word: variables are put in, quotes and escapes have done their work and are gone.
///
/// # Errors
/// For a quotation or braces without an end, and for a variable that has to be set and is not.
pub fn word(text: &str, escape: char, value: Value<'_>) -> Result<String, String> {
    reader(text, escape, value, false).all()
}

/// A text that follows an instruction: variables are put in, quotes stay.
///
/// # Errors
/// As [`word`].
pub fn text(text: &str, escape: char, value: Value<'_>) -> Result<String, String> {
    reader(text, escape, value, true).all()
}

fn reader<'a>(text: &'a str, escape: char, value: Value<'a>, is_text: bool) -> Reader<'a> {
    Reader {
        rest: text.chars().peekable(),
        escape,
        value,
        is_text,
    }
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    value: Value<'a>,
    /// Quotes have no meaning.
    is_text: bool,
}

impl Reader<'_> {
    fn all(mut self) -> Result<String, String> {
        self.until(None)
    }

    /// Reads up to a character outside of quotes, which is taken too.
    fn until(&mut self, end: Option<char>) -> Result<String, String> {
        let mut word = String::new();
        while let Some(character) = self.rest.next() {
            match character {
                c if Some(c) == end => return Ok(word),
                '\'' if !self.is_text => self.single(&mut word)?,
                '"' if !self.is_text => self.double(&mut word)?,
                '$' => word.push_str(&self.variable()?),
                c if c == self.escape => self.escaped(&mut word),
                c => word.push(c),
            }
            bounded(&word)?;
        }
        match end {
            None => Ok(word),
            Some(end) => Err(format!("a `{end}` is missing")),
        }
    }

    fn escaped(&mut self, word: &mut String) {
        let Some(next) = self.rest.next() else { return };
        // In a text only what would mean something else loses its escape.
        if self.is_text && next != '$' && next != self.escape {
            word.push(self.escape);
        }
        word.push(next);
    }

    fn single(&mut self, word: &mut String) -> Result<(), String> {
        for character in self.rest.by_ref() {
            match character {
                '\'' => return Ok(()),
                c => word.push(c),
            }
        }
        Err("a quotation has no end".to_owned())
    }

    fn double(&mut self, word: &mut String) -> Result<(), String> {
        while let Some(character) = self.rest.next() {
            match character {
                '"' => return Ok(()),
                '$' => word.push_str(&self.variable()?),
                c if c == self.escape => match self.rest.next() {
                    Some(next) if next == '"' || next == '$' || next == self.escape => {
                        word.push(next)
                    }
                    next => {
                        word.push(c);
                        word.extend(next);
                    }
                },
                c => word.push(c),
            }
            bounded(word)?;
        }
        Err("a quotation has no end".to_owned())
    }

    /// What follows a dollar.
    fn variable(&mut self) -> Result<String, String> {
        if self.rest.next_if_eq(&'{').is_some() {
            return self.braces();
        }
        let name = self.name();
        match name.is_empty() {
            true => Ok("$".to_owned()),
            false => Ok((self.value)(&name).unwrap_or_default()),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        let is_number = self.rest.peek().is_some_and(char::is_ascii_digit);
        while let Some(next) = self.rest.next_if(|c| match is_number {
            true => c.is_ascii_digit(),
            false => c.is_ascii_alphanumeric() || *c == '_',
        }) {
            name.push(next);
        }
        name
    }

    fn braces(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return Err("${ is not followed by the name of a variable".to_owned());
        }
        let value = (self.value)(&name);
        let colon = self.rest.next_if_eq(&':').is_some();
        let known = value.clone().filter(|text| !colon || !text.is_empty());
        match self.rest.next() {
            Some('}') if !colon => Ok(value.unwrap_or_default()),
            Some('-') => {
                let otherwise = self.until(Some('}'))?;
                Ok(known.unwrap_or(otherwise))
            }
            Some('+') => {
                let instead = self.until(Some('}'))?;
                Ok(known.map(|_| instead).unwrap_or_default())
            }
            Some('?') => {
                let message = self.until(Some('}'))?;
                known.ok_or_else(|| format!("{name}: {message}"))
            }
            Some(cut @ ('#' | '%')) if !colon => {
                let longest = self.rest.next_if_eq(&cut).is_some();
                let pattern = self.until(Some('}'))?;
                let value = value.unwrap_or_default();
                without(&value, &pattern, cut == '#', longest)
            }
            Some('/') if !colon => {
                let every = self.rest.next_if_eq(&'/').is_some();
                let pattern = self.until(Some('/'))?;
                let by = self.until(Some('}'))?;
                let value = value.unwrap_or_default();
                replaced(&value, &pattern, &by, every)
            }
            Some(other) => Err(format!("`{other}` is not understood in ${{{name}…}}")),
            None => Err("a `}` is missing".to_owned()),
        }
    }
}

/// Variables of variables grow without end otherwise.
fn bounded(word: &str) -> Result<(), String> {
    match word.len() > WORD_BYTES_MAX {
        true => Err(format!(
            "with its variables it has more than {WORD_BYTES_MAX} bytes"
        )),
        false => Ok(()),
    }
}

/// The text without what a pattern matches at one of its ends.
fn without(text: &str, pattern: &str, at_start: bool, longest: bool) -> Result<String, String> {
    let (greedy, lazy) = (".*", ".*?");
    let star = if longest { greedy } else { lazy };
    let pattern = expression(pattern, text, star)?;
    if at_start {
        let found = compiled(&format!("^(?:{pattern})"))?.find(text);
        return Ok(text[found.map_or(0, |found| found.end())..].to_owned());
    }
    // The more is kept in front, the less is cut off.
    let kept = if longest { lazy } else { greedy };
    let cut = compiled(&format!("^({kept})(?:{pattern})$"))?;
    let kept = cut.captures(text).and_then(|found| found.get(1));
    Ok(kept.map_or(text, |kept| kept.as_str()).to_owned())
}

fn replaced(text: &str, pattern: &str, by: &str, every: bool) -> Result<String, String> {
    let pattern = compiled(&expression(pattern, text, ".*")?)?;
    let limit = if every { 0 } else { 1 };
    Ok(pattern.replacen(text, limit, NoExpand(by)).into_owned())
}

/// A pattern of `*`, `?` and escapes as a regular expression.
fn expression(pattern: &str, text: &str, star: &str) -> Result<String, String> {
    if pattern.len() > PATTERN_BYTES_MAX || text.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "a pattern or what it is for has more than {PATTERN_BYTES_MAX} bytes"
        ));
    }
    let mut expression = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => expression.push_str(star),
            '?' => expression.push('.'),
            other => {
                let plain = match other {
                    '\\' => characters.next().unwrap_or(other),
                    other => other,
                };
                expression.push_str(&regex::escape(plain.encode_utf8(&mut [0; 4])));
            }
        }
    }
    Ok(expression)
}

fn compiled(expression: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(expression);
    let compiled = builder.dot_matches_new_line(true).build();
    compiled.map_err(|error| format!("a pattern is not understood: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_their_quotes_and_get_their_variables() {
        let value = |name: &str| match name {
            "A" => Some("x".to_owned()),
            "P" => Some("a/b.tar.gz".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (raw, expected) in [
            ("$A/${A}b", "x/xb"),
            ("${B:-y}${A:-y}", "yx"),
            ("${B:-${A}$A}", "xx"),
            ("${A:+y}${B:+y}", "y"),
            ("${EMPTY-y}${EMPTY:-z}", "z"),
            ("'$A' \"$A\"", "$A x"),
            (r#""a\"b\n\$A""#, r#"a"b\n$A"#),
            (r"\$A $", "$A $"),
            (r"a\ b", "a b"),
            ("${P#*/}", "b.tar.gz"),
            ("${P%.*}", "a/b.tar"),
            ("${P%%.*}", "a/b"),
            ("${P##*.}", "gz"),
            ("${P/./-}", "a/b-tar.gz"),
            ("${P//./-}", "a/b-tar-gz"),
            ("${P/b*r/c}", "a/c.gz"),
            ("${P//?/x}", "xxxxxxxxxx"),
            ("${P#x}${P%x}", "a/b.tar.gza/b.tar.gz"),
            ("$B$1x", "x"),
        ] {
            assert_eq!(word(raw, '\\', &value).as_deref(), Ok(expected), "{raw}");
        }
        for (raw, expected) in [
            ("${B:?is not set}", "B: is not set"),
            ("'a", "no end"),
            ("${A", "`}` is missing"),
            ("${}", "name of a variable"),
            ("${A^}", "`^` is not understood"),
        ] {
            let error = word(raw, '\\', &value).expect_err(raw);
            assert!(error.contains(expected), "{raw}: {error}");
        }
        let long = "$A".repeat(WORD_BYTES_MAX + 1);
        assert!(word(&long, '\\', &value).unwrap_err().contains("more than"));
        let said = text("it's \"$A\" \\$A \\n", '\\', &value);
        assert_eq!(said.as_deref(), Ok("it's \"x\" $A \\n"));
    }

    #[test]
    fn raw_words_keep_their_quotes() {
        assert_eq!(
            raw(r#"a="b c" d\ e 'f"g'"#, '\\').unwrap(),
            [r#"a="b c""#, r"d\ e", r#"'f"g'"#]
        );
        assert!(raw("a 'b", '\\').is_err());
        assert_eq!(
            pairs("KEY a value", '\\').unwrap(),
            [("KEY".to_owned(), "a value".to_owned())]
        );
        assert!(pairs("A=1 B", '\\').is_err());
    }
}
