//! Base images: the operator's, or made by a recipe at their first use and kept.

mod debian;

use super::sandbox::{Job, NEVER_SHIPPED, Sandbox, blocking, deadline, platform};
use crate::plan::{Phase, Step};
use crate::runtime::{Runtime, debian, is_version_of};
use crate::{BuildLog, Supplies};
use apron_domain::{Failure, FailureKind, Millis, ServiceId};
use apron_oci::{Digest, ImageConfig, Layer, NewImage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// The time of everything in a base image, in seconds since the Unix epoch: 2020-01-01.
pub const BASE_TIME: u64 = 1_577_836_800;

/// Counts up when what all recipes do changes, so that base images are made anew.
const RECIPES: u32 = 2;

/// The label that has the version of the language.
const VERSION_LABEL: &str = "io.apron.runtime-version";

/// Where images have their shell.
const SHELLS: &[&str] = &["bin/sh", "usr/bin/sh"];

/// What base images' pins begin with.
const PIN: &str = "build-base-";

/// Longest a recipe may take.
const RECIPE_WITHIN: Duration = Duration::from_secs(30 * 60);

/// Lines of a recipe that wait for who asked for it; who does not take them in time misses some.
const LINES_MAX: usize = 256;

const DAY_MS: u64 = 86_400_000;

/// A base image.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its manifest.
    pub digest: Digest,
    /// Where it comes from: the operator's reference or the recipe.
    pub name: String,
    /// Configuration and layers.
    pub image: NewImage,
    /// The version of the language, when it is known.
    pub version: Option<String>,
}

/// Every base image.
pub struct Bases {
    sandbox: Arc<Sandbox>,
    clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Which images have a shell.
    shells: Mutex<BTreeMap<String, bool>>,
}

impl Bases {
    /// None yet.
    pub fn new(sandbox: Arc<Sandbox>, clock: Arc<dyn Fn() -> Millis + Send + Sync>) -> Arc<Bases> {
        Arc::new(Bases {
            sandbox,
            clock,
            turns: Mutex::default(),
            shells: Mutex::default(),
        })
    }

    /// Whether an image has a shell, which is looked for once.
    pub async fn has_shell(&self, base: &Base) -> Result<bool, Failure> {
        let known = |shells: &Mutex<BTreeMap<String, bool>>| {
            let shells = shells.lock().unwrap_or_else(PoisonError::into_inner);
            shells.get(base.digest.as_str()).copied()
        };
        if let Some(has) = known(&self.shells) {
            return Ok(has);
        }
        let has = self.have_shell(&base.image.layers, &base.name).await?;
        let mut shells = self.shells.lock().unwrap_or_else(PoisonError::into_inner);
        shells.insert(base.digest.to_string(), has);
        Ok(has)
    }

    /// Whether some layers have a shell.
    pub async fn have_shell(&self, layers: &[Layer], name: &str) -> Result<bool, Failure> {
        let (content, layers) = (self.sandbox.content.clone(), layers.to_vec());
        let bytes_max = self.sandbox.options.limits.result_bytes;
        let has = blocking(move || content.layers_have_any(&layers, SHELLS, bytes_max)).await?;
        has.map_err(|error| {
            let text = format!("the image {name} cannot be read: {error}");
            Failure::new(FailureKind::ImageContent, text)
        })
    }

    /// The base image of a runtime, made when there is none. Who gives up meanwhile leaves it in the making for the next.
    ///
    /// # Errors
    /// With what could not be had, and how the operator helps.
    pub async fn base(
        self: &Arc<Bases>,
        runtime: &'static Runtime,
        lock: Option<&str>,
        supplies: &dyn Supplies,
        log: &dyn BuildLog,
    ) -> Result<Base, Failure> {
        let base = match self.sandbox.options.images.get(&runtime.name) {
            Some(reference) => self.image(reference, supplies, log).await?,
            None => self.of_recipe(runtime, lock, log).await?,
        };
        self.sandbox.keep_unpacked(base.digest.as_str()).await?;
        match (lock, &base.version) {
            (Some(lock), Some(version))
                if !is_version_of(version, lock) && runtime.substitute.is_none() =>
            {
                Err(Failure::new(
                    FailureKind::Build,
                    format!(
                        "run.runtime-version {lock} is an unsupported runtime version: the base image of {} has {version}",
                        runtime.yaml
                    ),
                ))
            }
            _ => Ok(base),
        }
    }

    /// An image that a source or the operator names.
    pub async fn image(
        &self,
        reference: &str,
        supplies: &dyn Supplies,
        log: &dyn BuildLog,
    ) -> Result<Base, Failure> {
        let found = supplies.image(reference).await.map_err(|failure| {
            let why = &failure.message;
            let message = format!("the base image {reference} cannot be had: {why}");
            Failure { message, ..failure }
        })?;
        log.line(&format!(
            "[AppRunner] The base image is {reference}, {found}."
        ));
        let pin = format!("{PIN}{}", short(reference));
        let content = &self.sandbox.content;
        content.pin(&pin, found.as_str()).await.map_err(platform)?;
        self.stored(found, reference.to_owned()).await
    }

    async fn of_recipe(
        self: &Arc<Bases>,
        runtime: &'static Runtime,
        lock: Option<&str>,
        log: &dyn BuildLog,
    ) -> Result<Base, Failure> {
        if !runtime.has_recipe() {
            return Err(Failure::new(
                FailureKind::Build,
                format!(
                    "{} has no recipe for its base image; the operator names an image for it in [build.images] of apron.toml",
                    runtime.name
                ),
            ));
        }
        if let Some(substitute) = &runtime.substitute {
            log.line(&format!("[AppRunner] {substitute}."));
        }
        let version = match runtime.versions {
            true => lock.unwrap_or(&runtime.major),
            false => runtime.major.as_str(),
        };
        let key = format!(
            "{}-{}",
            runtime.yaml,
            short(&format!("{RECIPES}{runtime:?}{version}{}", self.ground()))
        );
        let (lines, mut said) = mpsc::channel(LINES_MAX);
        let work = tokio::spawn(
            self.clone()
                .make_once(runtime, version.to_owned(), key, lines),
        );
        // Ends when the work does, whoever does it.
        while let Some(line) = said.recv().await {
            log.line(&line);
        }
        work.await.map_err(platform)?
    }

    /// What every recipe depends on.
    fn ground(&self) -> String {
        let options = &self.sandbox.options;
        format!(
            "{:?}{:?}{:?}",
            options.mirror,
            options.debian_archive,
            debian()
        )
    }

    /// Finds a base image or makes it; the second who asks waits for the first.
    async fn make_once(
        self: Arc<Bases>,
        runtime: &'static Runtime,
        version: String,
        key: String,
        lines: mpsc::Sender<String>,
    ) -> Result<Base, Failure> {
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        let name = format!("recipe of {} on Debian {}", runtime.name, debian().suite);
        let (fresh, aged) = self.pins(&key).await?;
        if let Some(digest) = fresh {
            return self.stored(digest, name).await;
        }
        let log = Lines(lines);
        log.line(&format!(
            "[AppRunner] Making the base image of {}, which later builds share.",
            runtime.name
        ));
        let ground = match self.debian(&log).await {
            Ok(ground) => ground,
            Err(failure) => return self.or_aged(aged, name, failure, &log).await,
        };
        match self.on(&ground, runtime, &version, &log).await {
            Ok(image) => self.keep(&key, image, name).await,
            Err(failure) => self.or_aged(aged, name, failure, &log).await,
        }
    }

    /// An older base image is better than none.
    async fn or_aged(
        &self,
        aged: Option<Digest>,
        name: String,
        failure: Failure,
        log: &dyn BuildLog,
    ) -> Result<Base, Failure> {
        let Some(digest) = aged else {
            let message = format!("the base image cannot be made: {}", failure.message);
            return Err(Failure { message, ..failure });
        };
        let why = &failure.message;
        log.line(&format!(
            "[AppRunner] The base image cannot be made anew, the former one is used: {why}"
        ));
        self.stored(digest, name).await
    }

    /// The image that all recipes begin with.
    async fn debian(&self, log: &dyn BuildLog) -> Result<Base, Failure> {
        let key = format!("debian-{}", short(&self.ground()));
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        let name = format!("Debian {}", debian().suite);
        let (fresh, aged) = self.pins(&key).await?;
        if let Some(digest) = fresh {
            return self.stored(digest, name).await;
        }
        let made = debian::layer(&self.sandbox, log).await;
        match made {
            Ok(layer) => {
                let env = [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG=C.UTF-8",
                ];
                let image = NewImage {
                    config: ImageConfig {
                        env: env.map(str::to_owned).into(),
                        ..ImageConfig::default()
                    },
                    layers: vec![layer],
                    ..NewImage::default()
                };
                self.keep(&key, image, name).await
            }
            Err(failure) => self.or_aged(aged, name, failure, log).await,
        }
    }

    /// Runs a recipe.
    async fn on(
        &self,
        ground: &Base,
        runtime: &Runtime,
        version: &str,
        log: &dyn BuildLog,
    ) -> Result<NewImage, Failure> {
        let packages = runtime.packages.join(" ");
        let mut commands = vec![
            // Manuals are left out, but packages of Java link to theirs and fail without the directory.
            "mkdir -p /usr/share/man/man1".to_owned(),
            "apt-get -q -o Acquire::Retries=3 update".to_owned(),
            format!(
                "apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends {packages}"
            ),
        ];
        commands.extend(runtime.setup.iter().cloned());
        commands.push(runtime.version.clone());
        let steps: Vec<Step> = commands
            .into_iter()
            .map(|command| Step::new(Phase::Build, command))
            .collect();
        let env = [
            ("DEBIAN_FRONTEND", "noninteractive".to_owned()),
            ("SOURCE_DATE_EPOCH", BASE_TIME.to_string()),
            ("VERSION", version.to_owned()),
        ];
        let job = Job {
            image: ground.image.clone(),
            steps: &steps,
            directory: "/",
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            service: &ServiceId::from_random([0; 16]),
            service_name: "base",
            deadline: deadline(RECIPE_WITHIN),
            secrets: &[],
        };
        let finished = self.sandbox.run(job, log).await?;
        let mut without = NEVER_SHIPPED.to_vec();
        without.extend(["/root/.cache", "/etc/machine-id"]);
        let layer = finished.changes(&["/"], &without, BASE_TIME).await?;
        let mut image = ground.image.clone();
        image.layers.extend(layer);
        image.config.env.push("PYTHONUNBUFFERED=1".to_owned());
        let version = finished
            .tail
            .last()
            .map(|line| line.trim().trim_start_matches('v').to_owned());
        image
            .config
            .labels
            .extend(version.map(|version| (VERSION_LABEL.to_owned(), version)));
        Ok(image)
    }

    async fn keep(&self, key: &str, image: NewImage, name: String) -> Result<Base, Failure> {
        let content = &self.sandbox.content;
        let digest = content.compose(&image).await.map_err(platform)?;
        let pin = format!("{PIN}{key}-{}", self.period());
        content.pin(&pin, digest.as_str()).await.map_err(platform)?;
        for (other, _) in content.pins().await.map_err(platform)? {
            if other != pin && is_pin_of(&other, key) {
                content.unpin(&other).await.map_err(platform)?;
            }
        }
        self.stored(digest, name).await
    }

    /// The base image of a key that is new enough, and one that is not.
    async fn pins(&self, key: &str) -> Result<(Option<Digest>, Option<Digest>), Failure> {
        let pins = self.sandbox.content.pins().await.map_err(platform)?;
        let fresh = format!("{PIN}{key}-{}", self.period());
        let found = |wanted: &dyn Fn(&str) -> bool| {
            let mut pins = pins.iter();
            pins.find(|(name, _)| wanted(name))
                .map(|(_, digest)| digest.clone())
        };
        Ok((
            found(&|name| name == fresh),
            found(&|name| name != fresh && is_pin_of(name, key)),
        ))
    }

    /// Counts up when base images are to be made anew.
    fn period(&self) -> u64 {
        let days = (self.clock)().0 / DAY_MS;
        days / self.sandbox.options.base_days.max(1)
    }

    async fn stored(&self, digest: Digest, name: String) -> Result<Base, Failure> {
        let image = self.sandbox.content.image(digest.as_str()).await;
        let image = image.map_err(|error| {
            Failure::new(
                FailureKind::ImageContent,
                format!("the base image ({name}): {error}"),
            )
        })?;
        Ok(Base {
            version: image.config.labels.get(VERSION_LABEL).cloned(),
            digest: image.manifest_digest,
            image: NewImage {
                config: image.config,
                layers: image.layers,
                annotations: BTreeMap::new(),
            },
            name,
        })
    }

    fn turn(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(key.to_owned()).or_default().clone()
    }
}

/// Whether a pin keeps a base image of a key, of whatever period.
fn is_pin_of(pin: &str, key: &str) -> bool {
    let period = pin
        .strip_prefix(PIN)
        .and_then(|rest| rest.strip_prefix(key))
        .and_then(|rest| rest.strip_prefix('-'));
    period.is_some_and(|period| period.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The beginning of a text's digest, to tell texts apart in names.
pub fn short(text: &str) -> String {
    Digest::of(text.as_bytes()).hex().chars().take(16).collect()
}

/// A log whose reader may be gone.
struct Lines(mpsc::Sender<String>);

impl BuildLog for Lines {
    fn line(&self, text: &str) {
        // Who has given up, or does not keep up, misses lines of a recipe; nothing depends on them.
        let _ = self.0.try_send(text.to_owned());
    }
}
