//! The words of instructions: how they are told apart, and what quotes, escapes and variables in them become (Docker's
//! reference, "Environment replacement").

use super::Form;

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
                Ok(without(&value, &pattern, cut == '#', longest))
            }
            Some('/') if !colon => {
                let every = self.rest.next_if_eq(&'/').is_some();
                let pattern = self.until(Some('/'))?;
                let by = self.until(Some('}'))?;
                let value = value.unwrap_or_default();
                Ok(replaced(&value, &pattern, &by, every))
            }
            Some(other) => Err(format!("`{other}` is not understood in ${{{name}…}}")),
            None => Err("a `}` is missing".to_owned()),
        }
    }
}

/// The text without what a pattern matches at one of its ends.
fn without(text: &str, pattern: &str, at_start: bool, longest: bool) -> String {
    let mut cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    cuts.push(text.len());
    // The first that matches is what is looked for: from short to long, or the other way.
    if at_start == longest {
        cuts.reverse();
    }
    for at in cuts {
        let (start, end) = text.split_at(at);
        let (cut, kept) = match at_start {
            true => (start, end),
            false => (end, start),
        };
        if matches(pattern, cut) {
            return kept.to_owned();
        }
    }
    text.to_owned()
}

fn replaced(text: &str, pattern: &str, by: &str, every: bool) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
        let longest = ends.rfind(|end| matches(pattern, &rest[..*end]));
        match longest {
            Some(end) => {
                result.push_str(by);
                rest = &rest[end..];
                if !every {
                    break;
                }
            }
            None => {
                result.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    result.push_str(rest);
    result
}

/// Whether a pattern of `*` and `?` matches a whole text.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                // The last star takes one more.
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
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
