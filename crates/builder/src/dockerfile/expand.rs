//! Instructions with their variables put in.

use super::mounts::{Mount, mount};
use super::words::{self, word};
use super::{Copy, Text};
use std::cell::Cell;
use std::collections::BTreeMap;

/// Most bytes of an instruction with its variables put in.
const INSTRUCTION_BYTES_MAX: usize = 1 << 20;

/// Most bytes of an image's variables, of its labels and of a build's arguments, each together: the kernel takes some more, and
/// variables of variables grow without end.
const VARIABLES_BYTES_MAX: usize = 256 << 10;

/// The variables that an instruction sees: those of the image, and behind them those of the build.
pub struct Scope<'a> {
    env: &'a [String],
    arguments: &'a BTreeMap<String, String>,
    escape: char,
    /// How many bytes its words have so far.
    bytes: Cell<usize>,
}

/// Whether variables, labels or arguments are as many as an image may have.
///
/// # Errors
/// When they are not.
pub fn within_bounds<'t>(texts: impl Iterator<Item = &'t str>) -> Result<(), String> {
    match texts.map(str::len).sum::<usize>() > VARIABLES_BYTES_MAX {
        true => Err(format!(
            "together they have more than {VARIABLES_BYTES_MAX} bytes"
        )),
        false => Ok(()),
    }
}

impl<'a> Scope<'a> {
    /// Of one instruction. `env` is `NAME=value`, as images have it; `arguments` are the `ARG`s up to here.
    pub fn new(
        env: &'a [String],
        arguments: &'a BTreeMap<String, String>,
        escape: char,
    ) -> Scope<'a> {
        Scope {
            env,
            arguments,
            escape,
            bytes: Cell::new(0),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        let of_image = self.env.iter().rev().find_map(|entry| {
            let (known, value) = entry.split_once('=')?;
            (known == name).then(|| value.to_owned())
        });
        of_image.or_else(|| self.arguments.get(name).cloned())
    }

    /// The variables of the build that those of the image do not hide.
    pub fn unset_arguments(&self) -> BTreeMap<String, String> {
        let is_hidden = |name: &str| {
            let mut names = self.env.iter().filter_map(|entry| entry.split_once('='));
            names.any(|(known, _)| known == name)
        };
        let arguments = self.arguments.iter().filter(|(name, _)| !is_hidden(name));
        arguments.map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// A word without its quotes.
    ///
    /// # Errors
    /// With what is wrong in it.
    pub fn word(&self, text: &str) -> Result<String, String> {
        self.counted(word(text, self.escape, &|name| self.value(name))?)
    }

    fn counted(&self, word: String) -> Result<String, String> {
        self.bytes.set(self.bytes.get() + word.len());
        match self.bytes.get() > INSTRUCTION_BYTES_MAX {
            true => Err(format!(
                "with its variables it has more than {INSTRUCTION_BYTES_MAX} bytes"
            )),
            false => Ok(word),
        }
    }

    /// Several words.
    ///
    /// # Errors
    /// With what is wrong in one.
    pub fn words(&self, texts: &[String]) -> Result<Vec<String>, String> {
        texts.iter().map(|text| self.word(text)).collect()
    }

    /// Names and values. All see what was there before any of them (Docker's reference, "Environment replacement").
    ///
    /// # Errors
    /// With what is wrong in one.
    pub fn pairs(&self, list: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
        let pair = |(name, value): &(String, String)| Ok((self.word(name)?, self.word(value)?));
        list.iter().map(pair).collect()
    }

    /// What a command has besides its image.
    ///
    /// # Errors
    /// With what is wrong in one.
    pub fn mounts(&self, texts: &[String]) -> Result<Vec<Mount>, String> {
        let read = |text: &String| mount(&self.word(text)?);
        texts.iter().map(read).collect()
    }

    /// A copy.
    ///
    /// # Errors
    /// With what is wrong in it.
    pub fn copy(&self, copy: &Copy) -> Result<Copy, String> {
        let optional =
            |text: &Option<String>| text.as_ref().map(|text| self.word(text)).transpose();
        let filled = Copy {
            is_add: copy.is_add,
            from: optional(&copy.from)?,
            sources: self.words(&copy.sources)?,
            texts: copy
                .texts
                .iter()
                .map(|text| self.text(text))
                .collect::<Result<_, _>>()?,
            target: self.word(&copy.target)?,
            owner: optional(&copy.owner)?,
            mode: optional(&copy.mode)?,
            checksum: optional(&copy.checksum)?,
        };
        let climbs = |path: &&String| !is_address(path) && path.split('/').any(|it| it == "..");
        match filled.sources.iter().find(climbs) {
            Some(path) => Err(format!("`{path}` leads out of the source")),
            None => Ok(filled),
        }
    }

    fn text(&self, text: &Text) -> Result<Text, String> {
        let content = match text.expands {
            true => {
                let filled = words::text(&text.content, self.escape, &|name| self.value(name));
                self.counted(filled?)?
            }
            false => text.content.clone(),
        };
        Ok(Text {
            content,
            ..text.clone()
        })
    }
}

/// Whether a source is not one of files.
pub fn is_address(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@")
}
