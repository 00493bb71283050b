//! Finds functions and their lengths in Rust source, well enough for a size check: strings and comments are skipped,
//! braces are matched.

/// One function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Lines from its signature to its closing brace.
    pub lines: usize,
}

/// The functions of a source file that have a body.
pub fn find(source: &str) -> Vec<Function> {
    let code = blank_out(source);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("fn ").map(|offset| from + offset) {
        from = at + 3;
        let starts_word = at == 0 || !is_word(code.as_bytes()[at - 1]);
        let name: String = code[from..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(length) = body_length(&code[at..]) {
            found.push(Function {
                name,
                lines: code[at..at + length].lines().count(),
            });
        }
    }
    found
}

/// Bytes from a signature's start to the end of its body; nothing for a declaration without one.
fn body_length(code: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'[' | b'(' => brackets += 1,
            b']' | b')' => brackets = brackets.saturating_sub(1),
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' if braces == 1 => return Some(at + 1),
            b'}' => braces = braces.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The source with the insides of comments, strings and character literals replaced by spaces; line breaks stay.
fn blank_out(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let skipped = literal_length(bytes, at);
        let end = at + skipped.max(1);
        for byte in &bytes[at..end.min(bytes.len())] {
            let keep = *byte == b'\n' || (skipped == 0 && byte.is_ascii());
            code.push(if keep { char::from(*byte) } else { ' ' });
        }
        at = end;
    }
    code
}

/// Length of the comment or literal that starts at `at`; zero when none does.
fn literal_length(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let until = |needle: &[u8], from: usize| {
        rest[from..]
            .windows(needle.len())
            .position(|window| window == needle)
            .map_or(rest.len(), |end| from + end)
    };
    match rest {
        [b'/', b'/', ..] => until(b"\n", 2),
        [b'/', b'*', ..] => (until(b"*/", 2) + 2).min(rest.len()),
        [b'"', ..] => quoted_length(rest, b'"'),
        [b'r', b'"' | b'#', ..] if at == 0 || !is_word(bytes[at - 1]) => raw_length(rest),
        [b'\'', b'\\', ..] => quoted_length(rest, b'\''),
        // A lifetime has no closing quote right after one character.
        [b'\'', _, b'\'', ..] => 3,
        _ => 0,
    }
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_length(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let body = 2 + hashes;
    rest[body..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(rest.len(), |found| body + found + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expect: &[(&str, usize)]) {
        let found: Vec<(String, usize)> = find(source)
            .into_iter()
            .map(|f| (f.name, f.lines))
            .collect();
        let expect: Vec<(String, usize)> = expect
            .iter()
            .map(|(name, lines)| ((*name).to_owned(), *lines))
            .collect();
        assert_eq!(found, expect, "{source}");
    }

    #[test]
    fn functions_are_measured() {
        check("fn a() {}\n", &[("a", 1)]);
        check(
            "pub async fn a<'x>(\n    b: &'x str,\n) -> u8 {\n    1\n}\n",
            &[("a", 5)],
        );
        check(
            "trait T {\n    fn a(&self);\n    fn b() {\n    }\n}\n",
            &[("b", 2)],
        );
        check(
            "fn a(x: [u8; 4]) {\n    let y = |z: fn(u8) -> u8| z(1);\n}\n",
            &[("a", 3)],
        );
    }

    #[test]
    fn braces_in_text_do_not_count() {
        check(
            "fn a() {\n    let _ = \"}}\\\"}\"; // }\n    let _ = '}';\n    let _ = r#\"}\"}\"#;\n}\n",
            &[("a", 5)],
        );
        check("/* fn no() {} */\nfn b() {\n}\n", &[("b", 2)]);
        check("// fn no() {}\nlet text = \"fn no() {}\";\n", &[]);
    }
}
