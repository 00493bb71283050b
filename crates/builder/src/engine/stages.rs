//! Building a Dockerfile: every instruction that changes files runs in a sandbox on the image so far, and what it changed is
//! a layer, kept for the next build as long as nothing it follows from has changed.

use super::base::{BASE_TIME, Bases, short};
use super::configure::{configure, declared, port};
use super::keep::Keep;
use super::mounts::Mounted;
use super::pipeline::{Changes, unpackable};
use super::sandbox::{Finished, Job, Sandbox, blocking, deadline, platform};
use super::script::TOOLS;
use super::state::{Bare, ROOT, State};
use crate::dockerfile::{self, Action, Dockerfile, Instruction, NAME, Scope, Stage, within_bounds};
use crate::plan::Step;
use crate::request::{BuildRequest, Built};
use crate::runtime::runtime;
use crate::source::{SourceTree, digest_of};
use crate::{BuildLog, Supplies};
use apron_domain::{Digest, Failure, FailureKind};
use apron_oci::{Layer, NewImage};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Where the source is while files are copied out of it.
pub const CONTEXT: &str = "/.apron-context";

/// Where files from elsewhere are: of another stage, of an address, of an archive, of the Dockerfile itself.
pub const OUTSIDE: &str = "/.apron-out";

/// The runtime whose base image copies files where no stage has a shell, and fetches and unpacks what `ADD` names.
const COPIES: &str = "python311";

/// What names of managed runtimes' base images begin with in a `FROM`: `apron/python311`. A machine without a registry has
/// those.
const MANAGED: &str = "apron/";

/// A build under way.
pub struct Work<'a> {
    pub sandbox: &'a Arc<Sandbox>,
    pub keep: &'a Keep,
    pub request: &'a BuildRequest,
    pub supplies: &'a dyn Supplies,
    pub tree: Arc<SourceTree>,
    /// The source, under [`CONTEXT`].
    pub context: Layer,
    pub bases: &'a Arc<Bases>,
    file: &'a Dockerfile,
    deadline: Instant,
    log: &'a dyn BuildLog,
}

/// What is done on an image.
pub struct Doing {
    /// What the result follows from, besides the image.
    pub words: String,
    /// The command.
    pub step: Step,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Layers on top of the image, under names that nothing in an image has.
    pub over: Vec<Layer>,
    /// What a command has besides its image.
    pub mounted: Mounted,
    /// What of its changes is no part of the result.
    pub without: Vec<String>,
}

impl Doing {
    /// A command.
    pub fn new(words: String, step: Step) -> Doing {
        Doing {
            words,
            step,
            env: BTreeMap::new(),
            over: Vec::new(),
            mounted: Mounted::default(),
            without: [TOOLS, CONTEXT, OUTSIDE].map(str::to_owned).into(),
        }
    }
}

/// Builds the image of a Dockerfile.
pub async fn build(
    sandbox: &Arc<Sandbox>,
    bases: &Arc<Bases>,
    keep: &Keep,
    request: &BuildRequest,
    supplies: &dyn Supplies,
    log: &dyn BuildLog,
) -> Result<Built, Failure> {
    let (tree, file) = read(request)?;
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
        keep,
        request,
        supplies,
        tree,
        context: context.layer,
        bases,
        file: &file,
        deadline: deadline(sandbox.options.limits.time),
        log,
    };
    let mut done: Vec<State> = Vec::new();
    for stage in &file.stages {
        let state = work.stage(stage, &done).await?;
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

/// The source without what it leaves out, and its Dockerfile.
fn read(request: &BuildRequest) -> Result<(SourceTree, Dockerfile), Failure> {
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
    let text = tree.read(NAME, dockerfile::BYTES_MAX);
    let text = text.map_err(|error| refuse(error.to_string()))?;
    let text =
        text.ok_or_else(|| refuse("there is no Dockerfile in the source directory".to_owned()))?;
    let file = dockerfile::parse(&String::from_utf8_lossy(&text)).map_err(refuse)?;
    Ok((tree, file))
}

impl Work<'_> {
    async fn stage(&self, stage: &Stage, done: &[State]) -> Result<State, Failure> {
        let mut state = self.named(&stage.from, done, None).await?;
        state.has_command = false;
        let mut arguments = BTreeMap::new();
        let triggers = std::mem::take(&mut state.image.config.on_build);
        let mut instructions = Vec::new();
        for text in &triggers {
            let read = dockerfile::instruction(text)
                .map_err(|why| refuse(format!("ONBUILD {text} of {}: {why}", stage.from)))?;
            instructions.extend(read);
        }
        instructions.extend(stage.instructions.iter().cloned());
        for instruction in &instructions {
            self.instruction(&mut state, instruction, &mut arguments, done)
                .await?;
        }
        Ok(state)
    }

    async fn instruction(
        &self,
        state: &mut State,
        instruction: &Instruction,
        arguments: &mut BTreeMap<String, String>,
        done: &[State],
    ) -> Result<(), Failure> {
        let line = instruction.line;
        let wrong = |why: String| refuse(format!("{NAME}: line {line}: {why}"));
        let env = state.image.config.env.clone();
        let known = arguments.clone();
        let scope = Scope::new(&env, &known, instruction.escape);
        match &instruction.action {
            Action::Arg(list) => {
                let declared = declared(list, &scope, &self.file.arguments).map_err(wrong)?;
                arguments.extend(declared);
                within_bounds(arguments.values().map(String::as_str)).map_err(wrong)
            }
            Action::Run(run) => {
                let mounts = scope.mounts(&run.mounts).map_err(wrong)?;
                let seen = scope.unset_arguments();
                self.run(state, run, &mounts, seen, done).await
            }
            Action::Copy(copy) => {
                let copy = scope.copy(copy).map_err(wrong)?;
                self.copy(state, &instruction.text, &copy, done).await
            }
            other => configure(state, other, &scope).map_err(wrong),
        }
    }

    /// A former stage by its name or number, or an image. What has no shell is put together in the image of `asks` or of a
    /// former stage, or in one that is made here.
    pub async fn named(
        &self,
        name: &str,
        done: &[State],
        asks: Option<&State>,
    ) -> Result<State, Failure> {
        let lower = name.to_lowercase();
        let stages = self.file.stages.iter().take(done.len());
        let by_name = stages
            .rev()
            .position(|stage| stage.name.as_ref() == Some(&lower))
            .map(|from_last| done.len() - 1 - from_last);
        let number = by_name.or_else(|| name.parse::<usize>().ok());
        if let Some(state) = number.and_then(|number| done.get(number)) {
            return Ok(state.clone());
        }
        let (supplies, log) = (self.supplies, self.log);
        let base = match name.strip_prefix(MANAGED).and_then(runtime) {
            _ if name == dockerfile::SCRATCH => None,
            Some(managed) => Some(self.bases.base(managed, None, supplies, log).await?),
            None => Some(self.bases.image(name, supplies, log).await?),
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

    /// An image that has a shell, and Python to fetch and unpack with.
    pub async fn copies(&self) -> Result<State, Failure> {
        let managed =
            runtime(COPIES).ok_or_else(|| platform(format!("there is no runtime {COPIES}")))?;
        let base = self.bases.base(managed, None, self.supplies, self.log);
        Ok(State::of(Some(&base.await?)))
    }

    /// An image without a shell, inside one that has one.
    async fn bare(&self, image: &NewImage, helper: Option<&State>) -> Result<Bare, Failure> {
        let helper = match helper {
            Some(state) => state.image.clone(),
            None => self.copies().await?.image,
        };
        let moved = self.all_moved(image, ROOT).await?;
        Ok(Bare { helper, moved })
    }

    /// All layers of an image below a directory, bounded altogether.
    pub async fn all_moved(&self, image: &NewImage, to: &str) -> Result<Vec<Layer>, Failure> {
        let (mut moved, mut left) = (Vec::new(), self.sandbox.options.limits.result_bytes);
        for layer in image.layers.iter().cloned() {
            let layer = self.moved(layer, "", to, left).await?;
            left = left.saturating_sub(layer.size);
            moved.push(layer);
        }
        Ok(moved)
    }

    /// A part of a layer, or all of it, in another place.
    pub async fn moved(
        &self,
        layer: Layer,
        from: &str,
        to: &str,
        bytes_max: u64,
    ) -> Result<Layer, Failure> {
        let content = self.sandbox.content.clone();
        let (from, to) = (from.to_owned(), to.to_owned());
        let moved = blocking(move || content.layer_moved(&layer, &from, &to, bytes_max)).await?;
        moved.map_err(|error| Failure::new(FailureKind::ImageContent, error.to_string()))
    }

    /// Runs a command on the image and puts what it changed on top, or takes that from a former build.
    pub async fn apply(&self, state: &mut State, doing: Doing) -> Result<(), Failure> {
        let config = format!("{:?}", state.image.config);
        // The command too: another version of this program may copy in another way.
        let (words, command) = (doing.words.as_bytes(), doing.step.command.as_bytes());
        let follows = [state.key.as_bytes(), config.as_bytes(), words, command];
        state.key = digest_of(&follows).to_string();
        let (service, key) = (&self.request.service, short(&state.key));
        if let Some(kept) = self.keep.result(service, &key).await? {
            let what = doing.step.title.as_deref();
            let what = what.unwrap_or(doing.step.phase.key());
            self.log
                .line(&format!("[Build] {what} (kept from a former build)"));
            state.add(kept);
            return Ok(());
        }
        let finished = self.finished(state, &doing).await?;
        let below = match state.root() {
            "" => "/",
            root => root,
        };
        let without: Vec<&str> = doing.without.iter().map(String::as_str).collect();
        let rest = finished.changes(&[below], &without, BASE_TIME).await?;
        self.keep_caches(&finished, &doing.mounted).await?;
        let app = match (&rest, &state.bare) {
            (Some(moved), Some(_)) => Some(self.moved(moved.clone(), ROOT, "", u64::MAX).await?),
            _ => None,
        };
        let changes = Changes { app, rest };
        state.add(changes.clone());
        self.keep.keep_result(service, &key, &changes).await
    }

    /// Runs a command on the image.
    pub async fn finished(&self, state: &State, doing: &Doing) -> Result<Finished, Failure> {
        let mut image = state.sandbox();
        let on_top = std::mem::take(&mut image.layers);
        image.layers.extend(doing.mounted.layers.iter().cloned());
        image.layers.extend(on_top);
        image.layers.extend(doing.over.iter().cloned());
        let directory = match image.config.working_dir.clone() {
            none if none.is_empty() => "/".to_owned(),
            directory => directory,
        };
        let mut env = doing.env.clone();
        env.extend(doing.mounted.env.clone());
        env.insert("SOURCE_DATE_EPOCH".to_owned(), BASE_TIME.to_string());
        let secrets: Vec<String> = doing.mounted.env.values().cloned().collect();
        let steps = [doing.step.clone()];
        let job = Job {
            image,
            steps: &steps,
            directory: &directory,
            env,
            service: &self.request.service,
            service_name: &self.request.service_name,
            deadline: self.deadline,
            secrets: &secrets,
        };
        self.sandbox.run(job, self.log).await
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

/// A build that cannot go on for what is in its source.
pub fn refuse(text: String) -> Failure {
    Failure::new(FailureKind::Build, text)
}
