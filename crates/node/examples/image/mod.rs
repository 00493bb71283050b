//! Programs and images for measurements.

use anyhow::{Result, ensure};
use apron_domain::Digest;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A static program of this C source.
pub fn compile(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let (source, program) = (directory.join(format!("{name}.c")), directory.join(name));
    std::fs::write(&source, text)?;
    let compiled = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(&program)
        .arg(&source)
        .status()?;
    ensure!(compiled.success(), "cc failed");
    Ok(program)
}

/// An image whose only file is this program, put into a content store.
pub fn put(store: &Path, program: &Path) -> Result<Digest> {
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_path_with_name(program, "program")?;
    let layer = layer.into_inner()?;
    let diff_id = blob(store, &layer)?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/program"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": blob(store, config.as_bytes())?, "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": layer.len(),
        }],
    });
    Ok(Digest::parse(&blob(
        store,
        manifest.to_string().as_bytes(),
    )?)?)
}

fn blob(store: &Path, bytes: &[u8]) -> Result<String> {
    let digest = apron_oci::Digest::of(bytes).to_string();
    let directory = store.join("blobs/sha256");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join(digest.trim_start_matches("sha256:")), bytes)?;
    Ok(digest)
}
