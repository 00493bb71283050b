//! Images that are made here rather than pushed or pulled.

use super::moved::{self, Move};
use super::{ContentStore, Ingest};
use crate::image::{self, ImageConfig, Layer};
use crate::manifest::OCI_MANIFEST;
use crate::{Digest, OciError};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Media types of the OCI image specification. Layers made here are not compressed: they are unpacked on the machine where
/// they were made, at once.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An image to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewImage {
    /// How it is run.
    pub config: ImageConfig,
    /// Its layers, lowest first; all in the store.
    pub layers: Vec<Layer>,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A layer that is being written, as an archive. Dropped before its end, it leaves nothing. Blocks.
pub struct LayerWriter {
    ingest: Ingest,
}

impl Write for LayerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.ingest.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(OciError::Io { error, .. }) => Err(error),
            Err(error @ OciError::DiskFull { .. }) => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                error.to_string(),
            )),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LayerWriter {
    /// Makes the layer part of the store. It stays for the store's grace time unless something that is kept refers to it.
    pub fn finish(self) -> Result<Layer, OciError> {
        let size = self.ingest.length();
        let digest = self.ingest.finish()?;
        Ok(Layer {
            diff_id: digest.clone(),
            digest,
            media_type: LAYER.to_owned(),
            size,
        })
    }
}

impl ContentStore {
    /// Starts a layer.
    pub fn layer_writer(&self) -> Result<LayerWriter, OciError> {
        Ok(LayerWriter {
            ingest: self.ingest()?,
        })
    }

    /// Whether any path in a stored layer that is not compressed is a wanted one, without its last slash. Blocks.
    pub fn layer_paths(
        &self,
        layer: &Layer,
        wanted: &mut dyn FnMut(&str) -> bool,
    ) -> Result<bool, OciError> {
        let failed = |error| OciError::io(format!("read layer {}", layer.digest), error);
        let mut archive = tar::Archive::new(io::BufReader::new(self.layer_file(layer)?));
        for entry in archive.entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path().map_err(failed)?;
            if wanted(path.to_string_lossy().trim_end_matches('/')) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A layer of what is below the directory `from` of a stored layer, below the directory `to`; empty paths are the root. When
    /// `from` is a file, `to` is its new name. At most so many bytes are read, uncompressed. Blocks.
    pub fn layer_moved(
        &self,
        layer: &Layer,
        from: &str,
        to: &str,
        bytes_max: u64,
    ) -> Result<Layer, OciError> {
        let failed = |error| OciError::io(format!("move layer {}", layer.digest), error);
        let way = Move {
            from: Path::new(from.trim_matches('/')),
            to: Path::new(to.trim_matches('/')),
            bytes_max,
        };
        let mut writer = self.layer_writer()?;
        moved::copy(self.layer_file(layer)?, &way, &mut writer).map_err(failed)?;
        writer.finish()
    }

    /// Whether any of some stored layers has any of some paths, removed later or not. At most so many bytes are read of all,
    /// uncompressed. Blocks.
    pub fn layers_have_any(
        &self,
        layers: &[Layer],
        paths: &[&str],
        bytes_max: u64,
    ) -> Result<bool, OciError> {
        let mut left = bytes_max;
        for layer in layers {
            let failed = |error| OciError::io(format!("read layer {}", layer.digest), error);
            if moved::has_any(self.layer_file(layer)?, paths, &mut left).map_err(failed)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn layer_file(&self, layer: &Layer) -> Result<File, OciError> {
        match self.blob_open(&layer.digest)? {
            Some((file, _)) => Ok(file),
            None => Err(OciError::BlobUnknown(layer.digest.clone())),
        }
    }

    /// Puts an image of stored layers together and gives its manifest's digest: the same image has the same one. It stays
    /// for the store's grace time unless it is pinned.
    pub async fn compose(&self, image: &NewImage) -> Result<Digest, OciError> {
        let config = config_bytes(image);
        let config_digest = Digest::of(&config);
        let layers: Vec<Value> = image.layers.iter().map(layer_json).collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest.as_str(), "size": config.len()},
            "layers": layers,
        });
        if !image.annotations.is_empty() {
            manifest["annotations"] = json!(image.annotations);
        }
        let manifest = manifest.to_string().into_bytes();
        let needed: Vec<Digest> = image.layers.iter().map(|l| l.digest.clone()).collect();
        self.run(move |disk| {
            let _kept = disk.rely();
            for digest in needed {
                if !disk.refresh(&digest)? {
                    return Err(OciError::BlobUnknown(digest));
                }
            }
            disk.blob_write(&config_digest, &config)?;
            let digest = Digest::of(&manifest);
            disk.blob_write(&digest, &manifest)?;
            Ok(digest)
        })
        .await
    }
}

fn layer_json(layer: &Layer) -> Value {
    json!({"mediaType": layer.media_type, "digest": layer.digest.as_str(), "size": layer.size})
}

/// The configuration (OCI image specification, image configuration), with what is empty left out.
fn config_bytes(image: &NewImage) -> Vec<u8> {
    let ImageConfig {
        entrypoint,
        cmd,
        env,
        working_dir,
        user,
        stop_signal,
        exposed,
        labels,
        shell,
        on_build,
    } = &image.config;
    let mut config = Map::new();
    for (name, list) in [
        ("Entrypoint", entrypoint),
        ("Cmd", cmd),
        ("Env", env),
        ("Shell", shell),
        ("OnBuild", on_build),
    ] {
        if !list.is_empty() {
            config.insert(name.to_owned(), json!(list));
        }
    }
    for (name, text) in [("WorkingDir", working_dir), ("User", user)] {
        if !text.is_empty() {
            config.insert(name.to_owned(), json!(text));
        }
    }
    if let Some(signal) = stop_signal {
        config.insert("StopSignal".to_owned(), json!(signal));
    }
    if !exposed.is_empty() {
        let ports: Map<String, Value> = exposed.iter().map(|p| (p.clone(), json!({}))).collect();
        config.insert("ExposedPorts".to_owned(), ports.into());
    }
    if !labels.is_empty() {
        config.insert("Labels".to_owned(), json!(labels));
    }
    let diff_ids: Vec<&str> = image.layers.iter().map(|l| l.diff_id.as_str()).collect();
    // Builders that make images on this one want an entry per layer; the time is nobody's business.
    let made = json!({"created": "1970-01-01T00:00:00Z", "created_by": "apron"});
    json!({
        "history": vec![made; diff_ids.len()],
        "architecture": image::ARCHITECTURE,
        "os": image::OS,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}
