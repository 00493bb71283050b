//! An image with Python and boto3, as people build one: the base image, the packages, the application.

use crate::images::Layout;
use crate::{Platform, assets};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// What boto3 consists of.
const PACKAGES: [&str; 7] = [
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "s3transfer",
    "six.py",
    "urllib3",
];

/// The descriptions of services that an application here uses. All of them are 100 MB.
const SERVICES: [&str; 4] = ["kms", "secretsmanager", "ssm", "sts"];

/// Where Debian's Python looks for packages that are not Debian's.
const SITE: &str = "usr/local/lib/python3.11/dist-packages";

impl Platform {
    /// A layout with the tag `image`: the Python base image, boto3, and this application.
    pub fn python_layout(&self, application: &Path) -> Result<PathBuf> {
        let base = assets::find("python-base-2")?;
        let dir = self.scratch()?;
        let layout = Layout::create(&dir)?;
        let read = |digest: &Value| -> Result<Vec<u8>> {
            let digest = digest.as_str().context("a descriptor has a digest")?;
            let path = base.join("blobs").join(digest.replace(':', "/"));
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let index: Value = serde_json::from_slice(&fs::read(base.join("index.json"))?)?;
        let mut manifest: Value = serde_json::from_slice(&read(&index["manifests"][0]["digest"])?)?;
        let mut config: Value = serde_json::from_slice(&read(&manifest["config"]["digest"])?)?;
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            let media = layer["mediaType"].as_str().unwrap_or_default();
            layout.blob(media, &read(&layer["digest"])?)?;
        }
        let tar = packages_and(application)?;
        let layer = layout.blob("application/vnd.oci.image.layer.v1.tar", &tar)?;
        let diff_ids = config["rootfs"]["diff_ids"].as_array_mut();
        diff_ids
            .context("the base image has layers")?
            .push(layer["digest"].clone());
        config["config"]["Cmd"] = json!(["python3", "/app.py"]);
        config["config"]["User"] = json!("1000:1000");
        if let Some(history) = config.as_object_mut() {
            history.remove("history");
        }
        let media = "application/vnd.oci.image.config.v1+json";
        manifest["config"] = layout.blob(media, config.to_string().as_bytes())?;
        let layers = manifest["layers"].as_array_mut();
        layers.context("the base image has layers")?.push(layer);
        let media = "application/vnd.oci.image.manifest.v1+json";
        layout.finish(
            layout.blob(media, manifest.to_string().as_bytes())?,
            "image",
        )?;
        Ok(dir)
    }
}

fn packages_and(application: &Path) -> Result<Vec<u8>> {
    let library = assets::find("aws-v1")?.join("lib");
    let python = fs::read_dir(&library)?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .context("the client's environment has Python")?;
    let site = python.path().join("site-packages");
    let mut archive = tar::Builder::new(Vec::new());
    for package in PACKAGES {
        add(
            &mut archive,
            &site.join(package),
            &format!("{SITE}/{package}"),
        )?;
    }
    archive.append_path_with_name(application, "app.py")?;
    archive.append_path_with_name(assets::checkout().join("tests/apps/served.py"), "served.py")?;
    archive.into_inner().context("the layer could not be made")
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &Path, name: &str) -> Result<()> {
    if !path.is_dir() {
        return archive
            .append_path_with_name(path, name)
            .with_context(|| format!("cannot add {}", path.display()));
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let is_data = path.ends_with("botocore/data") && entry.path().is_dir();
        let left_out = is_data && !SERVICES.contains(&file.as_str());
        if !left_out && file != "__pycache__" && file != "examples" {
            add(archive, &entry.path(), &format!("{name}/{file}"))?;
        }
    }
    Ok(())
}
