//! From the text of a file to its instructions, with the texts that follow them (Docker's reference, "Here-documents").

/// An instruction with its continuations, without comments.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of its first line.
    pub number: usize,
    /// What it says.
    pub text: String,
    /// What follows it up to the words it names.
    pub bodies: Vec<Body>,
}

/// A text that follows an instruction.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// Its lines with their ends, without the word that ends it; without tabs in front, if `<<-` asks for that.
    pub text: String,
    /// As it stands in the file, with the word that ends it.
    pub raw: String,
    /// The word that ends it, which is the name of a file that is made of it.
    pub name: String,
    /// Whether variables in it are put in: unless its word is quoted.
    pub expands: bool,
}

/// The character that escapes, which a comment at the beginning of a file can say (Docker's reference, "escape").
pub fn escape(text: &str) -> char {
    let directives = text.lines().map_while(|line| line.trim().strip_prefix('#'));
    for directive in directives {
        match directive.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("escape") => {
                return if value.trim() == "`" { '`' } else { '\\' };
            }
            Some(_) => {}
            // A comment, and what follows is no directive.
            None => break,
        }
    }
    '\\'
}

/// The instructions of a file.
///
/// # Errors
/// For a text that does not end.
pub fn instructions(text: &str, escape: char) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let mut rest = text.lines().enumerate();
    while let Some((index, line)) = rest.next() {
        let trimmed = line.trim();
        // Also between the lines of an instruction.
        if trimmed.starts_with('#') || trimmed.is_empty() {
            continue;
        }
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        if let Some(part) = line.trim_end().strip_suffix(escape) {
            whole.push_str(part);
            open = Some((number, whole));
            continue;
        }
        whole.push_str(line);
        let text = whole.trim().to_owned();
        let mut bodies = Vec::new();
        for mark in marks(&text) {
            let body = body(&mark, rest.by_ref().map(|(_, line)| line));
            let without_end = || {
                format!(
                    "line {number}: the text after << does not end with `{}`",
                    mark.end
                )
            };
            bodies.push(body.ok_or_else(without_end)?);
        }
        lines.push(Line {
            number,
            text,
            bodies,
        });
    }
    lines.extend(open.map(|(number, text)| Line {
        number,
        text,
        bodies: Vec::new(),
    }));
    Ok(lines)
}

/// Whether a text is nothing but the mark of one that follows.
pub fn is_mark(text: &str) -> bool {
    mark(text).is_some()
}

/// A `<<WORD` in an instruction.
struct Mark {
    end: String,
    is_quoted: bool,
    strips_tabs: bool,
}

/// The marks of an instruction that may have texts behind it. What stands in quotes is none.
fn marks(text: &str) -> Vec<Mark> {
    let (keyword, mut rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if !matches!(keyword.to_uppercase().as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    let mut marks = Vec::new();
    let (mut single, mut double) = (false, false);
    while let Some(word) = rest.split_whitespace().next() {
        if !single && !double {
            marks.extend(mark(word));
        }
        single ^= word.matches('\'').count() % 2 == 1;
        double ^= word.matches('"').count() % 2 == 1;
        rest = &rest.trim_start()[word.len()..];
    }
    marks
}

/// `<<WORD`, `<<-WORD` and either with quotes around the word, perhaps with the number of a descriptor in front.
fn mark(word: &str) -> Option<Mark> {
    let rest = word
        .trim_start_matches(|digit: char| digit.is_ascii_digit())
        .strip_prefix("<<")?;
    let (strips_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let end = unquoted(rest);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name =
        !end.is_empty() && end.chars().all(plain) && !end.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| Mark {
        is_quoted: end != rest,
        end,
        strips_tabs,
    })
}

fn unquoted(text: &str) -> String {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote);
        if let Some(inner) = inner.and_then(|rest| rest.strip_suffix(quote)) {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

/// Takes the lines up to the end.
fn body<'a>(mark: &Mark, lines: impl Iterator<Item = &'a str>) -> Option<Body> {
    let mut body = Body {
        text: String::new(),
        raw: String::new(),
        name: mark.end.clone(),
        expands: !mark.is_quoted,
    };
    for line in lines {
        body.raw.push_str(line);
        body.raw.push('\n');
        let line = match mark.strips_tabs {
            true => line.trim_start_matches('\t'),
            false => line,
        };
        if line == mark.end {
            return Some(body);
        }
        body.text.push_str(line);
        body.text.push('\n');
    }
    None
}
