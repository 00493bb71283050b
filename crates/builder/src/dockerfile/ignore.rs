//! What of a source is not for the build.

use super::IGNORE;

/// The patterns of a `.dockerignore`, exceptions (`!`) among them.
///
/// # Errors
/// For a class of characters without an end: passing it over would put into the image what was meant to be kept out.
pub fn ignored(text: &str) -> Result<Vec<String>, String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let patterns = lines.filter_map(|line| {
        let (mark, pattern) = match line.strip_prefix('!') {
            Some(pattern) => ("!", pattern.trim_start()),
            None => ("", line),
        };
        let pattern = pattern.trim_start_matches("./").trim_matches('/');
        match pattern.trim_matches('.').is_empty() {
            _ if !is_whole(pattern) => Some(Err(format!("{IGNORE}: in `{line}` a `[` has no end"))),
            true => None,
            false => Some(Ok(format!("{mark}{pattern}"))),
        }
    });
    patterns.collect()
}

/// Whether every class in a pattern has an end, in the name that it is in.
fn is_whole(pattern: &str) -> bool {
    let mut names = pattern.split('/');
    names.all(|name| {
        let mut rest = name;
        while let Some(at) = rest.find(['[', '\\']) {
            let skipped = match rest.as_bytes()[at] {
                b'\\' => rest[at + 1..].chars().next().map(char::len_utf8),
                // A bracket that closes at once is a member.
                _ => {
                    let mut class = rest.bytes().skip(at + 2);
                    class.position(|byte| byte == b']').map(|end| end + 2)
                }
            };
            match skipped.and_then(|length| rest.get(at + 1 + length..)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_files_are_patterns_and_exceptions() {
        let text = "# a comment\n./node_modules/\n**/*.pyc\n/\n!./src/\n! app.py\n!\n";
        let patterns = ignored(text).unwrap();
        assert_eq!(patterns, ["node_modules", "**/*.pyc", "!src", "!app.py"]);
        assert_eq!(ignored("*.py[cod]\n!a[]b]\\[é]\n").unwrap().len(), 2);
        for text in ["*\n!a[bc\n", "a[b/c]", "a["] {
            let error = ignored(text).expect_err(text);
            assert!(error.contains("a `[` has no end"), "{error}");
        }
    }
}
