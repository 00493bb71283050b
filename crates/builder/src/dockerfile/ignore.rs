//! What of a source is not for the build.

use super::IGNORE;

/// The patterns of a `.dockerignore`, exceptions (`!`) among them.
///
/// # Errors
/// For character classes, which are not understood here: passing them over would put into the image what was meant to be kept out.
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
        let not_understood = || {
            format!("{IGNORE}: `{line}` is not understood here: character classes and `\\` are not")
        };
        match pattern.contains(['[', '\\']) {
            true => Some(Err(not_understood())),
            false if pattern.trim_matches('.').is_empty() => None,
            false => Some(Ok(format!("{mark}{pattern}"))),
        }
    });
    patterns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_files_are_patterns_and_exceptions() {
        let text = "# a comment\n./node_modules/\n**/*.pyc\n/\n!./src/\n! app.py\n!\n";
        let patterns = ignored(text).unwrap();
        assert_eq!(patterns, ["node_modules", "**/*.pyc", "!src", "!app.py"]);
        assert!(ignored("*\n!a[bc]\n").unwrap_err().contains("`!a[bc]`"));
    }
}
