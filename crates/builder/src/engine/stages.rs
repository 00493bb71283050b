//! Building a Dockerfile: every instruction that changes files runs in a sandbox on the image so far, and what it changed is
//! a layer, kept for the next build as long as nothing it follows from has changed.

use super::base::{BASE_TIME, Bases, short};
use super::keep::Keep;
use super::pipeline::{Changes, unpackable};
use super::sandbox::{Finished, Job, Sandbox, blocking, deadline, platform};
use super::script::TOOLS;
use super::state::{Bare, ROOT, State, owner_command};
use crate::BuildLog;
use crate::dockerfile::{self, Copy, Instruction, Stage};
use crate::plan::{Phase, Step};
use crate::request::{BuildRequest, Built};
use crate::runtime::runtime;
use crate::source::{SourceTree, digest_of};
use apron_domain::{Digest, Failure, FailureKind};
use apron_oci::{Layer, NewImage};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Where the source is while files are copied out of it.
const CONTEXT: &str = "/.apron-context";

/// Where files of another stage are.
const OUTSIDE: &str = "/.apron-out";

/// The runtime whose base image copies files where no stage has a shell.
const COPIES: &str = "python311";

/// What names of managed runtimes' base images begin with in a `FROM`: `apron/python311`. A machine without a registry has
/// those.
const MANAGED: &str = "apron/";

/// A build under way.
struct Work<'a> {
    sandbox: &'a Arc<Sandbox>,
    bases: &'a Arc<Bases>,
    keep: &'a Keep,
    request: &'a BuildRequest,
    tree: Arc<SourceTree>,
    context: Layer,
    deadline: Instant,
    log: &'a dyn BuildLog,
}

/// Builds the image of a Dockerfile.
pub async fn build(
    sandbox: &Arc<Sandbox>,
    bases: &Arc<Bases>,
    keep: &Keep,
    request: &BuildRequest,
    log: &dyn BuildLog,
) -> Result<Built, Failure> {
    let root = request.source.join(request.directory.trim_matches('/'));
    let mut tree = SourceTree::open(&root).map_err(|error| {
        refuse(format!(
            "the source directory `{}` cannot be opened: {error}",
            request.directory
        ))
    })?;
    let ignored = tree.read(dockerfile::IGNORE, dockerfile::BYTES_MAX);
    let ignored = ignored
        .map_err(|error| refuse(error.to_string()))?
        .unwrap_or_default();
    let ignored = dockerfile::ignored(&String::from_utf8_lossy(&ignored)).map_err(refuse)?;
    tree.leave_out(ignored);
    let text = tree.read(dockerfile::NAME, dockerfile::BYTES_MAX);
    let text = text.map_err(|error| refuse(error.to_string()))?;
    let text =
        text.ok_or_else(|| refuse("there is no Dockerfile in the source directory".to_owned()))?;
    let stages = dockerfile::parse(&String::from_utf8_lossy(&text)).map_err(refuse)?;
    let (content, limits, tree) = (
        sandbox.content.clone(),
        sandbox.options.limits,
        Arc::new(tree),
    );
    let to_pack = tree.clone();
    let context = blocking(move || to_pack.layer_at(&content, &limits, CONTEXT))
        .await?
        .map_err(unpackable)?;
    let work = Work {
        sandbox,
        bases,
        keep,
        request,
        tree,
        context: context.layer,
        deadline: deadline(sandbox.options.limits.time),
        log,
    };
    let mut done: Vec<State> = Vec::new();
    for stage in &stages {
        let state = work.stage(stage, &stages, &done).await?;
        done.push(state);
    }
    let last = done
        .pop()
        .ok_or_else(|| refuse("the Dockerfile has no stage".to_owned()))?;
    let mut image = last.image;
    image.annotations = work.annotations();
    let digest = sandbox.content.compose(&image).await.map_err(platform)?;
    log.line(&format!(
        "[AppRunner] Successfully built your application image {digest}."
    ));
    Ok(Built {
        image: Digest::parse(digest.as_str()).map_err(platform)?,
        start_command: None,
        port: port(&image.config.exposed),
        port_variable: None,
        environment: BTreeMap::new(),
        secrets: BTreeMap::new(),
    })
}

impl Work<'_> {
    async fn stage(
        &self,
        stage: &Stage,
        stages: &[Stage],
        done: &[State],
    ) -> Result<State, Failure> {
        let mut state = self.named(&stage.from, stages, done, None).await?;
        for instruction in &stage.instructions {
            match instruction {
                Instruction::Run { command, arguments } => {
                    self.run(&mut state, command, arguments).await?
                }
                Instruction::Copy(copy) => self.copy(&mut state, copy, stages, done).await?,
                other => configure(&mut state, other),
            }
        }
        Ok(state)
    }

    /// A former stage by its name or number, or an image. What has no shell is put together in the image of `asks` or of a
    /// former stage, or in one that is made here.
    async fn named(
        &self,
        name: &str,
        stages: &[Stage],
        done: &[State],
        asks: Option<&State>,
    ) -> Result<State, Failure> {
        let by_name = stages
            .iter()
            .position(|stage| stage.name.as_deref() == Some(name));
        let number = by_name.or_else(|| name.parse::<usize>().ok());
        if let Some(state) = number.and_then(|number| done.get(number)) {
            return Ok(state.clone());
        }
        let base = match name.strip_prefix(MANAGED).and_then(runtime) {
            _ if name == dockerfile::SCRATCH => None,
            Some(managed) => Some(self.bases.base(managed, None, self.log).await?),
            None => Some(self.bases.image(name, self.log).await?),
        };
        let mut state = State::of(base.as_ref());
        let has_shell = match &base {
            Some(base) => self.bases.has_shell(base).await?,
            None => false,
        };
        if !has_shell {
            let helper = asks.into_iter().chain(done).find(|it| it.bare.is_none());
            state.bare = Some(self.bare(&state.image, helper).await?);
        }
        Ok(state)
    }

    /// An image without a shell, inside one that has one.
    async fn bare(&self, image: &NewImage, helper: Option<&State>) -> Result<Bare, Failure> {
        let helper = match (helper, runtime(COPIES)) {
            (Some(state), _) => state.image.clone(),
            (None, Some(managed)) => self.bases.base(managed, None, self.log).await?.image,
            (None, None) => return Err(platform(format!("there is no runtime {COPIES}"))),
        };
        let (mut moved, mut left) = (Vec::new(), self.sandbox.options.limits.result_bytes);
        for layer in image.layers.iter().cloned() {
            let layer = self.moved(layer, "", ROOT, left).await?;
            left = left.saturating_sub(layer.size);
            moved.push(layer);
        }
        Ok(Bare { helper, moved })
    }

    async fn moved(
        &self,
        layer: Layer,
        from: &'static str,
        to: &'static str,
        bytes_max: u64,
    ) -> Result<Layer, Failure> {
        let content = self.sandbox.content.clone();
        let moved = blocking(move || content.layer_moved(&layer, from, to, bytes_max)).await?;
        moved.map_err(|error| Failure::new(FailureKind::ImageContent, error.to_string()))
    }

    async fn run(
        &self,
        state: &mut State,
        command: &str,
        arguments: &BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        if state.bare.is_some() {
            return Err(refuse(format!(
                "RUN {command}: the image has no shell; run it in a stage before and COPY what it made"
            )));
        }
        let words = format!("RUN {command} {arguments:?}");
        let step = Step::new(Phase::Run, command);
        self.apply(state, &words, step, arguments.clone(), &[])
            .await
    }

    async fn copy(
        &self,
        state: &mut State,
        copy: &Copy,
        stages: &[Stage],
        done: &[State],
    ) -> Result<(), Failure> {
        let (layer, root, content) = match &copy.from {
            None => {
                let roots = copy.sources.iter().map(|path| literal(path)).collect();
                let (tree, limits) = (self.tree.clone(), self.sandbox.options.limits);
                let content = blocking(move || tree.digest(&limits, roots))
                    .await?
                    .map_err(unpackable)?;
                (self.context.clone(), CONTEXT, content.to_string())
            }
            Some(name) => {
                let from = self.named(name, stages, done, Some(state)).await?;
                let key = from.key.clone();
                (self.taken(&from, copy).await?, OUTSIDE, key)
            }
        };
        let words = format!("COPY {copy:?} {content}");
        let command = copy_command(copy, root, &state.image.config.working_dir, state.root());
        let step = Step {
            title: Some(copy.text.clone()),
            ..Step::new(Phase::Copy, command)
        };
        let user = std::mem::take(&mut state.image.config.user);
        let applied = self
            .apply(state, &words, step, BTreeMap::new(), &[layer])
            .await;
        state.image.config.user = user;
        applied
    }

    /// Files of another image, under [`OUTSIDE`].
    async fn taken(&self, from: &State, copy: &Copy) -> Result<Layer, Failure> {
        let (root, sources) = (from.root(), &copy.sources);
        let mut command = format!("set -e; r={root}");
        for source in sources {
            let path = pattern(&format!("{root}/{}", source.trim_start_matches('/')));
            command.push_str(&format!(
                "; for s in {path}; do d=\"{OUTSIDE}$(dirname \"${{s#$r}}\")\"; mkdir -p \"$d\"; cp -a \"$s\" \"$d/\"; done"
            ));
        }
        let words = format!("taken {sources:?}");
        let mut from = State {
            image: from.sandbox(),
            key: from.key.clone(),
            bare: None,
        };
        from.image.config.user.clear();
        let before = from.image.layers.len();
        let step = Step {
            title: Some(format!("{}: taking the files", copy.text)),
            ..Step::new(Phase::Copy, command)
        };
        self.apply(&mut from, &words, step, BTreeMap::new(), &[])
            .await?;
        let nothing = || refuse(format!("COPY --from: there is nothing like {sources:?}"));
        from.image.layers.get(before).cloned().ok_or_else(nothing)
    }

    /// Runs a command on the image and puts what it changed on top, or takes that from a former build.
    async fn apply(
        &self,
        state: &mut State,
        words: &str,
        step: Step,
        env: BTreeMap<String, String>,
        below: &[Layer],
    ) -> Result<(), Failure> {
        let config = format!("{:?}", state.image.config);
        state.key =
            digest_of(&[state.key.as_bytes(), config.as_bytes(), words.as_bytes()]).to_string();
        let (service, key) = (&self.request.service, short(&state.key));
        if let Some(kept) = self.keep.result(service, &key).await? {
            let what = step.title.as_deref().unwrap_or(step.phase.key());
            self.log
                .line(&format!("[Build] {what} (kept from a former build)"));
            state.add(kept);
            return Ok(());
        }
        let mut image = state.sandbox();
        // Below everything of the image that could hide it: nothing in an image has these names.
        image.layers.extend(below.iter().cloned());
        let directory = match image.config.working_dir.clone() {
            none if none.is_empty() => "/".to_owned(),
            directory => directory,
        };
        let mut env = env;
        env.insert("SOURCE_DATE_EPOCH".to_owned(), BASE_TIME.to_string());
        let steps = [step];
        let job = Job {
            image,
            steps: &steps,
            directory: &directory,
            env,
            service,
            service_name: &self.request.service_name,
            deadline: self.deadline,
        };
        let finished: Finished = self.sandbox.run(job, self.log).await?;
        let below = match state.root() {
            "" => "/",
            root => root,
        };
        let rest = finished
            .changes(&[below], &[TOOLS, CONTEXT], BASE_TIME)
            .await?;
        let app = match (&rest, &state.bare) {
            (Some(moved), Some(_)) => Some(self.moved(moved.clone(), ROOT, "", u64::MAX).await?),
            _ => None,
        };
        let changes = Changes { app, rest };
        state.add(changes.clone());
        self.keep.keep_result(service, &key, &changes).await
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let origin = &self.request.origin;
        let annotations = [
            ("org.opencontainers.image.source", &origin.repository),
            ("org.opencontainers.image.revision", &origin.commit),
            ("io.apron.build.branch", &origin.branch),
            ("io.apron.build.directory", &self.request.directory),
        ];
        annotations
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    }
}

/// Instructions that change no files.
fn configure(state: &mut State, instruction: &Instruction) {
    let config = &mut state.image.config;
    match instruction {
        Instruction::Env(pairs) => {
            for (name, value) in pairs {
                let before = format!("{name}=");
                config.env.retain(|entry| !entry.starts_with(&before));
                config.env.push(format!("{name}={value}"));
            }
        }
        Instruction::Workdir(path) => config.working_dir = joined(&config.working_dir, path),
        Instruction::User(user) => config.user = user.clone(),
        Instruction::Expose(ports) => {
            let with_protocol = |port: &String| match port.contains('/') {
                true => port.clone(),
                false => format!("{port}/tcp"),
            };
            config.exposed.extend(ports.iter().map(with_protocol));
        }
        Instruction::Cmd(words) => config.cmd = words.clone(),
        Instruction::Entrypoint(words) => {
            config.entrypoint = words.clone();
            // The command of the base image was meant for its own entry point (Docker's reference, "ENTRYPOINT").
            config.cmd.clear();
        }
        Instruction::Label(pairs) => config.labels.extend(pairs.iter().cloned()),
        Instruction::StopSignal(signal) => config.stop_signal = Some(signal.clone()),
        Instruction::Run { .. } | Instruction::Copy(_) => {}
    }
}

/// The commands of a `COPY`, as root in the image: files into a directory, a file to a name, what is in a directory into
/// another.
fn copy_command(copy: &Copy, root: &str, working_dir: &str, target_root: &str) -> String {
    let target = format!("{target_root}{}", joined(working_dir, &copy.target));
    let several = copy.sources.len() > 1 || copy.sources[0].contains(['*', '?', '[']);
    let into = several || copy.target.ends_with('/') || matches!(copy.target.as_str(), "." | "./");
    let target = shlex::try_quote(&target)
        .map(|text| text.into_owned())
        .unwrap_or_default();
    let mut command = format!("set -e; t={target}");
    if into {
        command.push_str("; mkdir -p \"$t\"");
    }
    for source in &copy.sources {
        let source = source.trim_start_matches("./").trim_matches('/');
        let path = pattern(&format!(
            "{root}/{}",
            if source == "." { "" } else { source }
        ));
        command.push_str(&format!(
            "; for s in {path}; do [ -e \"$s\" ] || [ -L \"$s\" ] || {{ echo \"there is no {}\"; exit 1; }}; \
             if [ -d \"$s\" ]; then mkdir -p \"$t\"; cp -a \"$s/.\" \"$t/\"; d=\"$t\"; \
             elif [ -d \"$t\" ]; then cp -a \"$s\" \"$t/\"; d=\"$t/$(basename \"$s\")\"; \
             else mkdir -p \"$(dirname \"$t\")\"; cp -a \"$s\" \"$t\"; d=\"$t\"; fi",
            source.replace(['"', '$', '`', '\\'], "")
        ));
        if let Some(owner) = &copy.owner {
            command.push_str(&owner_command(owner, target_root));
        }
        let mode = copy
            .mode
            .as_ref()
            .and_then(|mode| shlex::try_quote(mode).ok());
        if let Some(mode) = mode {
            command.push_str(&format!("; chmod -R {mode} \"$d\""));
        }
        command.push_str("; done");
    }
    command
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

/// The part of a source's path before its first pattern, as a path in the source.
fn literal(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    match path.find(['*', '?', '[']) {
        Some(at) => path[..at]
            .rsplit_once('/')
            .map_or(String::new(), |(directory, _)| directory.to_owned()),
        None if path == "." => String::new(),
        None => path.to_owned(),
    }
}

fn joined(directory: &str, path: &str) -> String {
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{directory}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The port an image names, when it is one.
fn port(exposed: &[String]) -> Option<u16> {
    match exposed {
        [only] => only.trim_end_matches("/tcp").parse().ok(),
        _ => None,
    }
}

fn refuse(text: String) -> Failure {
    Failure::new(FailureKind::Build, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_patterns_kept_apart() {
        assert_eq!(joined("/app", "./x/../y/"), "/app/y");
        assert_eq!(joined("", "."), "/");
        assert_eq!(joined("/app", "/srv"), "/srv");
        assert_eq!(literal("./src/*.py"), "src");
        assert_eq!(literal("*.py"), "");
        assert_eq!(literal("."), "");
        assert_eq!(pattern("/a b/*.py"), r"/a\ b/*.py");
        assert_eq!(port(&["8000/tcp".to_owned()]), Some(8000));
    }
}
