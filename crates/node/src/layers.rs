//! Unpacked layers, each once, shared by every image and instance that has it.
//!
//! `layers/<name>/fs` is the content, where the name is the beginning of the layer's diff id: 96 bits are enough to
//! tell layers apart and short enough for 127 of them in one mount. The full id stands beside it and is compared. The
//! content appears there complete or not at all; whether it also survived a power failure is known by the file `synced`,
//! written when it is on the disk for certain: a layer without it is unpacked again after the machine started anew.

use crate::error::{NodeError, Step};
use apron_compute::ComputeError;
use apron_domain::Digest;
use apron_oci::{ContentStore, ImageConfig, Layer, OciError, UnpackBounds, UnpackError};
use futures_util::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Characters of a diff id that name a layer.
const NAME_CHARACTERS: usize = 24;

/// Layers of one image unpacked at the same time.
const UNPACK_PARALLEL: usize = 2;

/// The name of a layer without content, for images without layers.
const EMPTY: &str = "empty";

const CONTENT: &str = "fs";
const ID_FILE: &str = "diff-id";
const BOOT_FILE: &str = "boot";
const SYNCED_FILE: &str = "synced";

/// An image whose layers are all there.
#[derive(Debug)]
pub struct Prepared {
    /// How to run it.
    pub config: ImageConfig,
    /// Its layers, the topmost first, relative to [`Layers::directory`].
    pub layers: Vec<String>,
}

/// The directory of layers.
pub struct Layers {
    directory: PathBuf,
    store: Arc<ContentStore>,
    boot: String,
    prepared: Mutex<BTreeMap<Digest, Arc<Prepared>>>,
    unpacking: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Read while layers are added or given to an instance, written while some are removed.
    pub in_use: tokio::sync::RwLock<()>,
}

impl Layers {
    /// Opens the directory and removes what was left half done.
    pub fn open(directory: PathBuf, store: Arc<ContentStore>) -> Result<Layers, NodeError> {
        std::fs::create_dir_all(directory.join(EMPTY).join(CONTENT))
            .step(format!("make {}", directory.display()))?;
        let boot =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").step("read the boot id")?;
        for (name, path) in entries(&directory)? {
            if name != EMPTY && !is_sound(&path, &boot) {
                tracing::info!(layer = name, "removing a layer that was not finished");
                apron_oci::remove_tree(&path).step(format!("remove {}", path.display()))?;
            }
        }
        Ok(Layers {
            directory,
            store,
            boot,
            prepared: Mutex::default(),
            unpacking: Mutex::default(),
            in_use: tokio::sync::RwLock::default(),
        })
    }

    /// What the names of layers are relative to.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes sure that an image's layers are there. The caller holds [`Layers::in_use`] for reading.
    pub async fn prepare(&self, image: &Digest) -> Result<Arc<Prepared>, ComputeError> {
        if let Some(prepared) = lock(&self.prepared).get(image) {
            return Ok(prepared.clone());
        }
        let found = self
            .store
            .image(image.as_str())
            .await
            .map_err(|error| store_error(image, &error))?;
        let names: Vec<String> = futures_util::stream::iter(found.layers)
            .map(|layer| self.ensure(image.clone(), layer))
            .buffered(UNPACK_PARALLEL)
            .try_collect()
            .await?;
        let mut layers: Vec<String> = names
            .iter()
            .rev()
            .map(|name| format!("{name}/{CONTENT}"))
            .collect();
        // The same layer twice is refused by overlayfs; the upper one decides.
        let mut seen = BTreeSet::new();
        layers.retain(|layer| seen.insert(layer.clone()));
        if layers.is_empty() {
            layers.push(format!("{EMPTY}/{CONTENT}"));
        }
        let prepared = Arc::new(Prepared {
            config: found.config,
            layers,
        });
        lock(&self.prepared).insert(image.clone(), prepared.clone());
        Ok(prepared)
    }

    /// Removes layers that neither these images nor these instances' layers need; nothing while layers are being added.
    pub async fn retain(
        &self,
        keep: &BTreeSet<Digest>,
        instances: &BTreeSet<String>,
    ) -> Result<(), ComputeError> {
        // Waiting here would hold up every start behind an image that is being unpacked; the next call will do.
        let Ok(_alone) = self.in_use.try_write() else {
            return Ok(());
        };
        let mut kept: BTreeSet<String> = instances
            .iter()
            .filter_map(|layer| layer.split('/').next())
            .map(str::to_owned)
            .collect();
        kept.insert(EMPTY.to_owned());
        for image in keep {
            match self.store.image(image.as_str()).await {
                Ok(image) => kept.extend(image.layers.iter().map(name)),
                // Without its manifest it cannot be started anew, and what runs is kept for itself.
                Err(OciError::ManifestUnknown(_) | OciError::BlobUnknown(_)) => {}
                Err(error) => return Err(store_error(image, &error)),
            }
        }
        lock(&self.prepared).retain(|image, _| keep.contains(image));
        // Nobody unpacks while this runs.
        lock(&self.unpacking).clear();
        let directory = self.directory.clone();
        blocking(move || {
            for (name, path) in entries(&directory)? {
                if !kept.contains(&name) {
                    apron_oci::remove_tree(&path).step(format!("remove {}", path.display()))?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn ensure(&self, image: Digest, layer: Layer) -> Result<String, ComputeError> {
        let name = name(&layer);
        let turn = lock(&self.unpacking)
            .entry(name.clone())
            .or_default()
            .clone();
        let _turn = turn.lock().await;
        let home = self.directory.join(&name);
        let content = home.join(CONTENT);
        if content.is_dir() {
            let found = std::fs::read_to_string(home.join(ID_FILE)).unwrap_or_default();
            return match found == layer.diff_id.as_str() {
                true => Ok(name),
                false => Err(ComputeError::Failed(format!(
                    "layer {name} on disk is {found}, not {}",
                    layer.diff_id
                ))),
            };
        }
        let (id, boot) = (layer.diff_id.as_str().to_owned(), self.boot.clone());
        let to_mark = home.clone();
        blocking(move || {
            std::fs::create_dir_all(&to_mark).step(format!("make {}", to_mark.display()))?;
            std::fs::write(to_mark.join(ID_FILE), id).step("name a layer")?;
            std::fs::write(to_mark.join(BOOT_FILE), boot).step("mark a layer")
        })
        .await?;
        let unpacked =
            apron_oci::unpack_unsynced(&self.store, &layer, &content, &UnpackBounds::default())
                .await;
        match unpacked {
            Ok(_) => {
                tokio::task::spawn_blocking(move || settle(&home));
                Ok(name)
            }
            Err(error) => {
                let _ = tokio::task::spawn_blocking(move || apron_oci::remove_tree(&home)).await;
                Err(unpack_error(&image, error))
            }
        }
    }
}

/// Waits until a layer is on the disk and notes that.
fn settle(home: &Path) {
    let synced = std::fs::File::open(home)
        .and_then(|directory| rustix::fs::syncfs(&directory).map_err(std::io::Error::from))
        .and_then(|()| std::fs::write(home.join(SYNCED_FILE), ""));
    if let Err(error) = synced {
        tracing::warn!(layer = %home.display(), %error, "could not make sure that a layer is on the disk");
    }
}

fn is_sound(home: &Path, boot: &str) -> bool {
    let this_boot =
        || std::fs::read_to_string(home.join(BOOT_FILE)).is_ok_and(|noted| noted == boot);
    home.join(CONTENT).is_dir() && (home.join(SYNCED_FILE).exists() || this_boot())
}

fn name(layer: &Layer) -> String {
    let id = layer.diff_id.as_str();
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.chars().take(NAME_CHARACTERS).collect()
}

fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, NodeError> {
    let entries = std::fs::read_dir(directory).step(format!("list {}", directory.display()))?;
    Ok(entries
        .filter_map(Result::ok)
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .collect())
}

async fn blocking(
    work: impl FnOnce() -> Result<(), NodeError> + Send + 'static,
) -> Result<(), ComputeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| ComputeError::Failed(error.to_string())),
        Err(error) => Err(ComputeError::Failed(format!(
            "a file operation was interrupted: {error}"
        ))),
    }
}

fn store_error(image: &Digest, error: &OciError) -> ComputeError {
    match error {
        OciError::Io { .. } | OciError::DiskFull { .. } => ComputeError::Failed(error.to_string()),
        _ => ComputeError::Image {
            image: image.clone(),
            reason: error.to_string(),
        },
    }
}

fn unpack_error(image: &Digest, error: UnpackError) -> ComputeError {
    match error {
        UnpackError::DiskFull { .. } => ComputeError::Capacity(error.to_string()),
        UnpackError::Io { .. } | UnpackError::Store(OciError::Io { .. }) => {
            ComputeError::Failed(error.to_string())
        }
        _ => ComputeError::Image {
            image: image.clone(),
            reason: error.to_string(),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
