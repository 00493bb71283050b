//! Images of the applications in Python that speak gRPC and WebSocket and show a browser a page, on top of the base image.

use super::{Compression, Layout, compress};
use crate::signing::sha256_hex;
use crate::{Platform, assets};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the packages are in the image.
const PACKAGES: &str = "opt/wire";

impl Platform {
    /// Makes and pushes an image; `speaks` is `grpc`, `websocket` or `page`. Returns its whole name.
    pub fn push_wire(&self, speaks: &str) -> Result<String> {
        let dir = self.scratch()?;
        let layout = Layout::create(&dir)?;
        layout.finish(
            write(&layout, &assets::find("python-base-2")?, speaks)?,
            "image",
        )?;
        self.push_layout(&dir, &format!("{speaks}:v1"))
    }
}

fn blob_path(base: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"].as_str().context("no digest")?;
    Ok(base.join("blobs").join(digest.replace(':', "/")))
}

fn read(base: &Path, descriptor: &Value) -> Result<Value> {
    let bytes = fs::read(blob_path(base, descriptor)?).context("the base image lacks a blob")?;
    serde_json::from_slice(&bytes).context("a blob of the base image is not JSON")
}

/// Writes the image and returns the descriptor of its manifest.
fn write(layout: &Layout, base: &Path, speaks: &str) -> Result<Value> {
    let index = fs::read(base.join("index.json")).context("the base image has no index")?;
    let index: Value = serde_json::from_slice(&index)?;
    let mut manifest = read(base, &index["manifests"][0])?;
    let mut config = read(base, &manifest["config"])?;
    let layers = manifest["layers"].as_array_mut().context("no layers")?;
    for layer in &*layers {
        let to = blob_path(&layout.dir, layer)?;
        fs::copy(blob_path(base, layer)?, to).context("could not copy a layer")?;
    }
    let tar = application()?;
    let (media, bytes) = compress(Compression::Gzip, &tar)?;
    layers.push(layout.blob(media, &bytes)?);
    config["rootfs"]["diff_ids"]
        .as_array_mut()
        .context("no diff_ids")?
        .push(json!(format!("sha256:{}", sha256_hex(&tar))));
    // A history that says nothing of the added layer would contradict the layers.
    config
        .as_object_mut()
        .context("no config")?
        .remove("history");
    let program = match speaks {
        "page" => "/page_server.py",
        _ => "/wire_server.py",
    };
    config["config"]["Entrypoint"] = json!(["python3", program]);
    config["config"]["Cmd"] = Value::Null;
    config["config"]["Env"] = json!([
        "PATH=/usr/local/bin:/usr/bin:/bin",
        format!("PYTHONPATH=/{PACKAGES}"),
        format!("WIRE={speaks}")
    ]);
    let media = "application/vnd.oci.image.config.v1+json";
    manifest["config"] = layout.blob(media, config.to_string().as_bytes())?;
    let media = "application/vnd.oci.image.manifest.v1+json";
    manifest["mediaType"] = json!(media);
    layout.blob(media, manifest.to_string().as_bytes())
}

fn application() -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    archive
        .append_dir_all(PACKAGES, assets::find("wire-packages")?)
        .context("the packages could not be put into a layer")?;
    for server in ["wire_server.py", "page_server.py"] {
        let path = assets::checkout().join("tests/apps").join(server);
        archive
            .append_path_with_name(path, server)
            .context("an application could not be put into a layer")?;
    }
    archive.into_inner().context("the layer could not be made")
}
