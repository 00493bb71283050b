//! `COPY` and `ADD` of a Dockerfile.

use super::configure::joined;
use super::pipeline::unpackable;
use super::sandbox::{blocking, platform};
use super::stages::{CONTEXT, Doing, OUTSIDE, Work, refuse};
use super::state::{State, owner_command};
use super::tools;
use crate::dockerfile::{Copy, Text, is_address, quoted};
use crate::plan::{Phase, Step};
use apron_domain::Failure;
use apron_oci::{ContentStore, Layer, OciError};

/// What copies, in the language of every shell: what is there already stays what it is, directories with their owners and
/// modes and links to directories among it, and files are replaced and not written through.
const FUNCTIONS: &str = include_str!("copy.sh");

/// Where what is to be copied lies while it is.
#[derive(Default)]
pub struct Sources {
    /// Layers with it.
    pub layers: Vec<Layer>,
    /// The paths, patterns among them, for a shell.
    pub paths: Vec<String>,
    /// What people call each, and whether it is an archive, whose root is an entry of its own.
    pub names: Vec<(String, bool)>,
    /// What the result follows from.
    pub content: String,
}

impl Sources {
    fn add(&mut self, path: String, name: &str) {
        self.paths.push(path);
        self.names.push((name.to_owned(), false));
    }
}

impl Work<'_> {
    /// Copies. `text` is the instruction as it stands in the file.
    pub async fn copy(
        &self,
        state: &mut State,
        text: &str,
        copy: &Copy,
        done: &[State],
    ) -> Result<(), Failure> {
        let mut sources = Sources::default();
        match &copy.from {
            Some(name) => {
                let from = self.named(name, done, Some(state)).await?;
                sources.content = from.key.clone();
                let taken = self.taken(&from, text, &copy.sources).await?;
                sources.layers.extend(taken);
                for source in &copy.sources {
                    let path = pattern(&format!("{OUTSIDE}/{}", source.trim_start_matches('/')));
                    sources.add(path, source);
                }
            }
            None => self.of_source(&mut sources, text, copy).await?,
        }
        if !copy.texts.is_empty() {
            let (content, texts) = (self.sandbox.content.clone(), copy.texts.clone());
            let layer = blocking(move || of_texts(&content, &texts)).await?;
            sources.layers.push(layer.map_err(platform)?);
            for (number, text) in copy.texts.iter().enumerate() {
                sources.add(
                    format!("{OUTSIDE}/texts/{number}/{}", text.name),
                    &text.name,
                );
            }
        }
        let words = format!("COPY {copy:?} {}", sources.content);
        let working_dir = &state.image.config.working_dir;
        let command = command(copy, &sources, working_dir, state.root());
        let phase = match copy.is_add {
            true => Phase::Add,
            false => Phase::Copy,
        };
        let mut step = Step::new(phase, command);
        step.title = Some(text.lines().next().unwrap_or_default().to_owned());
        let mut doing = Doing::new(words, step);
        doing.over = sources.layers;
        let user = std::mem::take(&mut state.image.config.user);
        let applied = self.apply(state, doing).await;
        state.image.config.user = user;
        applied
    }

    /// Files of the source; with `ADD` also addresses and archives.
    async fn of_source(
        &self,
        sources: &mut Sources,
        text: &str,
        copy: &Copy,
    ) -> Result<(), Failure> {
        let mut of_tree = Vec::new();
        for (number, source) in copy.sources.iter().enumerate() {
            if copy.is_add && is_address(source) {
                let (layer, path) = self.fetched(text, copy, source, number).await?;
                sources.content.push_str(layer.diff_id.as_str());
                sources.layers.push(layer);
                sources.add(path, source);
            } else if copy.is_add && is_archive(source) {
                let (layer, path) = self.unpacked(text, source, number).await?;
                sources.content.push_str(layer.diff_id.as_str());
                sources.layers.push(layer);
                sources.paths.push(path);
                sources.names.push((source.clone(), true));
            } else {
                of_tree.push(literal(source));
                let below = relative(source);
                sources.add(pattern(&format!("{CONTEXT}/{below}")), source);
            }
        }
        if !of_tree.is_empty() {
            let content = self.digest(of_tree).await?;
            sources.content.push_str(&content);
            sources.layers.push(self.context.clone());
        }
        Ok(())
    }

    /// A digest of parts of the source.
    pub async fn digest(&self, below: Vec<String>) -> Result<String, Failure> {
        let (tree, limits) = (self.tree.clone(), self.sandbox.options.limits);
        let digest = blocking(move || tree.digest(&limits, below)).await?;
        Ok(digest.map_err(unpackable)?.to_string())
    }

    /// Files of another image, under [`OUTSIDE`].
    pub async fn taken(
        &self,
        from: &State,
        text: &str,
        sources: &[String],
    ) -> Result<Vec<Layer>, Failure> {
        if sources.iter().any(|source| relative(source).is_empty()) {
            return self.all_moved(&from.image, OUTSIDE).await;
        }
        let root = from.root();
        let mut command = format!("set -e; r={root}");
        for source in sources {
            let path = pattern(&format!("{root}/{}", source.trim_start_matches('/')));
            command.push_str(&format!(
                "; for s in {path}; do s=${{s%/}}; d=\"{OUTSIDE}$(dirname \"${{s#$r}}\")\"; mkdir -p \"$d\"; cp -aH \"$s\" \"$d/\"; done"
            ));
        }
        let mut from = State {
            image: from.sandbox(),
            key: from.key.clone(),
            bare: None,
            has_command: false,
        };
        from.image.config.user.clear();
        let before = from.image.layers.len();
        let mut step = Step::new(Phase::Copy, command);
        step.title = Some(format!("{text}: taking the files"));
        let mut doing = Doing::new(format!("taken {sources:?}"), step);
        doing.without.retain(|path| path != OUTSIDE);
        self.apply(&mut from, doing).await?;
        let nothing = || refuse(format!("{text}: there is nothing like {sources:?}"));
        let layer = from.image.layers.get(before).cloned();
        Ok(vec![layer.ok_or_else(nothing)?])
    }
}

/// A layer with the files whose content follows an instruction.
fn of_texts(store: &ContentStore, texts: &[Text]) -> Result<Layer, OciError> {
    tools::small_layer(store, "write the files of a Dockerfile", |archive| {
        texts.iter().enumerate().try_for_each(|(number, text)| {
            let path = format!("{OUTSIDE}/texts/{number}/{}", text.name);
            let path = path.trim_start_matches('/');
            tools::file(archive, path, text.content.as_bytes())
        })
    })
}

/// The commands of a copy, as root in the image.
fn command(copy: &Copy, sources: &Sources, working_dir: &str, root: &str) -> String {
    let target = joined(working_dir, &copy.target);
    let several = sources.paths.len() > 1 || sources.paths.iter().any(|path| is_pattern(path));
    let is_directory =
        several || copy.target.ends_with('/') || matches!(copy.target.as_str(), "." | "./" | "..");
    let owner = match &copy.owner {
        Some(owner) => owner_command(owner, root),
        None => "o=".to_owned(),
    };
    let mut command = format!(
        "set -e\n{FUNCTIONS}\nm={}\ni={}\nroot={root}\n{owner}\nt={}\n",
        quoted(copy.mode.as_deref().unwrap_or_default()),
        if is_directory { "1" } else { "" },
        quoted(&format!("{root}{target}"))
    );
    if !root.is_empty() {
        // Links of the image lead to places in the image, and not to those of what it is put together in.
        command.push_str("t=$(inside \"$t\")\n");
    }
    for (path, (name, is_archive)) in sources.paths.iter().zip(&sources.names) {
        command.push_str(&format!(
            "for s in {path}; do copy \"$s\" \"$t\" {} {}; done\n",
            quoted(name),
            if *is_archive { "1" } else { "''" }
        ));
    }
    command
}

fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// A path for a shell that expands patterns in it and nothing else.
fn pattern(path: &str) -> String {
    let mut text = String::new();
    for character in path.chars() {
        let plain = character.is_alphanumeric() || "/._-*?[]".contains(character);
        if !plain {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// A source's path in the source; the source itself is nothing.
pub fn relative(path: &str) -> &str {
    let path = path.trim_matches('/');
    match path.trim_start_matches("./") {
        "." => "",
        path => path,
    }
}

/// The part of a source's path before its first pattern.
fn literal(path: &str) -> String {
    let path = relative(path);
    match path.find(['*', '?', '[']) {
        Some(at) => path[..at]
            .rsplit_once('/')
            .map_or(String::new(), |(directory, _)| directory.to_owned()),
        None => path.to_owned(),
    }
}

/// Whether a file's name is that of an archive that Python knows.
fn is_archive(path: &str) -> bool {
    let name = path.to_lowercase();
    let ends = [
        ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz",
    ];
    !is_pattern(path) && ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::process::Command;

    #[test]
    fn patterns_are_kept_apart() {
        assert_eq!(literal("./src/*.py"), "src");
        assert_eq!(literal("*.py"), "");
        assert_eq!(literal("."), "");
        assert_eq!(pattern("/a b/*.py"), r"/a\ b/*.py");
        assert!(is_archive("a/b.tar.gz") && !is_archive("*.tar") && !is_archive("a.zip"));
    }

    fn run(source: &str, target: &str, root: &str) -> (bool, String) {
        let script = format!(
            "exec 2>&1\nset -e\n{FUNCTIONS}\no=\nm=\ni=\nroot={root}\nt='{target}'\n[ -z \"$root\" ] || t=$(inside \"$t\")\n\
             for s in {source}; do copy \"$s\" \"$t\" name; done"
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    }

    #[test]
    fn what_is_there_stays_what_it_is() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["from/bin", "from/kept/new", "to/usr/bin", "to/kept"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in ["from/bin/tool", "from/kept/new/x", "from/.hidden", "to/old"] {
            fs::write(at(file), "text").unwrap();
        }
        symlink("usr/bin", at("to/bin")).unwrap();
        symlink("old", at("to/.hidden")).unwrap();
        fs::write(at("to/old"), "old").unwrap();
        fs::set_permissions(at("to/kept"), fs::Permissions::from_mode(0o1777)).unwrap();
        let (from, to) = (at("from"), at("to"));
        let (well, said) = run(from.to_str().unwrap(), to.to_str().unwrap(), "");
        assert!(well, "{said}");
        assert!(at("to/bin").is_symlink() && at("to/usr/bin/tool").is_file());
        assert_eq!(fs::metadata(at("to/kept")).unwrap().mode() & 0o7777, 0o1777);
        assert!(at("to/kept/new/x").is_file());
        assert!(!at("to/.hidden").is_symlink());
        assert_eq!(fs::read_to_string(at("to/old")).unwrap(), "old");
        fs::write(at("from/kept2"), "").unwrap();
        fs::create_dir(at("to/kept2")).unwrap();
        let (well, said) = run(from.to_str().unwrap(), to.to_str().unwrap(), "");
        assert!(!well && said.contains("kept2 is a directory"), "{said}");
        let (well, said) = run(at("none").to_str().unwrap(), to.to_str().unwrap(), "");
        assert!(!well && said.contains("there is no name"), "{said}");
    }

    #[test]
    fn links_of_an_image_stay_in_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["from/var/run/a", "to/run", "to/var", "to/usr"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("from/var/run/a/x"), "x").unwrap();
        for (target, link) in [
            ("/run", "to/var/run"),
            ("../../../run", "to/usr/up"),
            ("loop", "to/loop"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let (from, to) = (at("from"), at("to"));
        let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
        let (well, said) = run(from, to, to);
        assert!(well && at("to/run/a/x").is_file(), "{said}");
        let (well, said) = run(
            &format!("{from}/var/run/a/x"),
            &format!("{to}/usr/up/y"),
            to,
        );
        assert!(well && at("to/run/y").is_file(), "{said}");
        let (well, said) = run(from, &format!("{to}/loop/x"), to);
        assert!(!well && said.contains("links without end"), "{said}");
        assert!(at("to/var/run").is_symlink());
    }
}
