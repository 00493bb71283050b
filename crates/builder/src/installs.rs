//! Commands that install dependencies, told apart from those that may do anything: what such a command does follows from
//! itself and some files, so its result is kept, and a change elsewhere in the source does not run it again. Pure.
//!
//! Whatever is not understood for certain is run each time.

use crate::plan::Step;
use std::collections::BTreeMap;

/// Largest file that a result is kept by, in bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files that decide what `npm`, `yarn` and `pnpm` install.
const NODE_FILES: &[&str] = &[
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    ".npmrc",
    ".yarnrc",
];

/// Files that decide what `bundle` installs.
const RUBY_FILES: &[&str] = &["Gemfile", "Gemfile.lock", ".ruby-version", ".bundle/config"];

/// Files that decide what `composer` installs.
const PHP_FILES: &[&str] = &["composer.json", "composer.lock"];

/// Files that decide what Go downloads.
const GO_FILES: &[&str] = &["go.mod", "go.sum"];

/// Scripts of a `package.json` that run at an installation and see the whole source.
const NODE_SCRIPTS: &[&str] = &[
    "preinstall",
    "install",
    "postinstall",
    "prepare",
    "prepublish",
];

/// How many of the first commands install dependencies, and the files that decide what they do.
pub fn prefix(
    steps: &[Step],
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> (usize, BTreeMap<String, Option<Vec<u8>>>) {
    let mut files = BTreeMap::new();
    let mut count = 0;
    for step in steps {
        let Some(names) = inputs(&step.command) else {
            break;
        };
        let contents: Vec<(String, Option<Vec<u8>>)> = names
            .into_iter()
            .map(|name| {
                let content = read(&name);
                (name, content)
            })
            .collect();
        if !contents
            .iter()
            .all(|(name, content)| is_closed(name, content.as_deref()))
        {
            break;
        }
        files.extend(contents);
        count += 1;
    }
    (count, files)
}

/// The files that decide what a command does, if it is one of those.
fn inputs(command: &str) -> Option<Vec<String>> {
    // Anything a shell would make something else of.
    if command.contains([
        '$', '&', '|', ';', '<', '>', '(', ')', '`', '*', '?', '\n', '~', '{', '#', '\\',
    ]) {
        return None;
    }
    let words = shlex::split(command)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let named = |files: &[&str]| Some(files.iter().map(|file| (*file).to_owned()).collect());
    match words.as_slice() {
        ["pip" | "pip3", "install", rest @ ..] => pip(rest),
        ["python" | "python3", "-m", "pip", "install", rest @ ..] => pip(rest),
        ["npm", "ci" | "install" | "i", rest @ ..] | ["yarn" | "pnpm", "install", rest @ ..] => {
            let plain = rest
                .iter()
                .all(|word| word.starts_with("--") && !word.contains('/'));
            if plain { named(NODE_FILES) } else { None }
        }
        ["bundle", "install"] => named(RUBY_FILES),
        ["composer", "install", rest @ ..]
            if rest
                .iter()
                .all(|word| word.starts_with("--no-") || *word == "--optimize-autoloader") =>
        {
            named(PHP_FILES)
        }
        ["go", "mod", "download"] => named(GO_FILES),
        ["apt-get" | "apt", rest @ ..] => rest
            .iter()
            .all(|word| {
                is_package_name(word)
                    || matches!(
                        *word,
                        "-y" | "-q" | "-qq" | "--no-install-recommends" | "--yes"
                    )
            })
            .then(Vec::new),
        _ => None,
    }
}

fn pip(words: &[&str]) -> Option<Vec<String>> {
    let mut files = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-r" | "--requirement" | "-c" | "--constraint" => {
                files.push((*words.next()?).to_owned())
            }
            "-q" | "-U" | "--quiet" | "--upgrade" | "--no-cache-dir" | "--no-deps" | "--pre"
            | "--user" => {}
            name if is_package_name(name) => {}
            _ => return None,
        }
    }
    files.iter().all(|file| is_inside(file)).then_some(files)
}

/// A name with an optional version, and nothing that could be a path.
fn is_package_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.chars().all(|c| {
            c.is_ascii_alphanumeric()
                || matches!(c, '-' | '_' | '.' | '=' | '[' | ']' | ',' | '!' | '+' | ':')
        })
}

fn is_inside(path: &str) -> bool {
    !path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether a file decides everything by itself: it sends to no other file of the source.
fn is_closed(name: &str, content: Option<&[u8]>) -> bool {
    let Some(content) = content else { return true };
    let Ok(text) = std::str::from_utf8(content) else {
        return false;
    };
    let file = name.rsplit('/').next().unwrap_or(name);
    match file {
        "package.json" => package_json_is_closed(text),
        "Gemfile" | "Gemfile.lock" => ![
            "path",
            "eval_gemfile",
            "gemspec",
            "File",
            "require",
            "instance_eval",
            "read",
        ]
        .iter()
        .any(|word| text.contains(word)),
        "composer.json" => !["\"path\"", "\"scripts\"", "\"autoload\""]
            .iter()
            .any(|word| text.contains(word)),
        "go.mod" => !text.lines().any(|line| line.contains("=>")),
        "package-lock.json" | "npm-shrinkwrap.json" | "yarn.lock" | "pnpm-lock.yaml" => {
            !text.contains("file:") && !text.contains("link:")
        }
        "composer.lock" | "go.sum" | ".npmrc" | ".yarnrc" | ".ruby-version" | "config" => true,
        _ => text.lines().all(requirement_is_closed),
    }
}

/// A line of a requirements file (pip's documentation, "Requirements File Format").
fn requirement_is_closed(line: &str) -> bool {
    let line = line.split(" #").next().unwrap_or(line).trim();
    if line.is_empty() || line.starts_with('#') || line.starts_with("--hash=") {
        return true;
    }
    let name = line.split(';').next().unwrap_or(line);
    let name = name
        .split(" --hash=")
        .next()
        .unwrap_or(name)
        .trim_end_matches('\\')
        .trim();
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !name.contains(['/', '@'])
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " -_.=<>!~[],*+".contains(c))
        && !name.ends_with(".whl")
        && !name.ends_with(".zip")
        && !name.ends_with(".gz")
}

fn package_json_is_closed(text: &str) -> bool {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
    let Ok(package) = parsed else { return false };
    let scripts = &package["scripts"];
    NODE_SCRIPTS.iter().all(|name| scripts[name].is_null())
        && package["workspaces"].is_null()
        && !text.contains("\"file:")
        && !text.contains("\"link:")
        && !text.contains("\"portal:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Phase;

    fn count(commands: &[&str], files: &[(&str, &str)]) -> usize {
        let steps: Vec<Step> = commands
            .iter()
            .map(|command| Step::new(Phase::Build, *command))
            .collect();
        let read = |name: &str| {
            let found = files.iter().find(|(known, _)| *known == name);
            found.map(|(_, content)| content.as_bytes().to_vec())
        };
        prefix(&steps, &read).0
    }

    #[test]
    fn only_commands_that_follow_from_known_files_are_kept() {
        let flask = [(
            "requirements.txt",
            "flask==3.1.2\n# a comment\nrequests>=2 ; python_version > '3'\n",
        )];
        for (command, kept) in [
            ("pip3 install -r requirements.txt", 1),
            (
                "python3 -m pip install --no-cache-dir flask==3.1.2 -r requirements.txt",
                1,
            ),
            ("pip install .", 0),
            ("pip install -e .", 0),
            ("pip install -t . flask", 0),
            ("pip install -r ../requirements.txt", 0),
            ("pip install ./dist/x.whl", 0),
            ("pip install $PACKAGES", 0),
            ("npm ci", 1),
            ("npm install --omit=dev", 1),
            ("npm run build", 0),
            ("npm install --prefix=/x", 0),
            ("apt-get install -y libpq5", 1),
            ("apt-get install -y ./local.deb", 0),
            ("make", 0),
        ] {
            assert_eq!(count(&[command], &flask), kept, "{command}");
        }
        let two = [
            "pip3 install -r requirements.txt",
            "python3 -m compileall .",
            "pip3 install flask",
        ];
        assert_eq!(count(&two, &flask), 1);
    }

    #[test]
    fn files_that_send_to_other_files_keep_nothing() {
        for line in [
            "-r other.txt",
            "-e .",
            "./local",
            "x @ file:///app/x",
            "git+https://host/x",
            "dist/x.whl",
            "x.tar.gz",
        ] {
            let files = [("requirements.txt", line)];
            assert_eq!(
                count(&["pip install -r requirements.txt"], &files),
                0,
                "{line}"
            );
        }
        for (package, kept) in [
            (
                r#"{"dependencies":{"express":"^5"},"scripts":{"start":"node ."}}"#,
                1,
            ),
            (r#"{"dependencies":{"x":"file:../x"}}"#, 0),
            (r#"{"scripts":{"postinstall":"node generate.js"}}"#, 0),
            (r#"{"workspaces":["packages/*"]}"#, 0),
            ("not json", 0),
        ] {
            assert_eq!(
                count(&["npm ci"], &[("package.json", package)]),
                kept,
                "{package}"
            );
        }
    }
}
