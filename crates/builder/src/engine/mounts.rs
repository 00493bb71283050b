//! `RUN` of a Dockerfile, and what a command has besides its image.
//!
//! There are no mounts: what a command is given are layers below its image, which its changes do not contain. A directory of
//! the image therefore keeps its owner and its mode, and a file that the image has is not hidden by one of these.

use super::base::BASE_TIME;
use super::configure::{joined, shell_of};
use super::copy::relative;
use super::keep::Keep;
use super::sandbox::{Finished, blocking, platform};
use super::stages::{CONTEXT, Doing, OUTSIDE, Work, refuse};
use super::state::State;
use super::tools;
use crate::dockerfile::{Bind, Form, Mount, Run, Secret, quoted};
use crate::plan::{Phase, Step};
use apron_domain::Failure;
use apron_oci::{ContentStore, Layer, OciError};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Where secrets are while a command runs: in memory.
const SECRETS: &str = "/dev/shm/.apron-secrets";

/// What the variables begin with that bring secrets into a sandbox.
const VARIABLE: &str = "APRON_SECRET_";

/// Largest secret, in bytes: it travels as a variable.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// What a command has besides its image.
#[derive(Clone, Debug, Default)]
pub struct Mounted {
    /// Layers below the image, lowest first.
    pub layers: Vec<Layer>,
    /// Secrets.
    pub env: BTreeMap<String, String>,
    /// Directories that are kept for the next build: their keys and where they are.
    pub caches: Vec<(String, String)>,
}

/// Something that is in the lowest layer of a command: a directory with its mode, user and group, or a link and what it names.
enum Entry {
    Directory(String, (u32, u64, u64)),
    Link(String, String),
}

impl Work<'_> {
    /// Runs a command that sees these arguments.
    pub async fn run(
        &self,
        state: &mut State,
        run: &Run,
        mounts: &[Mount],
        arguments: BTreeMap<String, String>,
        done: &[State],
    ) -> Result<(), Failure> {
        let said = said(run);
        if state.bare.is_some() {
            // One may have been copied into it.
            let layers = &state.image.layers;
            if self.bases.have_shell(layers, "that is built").await? {
                state.bare = None;
            }
        }
        if state.bare.is_some() {
            return Err(refuse(format!(
                "RUN {said}: the image has no shell; run it in a stage before and COPY what it made"
            )));
        }
        let shell = shell_of(&state.image.config.shell);
        let words = format!("RUN {run:?} {arguments:?}");
        let mut doing = Doing::new(words, Step::new(Phase::Run, command(run, &shell)));
        doing.env = arguments;
        let mut entries = Vec::new();
        for (number, mount) in mounts.iter().enumerate() {
            match mount {
                Mount::Bind(bind) => self.bind(&mut doing, bind, state, done).await?,
                Mount::Cache {
                    id,
                    target,
                    mode,
                    uid,
                    gid,
                } => {
                    let target = joined(&state.image.config.working_dir, target);
                    let key = Keep::cache_key(&self.request.service, id);
                    doing.mounted.layers.extend(self.keep.cache(&key).await?);
                    doing.mounted.caches.push((key, target.clone()));
                    doing.without.push(target.clone());
                    entries.push(Entry::Directory(target, (*mode, *uid, *gid)));
                }
                Mount::Tmpfs { target } => {
                    let target = joined(&state.image.config.working_dir, target);
                    doing.without.push(target.clone());
                    entries.push(Entry::Directory(target, (0o1777, 0, 0)));
                }
                Mount::Secret(secret) => {
                    if let Some(value) = self.secret(secret, &said).await? {
                        let directory = &state.image.config.working_dir;
                        entries.extend(given(&mut doing, number, secret, value, directory));
                    }
                }
            }
        }
        if !entries.is_empty() {
            let content = self.sandbox.content.clone();
            let layer = blocking(move || lowest(&content, &entries)).await?;
            doing.mounted.layers.insert(0, layer.map_err(platform)?);
        }
        doing.step.said = Some(said);
        self.apply(state, doing).await
    }

    /// Has files of the source, of a stage or of an image at a place of their own.
    async fn bind(
        &self,
        doing: &mut Doing,
        bind: &Bind,
        state: &State,
        done: &[State],
    ) -> Result<(), Failure> {
        let source = relative(&bind.source);
        if source.split('/').any(|part| part == "..") {
            let text = format!("RUN --mount: `{source}` leads out of the source");
            return Err(refuse(text));
        }
        let (layers, content, at) = match &bind.from {
            Some(name) => {
                let from = self.named(name, done, Some(state)).await?;
                let text = format!("RUN --mount=from={name}");
                let layers = self.taken(&from, &text, &[format!("/{source}")]).await?;
                (layers, from.key, OUTSIDE)
            }
            None if !source.is_empty() && !self.tree.has(source) => {
                return Err(refuse(format!("RUN --mount: there is no {source}")));
            }
            None => {
                let content = self.digest(vec![source.to_owned()]).await?;
                (vec![self.context.clone()], content, CONTEXT)
            }
        };
        let target = joined(&state.image.config.working_dir, &bind.target);
        let bytes_max = self.sandbox.options.limits.result_bytes;
        let at = format!("{at}/{source}");
        for layer in layers {
            let layer = self.moved(layer, &at, &target, bytes_max).await?;
            doing.mounted.layers.push(layer);
        }
        doing.words.push_str(&content);
        doing.without.push(target);
        Ok(())
    }

    async fn secret(&self, secret: &Secret, said: &str) -> Result<Option<String>, Failure> {
        let id = &secret.id;
        let value = self.supplies.secret(id).await.map_err(|failure| {
            let message = format!("RUN {said}: the secret {id}: {}", failure.message);
            Failure { message, ..failure }
        })?;
        let value = value.or_else(|| self.sandbox.options.environment.get(id).cloned());
        match value {
            Some(value) if value.len() > SECRET_BYTES_MAX => Err(refuse(format!(
                "RUN {said}: the secret {id} has more than {SECRET_BYTES_MAX} bytes"
            ))),
            None if secret.is_required => Err(refuse(format!(
                "RUN {said}: the service has no secret {id}; name it in RuntimeEnvironmentSecrets"
            ))),
            value => Ok(value),
        }
    }

    /// Keeps what a command left in its caches.
    pub async fn keep_caches(&self, finished: &Finished, mounted: &Mounted) -> Result<(), Failure> {
        for (key, target) in &mounted.caches {
            let changes = finished.changes(&[target], &[], BASE_TIME).await?;
            if let Some(layer) = changes {
                let mut layers = self.keep.cache(key).await?;
                layers.push(layer);
                self.keep.keep_cache(key, layers).await?;
            }
        }
        Ok(())
    }
}

/// Gives a command a secret: as a variable, and where a link from its file leads to. The link is what is answered.
fn given(
    doing: &mut Doing,
    number: usize,
    secret: &Secret,
    value: String,
    directory: &str,
) -> Option<Entry> {
    let env = &mut doing.mounted.env;
    if let Some(variable) = &secret.variable {
        env.insert(variable.clone(), value.clone());
    }
    let target = joined(directory, secret.target.as_deref()?);
    let (file, variable) = (format!("{SECRETS}/{number}"), format!("{VARIABLE}{number}"));
    env.insert(variable.clone(), value);
    doing.step.command = format!(
        "mkdir -p -m 0700 {SECRETS} && printf %s \"${variable}\" > {file} && chmod {} {file} || exit 1\nunset {variable}\n{}",
        secret.mode, doing.step.command
    );
    doing.without.push(target.clone());
    Some(Entry::Link(target, file))
}

/// The layer with directories and links that a command finds.
fn lowest(store: &ContentStore, entries: &[Entry]) -> Result<Layer, OciError> {
    tools::small_layer(store, "write what a command finds", |archive| {
        entries.iter().try_for_each(|entry| put(archive, entry))
    })
}

fn put(archive: &mut tar::Builder<impl Write>, entry: &Entry) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mtime(0);
    match entry {
        Entry::Directory(path, (mode, uid, gid)) => {
            header.set_mode(*mode);
            header.set_uid(*uid);
            header.set_gid(*gid);
            header.set_entry_type(tar::EntryType::Directory);
            let path = format!("{}/", path.trim_matches('/'));
            archive.append_data(&mut header, path, io::empty())
        }
        Entry::Link(path, target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, path.trim_matches('/'), target)
        }
    }
}

/// What people are shown of a command.
fn said(run: &Run) -> String {
    match &run.command {
        Form::Shell(text) => text.clone(),
        Form::Exec(words) => words.join(" "),
    }
}

fn command(run: &Run, shell: &[String]) -> String {
    let line = |words: &[String]| {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        format!("exec {}", words.join(" "))
    };
    match (&run.program, &run.command) {
        (Some(text), _) => format!(
            "t=$(mktemp) && printf %s {} > \"$t\" && chmod 700 \"$t\" && \"$t\"; c=$?; rm -f \"$t\"; exit $c",
            quoted(text)
        ),
        (None, Form::Exec(words)) => line(words),
        (None, Form::Shell(text)) => {
            let mut words = shell.to_vec();
            words.push(text.clone());
            line(&words)
        }
    }
}
