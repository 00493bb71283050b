//! One build, from the source to the image.

use super::base::{BASE_TIME, Base, Bases};
use super::keep::Keep;
use super::sandbox::{Finished, Job, NEVER_SHIPPED, Sandbox, blocking, deadline, platform};
use super::stages;
use crate::file;
use crate::installs;
use crate::plan::{APP, BuildPlan, Step, plan};
use crate::request::{BuildRequest, Built, Configuration};
use crate::source::{SourceLayer, SourceTree, digest_of};
use crate::{BuildLog, Supplies};
use apron_domain::{Digest, Failure, FailureKind};
use apron_oci::{Layer, NewImage, PackError};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Directories where programs keep what they have downloaded or compiled; not shipped.
pub const CACHES: &[&str] = &[
    "/root/.cache",
    "/root/.npm",
    "/root/.m2",
    "/root/.gradle",
    "/root/.composer",
    "/root/.bundle/cache",
    "/root/go/pkg",
    "/usr/local/share/.cache",
];

/// Builds an image.
pub async fn build(
    sandbox: &Arc<Sandbox>,
    bases: &Arc<Bases>,
    keep: &Keep,
    request: &BuildRequest,
    supplies: &dyn Supplies,
    log: &dyn BuildLog,
) -> Result<Built, Failure> {
    let tree = SourceTree::open(&request.source)
        .map_err(|error| platform(format!("the source cannot be opened: {error}")))?;
    if request.configuration == Configuration::Dockerfile {
        return stages::build(sandbox, bases, keep, request, supplies, log).await;
    }
    let plan = read_plan(&tree, request, log)?;
    let lock = plan.lock.as_deref();
    let base = bases.base(plan.runtime, lock, supplies, log).await?;
    let (content, limits) = (sandbox.content.clone(), sandbox.options.limits);
    let tree = Arc::new(tree);
    let to_pack = tree.clone();
    let source = blocking(move || to_pack.layer(&content, &limits))
        .await?
        .map_err(unpackable)?;
    let work = Work {
        sandbox,
        keep,
        tree: &tree,
        cache: keep.cache(request.service.as_str()).await?,
        request,
        plan: &plan,
        base: &base,
        source: &source,
        deadline: deadline(sandbox.options.limits.time),
        log,
    };
    let layers = work.layers().await?;
    let image = work.image(layers);
    let digest = sandbox.content.compose(&image).await.map_err(platform)?;
    log.line(&format!(
        "[AppRunner] Successfully built your application image {digest}."
    ));
    Ok(Built {
        image: Digest::parse(digest.as_str()).map_err(platform)?,
        start_command: plan.start_command.clone(),
        port: plan.port,
        port_variable: plan.port_variable.clone(),
        environment: plan.environment.clone(),
        secrets: plan.secrets.clone(),
    })
}

fn read_plan(
    tree: &SourceTree,
    request: &BuildRequest,
    log: &dyn BuildLog,
) -> Result<BuildPlan, Failure> {
    let refuse = |text: String| Failure::new(FailureKind::Build, text);
    let directory = request.directory.trim_matches('/');
    if !tree.has(directory) {
        return Err(refuse(format!(
            "the source directory `{}` is not in the branch {}",
            request.directory, request.origin.branch
        )));
    }
    let text = match request.configuration {
        Configuration::Repository => {
            log.line("[AppRunner] Reading apprunner.yaml config file.");
            let path = format!("{directory}/{}", file::NAME);
            let bytes = tree
                .read(&path, file::BYTES_MAX)
                .map_err(|error| refuse(error.to_string()))?;
            let text = bytes.map(String::from_utf8).transpose();
            text.map_err(|_| refuse(format!("{} is not text in UTF-8", file::NAME)))?
        }
        _ => None,
    };
    plan(&request.configuration, &request.directory, text.as_deref()).map_err(refuse)
}

pub fn unpackable(error: PackError) -> Failure {
    let kind = match &error {
        PackError::Io { .. } => FailureKind::Platform,
        _ => FailureKind::Build,
    };
    Failure::new(kind, format!("the source cannot be built: {error}"))
}

/// A build under way.
struct Work<'a> {
    sandbox: &'a Arc<Sandbox>,
    keep: &'a Keep,
    tree: &'a SourceTree,
    /// What former builds have downloaded.
    cache: Vec<Layer>,
    request: &'a BuildRequest,
    plan: &'a BuildPlan,
    base: &'a Base,
    source: &'a SourceLayer,
    deadline: Instant,
    log: &'a dyn BuildLog,
}

/// What commands changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Below `/app`.
    pub app: Option<Layer>,
    /// Elsewhere.
    pub rest: Option<Layer>,
}

impl Work<'_> {
    /// What the image has on top of its base: the source, what was made of it, and what `pre-run` installed.
    async fn layers(&self) -> Result<Vec<Layer>, Failure> {
        let source = vec![self.source.layer.clone()];
        let mut made = source.clone();
        let mut shipped = source;
        let mut of_app = Vec::new();
        for changes in self.stage(&self.plan.build, &made, &[]).await? {
            made.extend(changes.app.iter().chain(&changes.rest).cloned());
            of_app.extend(changes.app.clone());
            shipped.extend(changes.app);
            if !self.plan.ships_app_only {
                shipped.extend(changes.rest);
            }
        }
        if !self.plan.post_build.is_empty() {
            self.run(&self.plan.post_build, &made, self.source.time)
                .await?;
        }
        for changes in self
            .stage(&self.plan.pre_run, &shipped.clone(), &of_app)
            .await?
        {
            shipped.extend(changes.app.into_iter().chain(changes.rest));
        }
        Ok(shipped)
    }

    /// Runs commands on some layers. The result of installations at their beginning is kept, and taken when it is there:
    /// unless a layer `over` the source changes what they go by.
    async fn stage(
        &self,
        steps: &[Step],
        on: &[Layer],
        over: &[Layer],
    ) -> Result<Vec<Changes>, Failure> {
        let mut all = Vec::new();
        let mut on = on.to_vec();
        let (count, files) = installs::prefix(steps, &|name| self.input(name));
        let names: Vec<String> = files.keys().map(|name| self.in_image(name)).collect();
        let (installs, others) = match count > 0 && !self.are_changed(&names, over).await? {
            true => steps.split_at(count),
            false => steps.split_at(0),
        };
        if !installs.is_empty() {
            let changes = self.installed(installs, &files, &on).await?;
            on.extend(changes.app.iter().chain(&changes.rest).cloned());
            all.push(changes);
        }
        if !others.is_empty() {
            let finished = self.run(others, &on, self.source.time).await?;
            all.push(self.changes(&finished, self.source.time).await?);
        }
        Ok(all)
    }

    /// The result of installations, kept or new.
    async fn installed(
        &self,
        steps: &[Step],
        files: &BTreeMap<String, Option<Vec<u8>>>,
        on: &[Layer],
    ) -> Result<Changes, Failure> {
        let key = self.key(steps, files);
        let service = &self.request.service;
        if let Some(kept) = self.keep.result(service, &key).await? {
            for step in steps {
                let command = self.sandbox.mask.apply(step.command.clone());
                let phase = step.phase.key();
                self.log.line(&format!("[Build] {phase} $ {command}"));
                self.log
                    .line("[Build] (kept from a former build: nothing it depends on has changed)");
            }
            return Ok(kept);
        }
        let finished = self.run(steps, on, BASE_TIME).await?;
        let changes = self.changes(&finished, BASE_TIME).await?;
        self.keep.keep_result(service, &key, &changes).await?;
        Ok(changes)
    }

    fn key(&self, steps: &[Step], files: &BTreeMap<String, Option<Vec<u8>>>) -> String {
        let commands: Vec<&str> = steps.iter().map(|step| step.command.as_str()).collect();
        let surroundings = format!(
            "{commands:?}{:?}{}",
            self.plan.build_env, self.plan.directory
        );
        let base = self.base.digest.to_string();
        let mut parts = vec![base.as_bytes(), surroundings.as_bytes()];
        for (name, content) in files {
            parts.push(name.as_bytes());
            parts.push(content.as_deref().unwrap_or(b"\0none"));
        }
        digest_of(&parts).hex().chars().take(16).collect()
    }

    /// A file that an installation goes by. What cannot be read as one makes it no installation to keep.
    fn input(&self, name: &str) -> Option<Vec<u8>> {
        let path = format!("{}/{name}", self.request.directory.trim_matches('/'));
        match self.tree.read(&path, installs::FILE_BYTES_MAX) {
            Ok(content) => content,
            Err(_) => Some(b"\xff".to_vec()),
        }
    }

    fn in_image(&self, name: &str) -> String {
        format!("{}/{name}", self.plan.directory)
            .trim_start_matches('/')
            .to_owned()
    }

    /// Whether some layers change any of these files.
    async fn are_changed(&self, names: &[String], over: &[Layer]) -> Result<bool, Failure> {
        let (content, names, over) = (self.sandbox.content.clone(), names.to_vec(), over.to_vec());
        blocking(move || {
            let mut layers = over.iter();
            layers.try_fold(false, |found, layer| {
                let changes = content.layer_paths(layer, &mut |path| {
                    // A removal's name is that of what it removes, with a mark; whole directories that are replaced are
                    // no place to look for a file that was not.
                    let plain = path.replace(".wh.", "");
                    names.iter().any(|name| {
                        *name == plain
                            || (path.ends_with(".wh..wh..opq")
                                && name.starts_with(plain.trim_end_matches(".wh..opq")))
                    })
                })?;
                Ok(found || changes)
            })
        })
        .await?
        .map_err(|error: apron_oci::OciError| platform(error))
    }

    async fn run(&self, steps: &[Step], on: &[Layer], time: u64) -> Result<Finished, Failure> {
        let mut image = self.base.image.clone();
        image.layers.extend(self.cache.iter().chain(on).cloned());
        let job = Job {
            image,
            steps,
            directory: &self.plan.directory,
            env: self.env(time),
            service: &self.request.service,
            service_name: &self.request.service_name,
            deadline: self.deadline,
            secrets: &[],
        };
        self.sandbox.run(job, self.log).await
    }

    /// The commands' variables: the file's, and those that make the same source the same result.
    fn env(&self, time: u64) -> BTreeMap<String, String> {
        let defaults = [
            ("SOURCE_DATE_EPOCH", time.to_string()),
            ("PIP_ROOT_USER_ACTION", "ignore".to_owned()),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned()),
            ("npm_config_update_notifier", "false".to_owned()),
            ("npm_config_fund", "false".to_owned()),
        ];
        let mut env: BTreeMap<String, String> = defaults
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        env.extend(self.plan.build_env.clone());
        env
    }

    async fn changes(&self, finished: &Finished, time: u64) -> Result<Changes, Failure> {
        let mut without = NEVER_SHIPPED.to_vec();
        without.extend(CACHES);
        let app = finished.changes(&[APP], &[], time).await?;
        without.push(APP);
        let rest = finished.changes(&["/"], &without, time).await?;
        let downloads = finished.changes(CACHES, NEVER_SHIPPED, self.keep.now_seconds());
        if let Some(layer) = downloads.await? {
            let service = self.request.service.as_str();
            let mut layers = self.keep.cache(service).await?;
            layers.push(layer);
            self.keep.keep_cache(service, layers).await?;
        }
        Ok(Changes { app, rest })
    }

    /// The image, with where it comes from (OCI image specification, annotations).
    fn image(&self, layers: Vec<Layer>) -> NewImage {
        let mut image = self.base.image.clone();
        image.layers.extend(layers);
        image.config.entrypoint.clear();
        image.config.cmd = match &self.plan.start_command {
            Some(command) => vec!["/bin/sh".to_owned(), "-c".to_owned(), command.clone()],
            None => Vec::new(),
        };
        image.config.working_dir = self.plan.directory.clone();
        image.config.exposed = vec![format!("{}/tcp", self.plan.port.unwrap_or(8080))];
        let origin = &self.request.origin;
        let annotations = [
            ("org.opencontainers.image.source", origin.repository.clone()),
            ("org.opencontainers.image.revision", origin.commit.clone()),
            ("org.opencontainers.image.base.name", self.base.name.clone()),
            (
                "org.opencontainers.image.base.digest",
                self.base.digest.to_string(),
            ),
            ("io.apron.build.branch", origin.branch.clone()),
            ("io.apron.build.directory", self.request.directory.clone()),
            ("io.apron.build.runtime", self.plan.runtime.name.clone()),
            (
                "io.apron.build.runtime-version",
                self.base.version.clone().unwrap_or_default(),
            ),
            (
                "io.apron.build.plan",
                digest_of(&[format!("{:?}", self.plan).as_bytes()]).to_string(),
            ),
        ];
        image.annotations = annotations
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        image
    }
}
