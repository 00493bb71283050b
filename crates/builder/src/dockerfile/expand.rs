//! Instructions with their variables put in.

use super::mounts::{Mount, mount};
use super::words::{self, word};
use super::{Copy, Text};
use std::collections::BTreeMap;

/// The variables that an instruction sees: those of the image, and behind them those of the build.
pub struct Scope<'a> {
    /// `NAME=value`, as images have them.
    pub env: &'a [String],
    /// `ARG`s up to here.
    pub arguments: &'a BTreeMap<String, String>,
    /// The character that escapes.
    pub escape: char,
}

impl Scope<'_> {
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
        word(text, self.escape, &|name| self.value(name))
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
            true => words::text(&text.content, self.escape, &|name| self.value(name))?,
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
