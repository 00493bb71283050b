//! The words of instructions.

/// How a command is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a shell.
    Shell(String),
    /// A JSON list of words.
    Exec(Vec<String>),
}

/// Tells the forms apart: what looks like a list and is none is for a shell, as with Docker.
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

/// `name=value` pairs, or one name and one value with a space between.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("`{text}` has no value"))?;
        return Ok(vec![(name.to_owned(), unquoted(value.trim()))]);
    }
    let words = shlex::split(text).ok_or("a quotation has no end")?;
    let pairs = words.into_iter().map(|word| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("`{word}` has no value")),
    });
    pairs.collect()
}

/// A text without the quotation around it.
pub fn unquoted(text: &str) -> String {
    let text = text.trim();
    for mark in ['"', '\''] {
        let inner = text
            .strip_prefix(mark)
            .and_then(|rest| rest.strip_suffix(mark));
        if let Some(inner) = inner {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

/// A word for a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Puts variables in: `$NAME`, `${NAME}`, `${NAME:-otherwise}`, `${NAME:+instead}`; a backslash keeps a dollar.
pub fn substitute(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        if let Some(after) = from.strip_prefix('\\') {
            let kept = after.starts_with('$');
            filled.push_str(if kept { "$" } else { "\\" });
            rest = if kept {
                after.trim_start_matches('$')
            } else {
                after
            };
            continue;
        }
        let after = &from[1..];
        if let Some(inner) = after.strip_prefix('{')
            && let Some((expression, tail)) = inner.split_once('}')
        {
            filled.push_str(&expanded(expression, value));
            rest = tail;
            continue;
        }
        let length = after
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(after.len());
        let (name, tail) = after.split_at(length);
        match name.is_empty() {
            true => filled.push('$'),
            false => filled.push_str(&value(name).unwrap_or_default()),
        }
        rest = tail;
    }
    filled.push_str(rest);
    filled
}

fn expanded(expression: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let known = |name: &str| value(name).filter(|text| !text.is_empty());
    if let Some((name, otherwise)) = expression.split_once(":-") {
        return known(name).unwrap_or_else(|| otherwise.to_owned());
    }
    if let Some((name, instead)) = expression.split_once(":+") {
        return known(name).map(|_| instead.to_owned()).unwrap_or_default();
    }
    value(expression).unwrap_or_default()
}
