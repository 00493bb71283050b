//! Images for tests, put together by hand so that every detail of them is the test's choice, as OCI layouts that real
//! clients push.

mod wire;

use crate::signing::sha256_hex;
use crate::{Platform, assets, run};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// An image whose only file is the test application.
#[derive(Clone, Debug)]
pub struct EchoImage {
    /// What it answers as its version.
    pub version: String,
    /// How it behaves; see the application's source.
    pub mode: &'static str,
    /// The architecture the image claims to be for.
    pub architecture: &'static str,
    /// How its layer is compressed.
    pub compression: Compression,
    /// Megabytes of random content on top.
    pub ballast_mb: usize,
}

impl EchoImage {
    /// A healthy one.
    pub fn new(version: &str) -> EchoImage {
        EchoImage {
            version: version.to_owned(),
            mode: "ok",
            architecture: "amd64",
            compression: Compression::Gzip,
            ballast_mb: 0,
        }
    }

    /// The same with another mode.
    pub fn mode(mut self, mode: &'static str) -> EchoImage {
        self.mode = mode;
        self
    }

    /// The same for another architecture.
    pub fn architecture(mut self, architecture: &'static str) -> EchoImage {
        self.architecture = architecture;
        self
    }

    /// The same with another compression.
    pub fn compression(mut self, compression: Compression) -> EchoImage {
        self.compression = compression;
        self
    }

    /// The same with content that does not compress.
    pub fn ballast(mut self, megabytes: usize) -> EchoImage {
        self.ballast_mb = megabytes;
        self
    }

    fn tar(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        append(
            &mut archive,
            "echo",
            0o755,
            &fs::read(assets::find("echo")?)?,
        )?;
        if self.ballast_mb > 0 {
            append(
                &mut archive,
                "ballast",
                0o644,
                &noise(self.ballast_mb << 20),
            )?;
        }
        archive.into_inner().context("the layer could not be made")
    }

    fn config(&self, layer: &[u8]) -> Value {
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "Entrypoint": ["/echo"],
                "Env": [format!("VERSION={}", self.version), format!("MODE={}", self.mode)],
                "User": "1000:1000",
                "WorkingDir": "/"
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256_hex(layer))] }
        })
    }

    /// Writes the image into a layout and returns the descriptor of its manifest.
    pub fn write(&self, layout: &Layout) -> Result<Value> {
        let tar = self.tar()?;
        let (media, bytes) = compress(self.compression, &tar)?;
        let layer = layout.blob(media, &bytes)?;
        let config = self.config(&tar).to_string();
        let config = layout.blob(
            "application/vnd.oci.image.config.v1+json",
            config.as_bytes(),
        )?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer]
        });
        let mut descriptor = layout.blob(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        )?;
        descriptor["platform"] = json!({ "os": "linux", "architecture": self.architecture });
        Ok(descriptor)
    }
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    archive
        .append_data(&mut header, path, content)
        .context("the layer could not be made")
}

/// Bytes that do not compress, the same ones every time (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn compress(compression: Compression, tar: &[u8]) -> Result<(&'static str, Vec<u8>)> {
    Ok(match compression {
        Compression::None => ("application/vnd.oci.image.layer.v1.tar", tar.to_vec()),
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar)?;
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                encoder.finish()?,
            )
        }
        Compression::Zstd => (
            "application/vnd.oci.image.layer.v1.tar+zstd",
            zstd::encode_all(tar, 3)?,
        ),
    })
}

/// An OCI image layout being written.
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Starts an empty layout.
    pub fn create(dir: &Path) -> Result<Layout> {
        fs::create_dir_all(dir.join("blobs/sha256")).context("could not make the layout")?;
        fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
        Ok(Layout {
            dir: dir.to_owned(),
        })
    }

    /// Writes a blob and returns its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let hex = sha256_hex(bytes);
        fs::write(self.dir.join("blobs/sha256").join(&hex), bytes)
            .context("could not write a blob")?;
        Ok(
            json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() }),
        )
    }

    /// Writes the index with one tagged entry.
    pub fn finish(&self, mut descriptor: Value, tag: &str) -> Result<()> {
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        fs::write(self.dir.join("index.json"), index.to_string())
            .context("could not write the index")
    }
}

impl Platform {
    /// Writes an image as a layout of its own and returns the directory; its tag in there is `image`.
    pub fn layout(&self, image: &EchoImage) -> Result<PathBuf> {
        let dir = self.scratch()?;
        let layout = Layout::create(&dir)?;
        layout.finish(image.write(&layout)?, "image")?;
        Ok(dir)
    }

    /// Writes images as one manifest list.
    pub fn list_layout(&self, images: &[EchoImage]) -> Result<PathBuf> {
        let dir = self.scratch()?;
        let layout = Layout::create(&dir)?;
        let manifests = images
            .iter()
            .map(|image| image.write(&layout))
            .collect::<Result<Vec<_>>>()?;
        let media = "application/vnd.oci.image.index.v1+json";
        let list = json!({ "schemaVersion": 2, "mediaType": media, "manifests": manifests });
        layout.finish(layout.blob(media, list.to_string().as_bytes())?, "image")?;
        Ok(dir)
    }

    pub(crate) fn scratch(&self) -> Result<PathBuf> {
        let root = self.dir().join("layouts");
        fs::create_dir_all(&root)?;
        let dir = tempfile::Builder::new().prefix("l").tempdir_in(root)?;
        Ok(dir.keep())
    }

    /// The repository, made if it is not there.
    pub fn repository(&self, name: &str) -> Result<()> {
        let answer = self.call_raw(
            crate::api::ECR,
            "CreateRepository",
            json!({ "repositoryName": name }).to_string().as_bytes(),
            crate::api::now(),
        )?;
        let exists = answer.text().contains("RepositoryAlreadyExistsException");
        anyhow::ensure!(
            answer.status == 200 || exists,
            "CreateRepository: {}",
            answer.text()
        );
        Ok(())
    }

    /// A file with credentials for the platform's registry, as the registry clients' logins write it.
    pub fn registry_login(&self) -> Result<PathBuf> {
        use base64::Engine as _;
        let file = self.dir().join("auth.json");
        if file.exists() {
            return Ok(file);
        }
        let answer = self.call(crate::api::ECR, "GetAuthorizationToken", &json!({}))?;
        let token = answer["authorizationData"][0]["authorizationToken"]
            .as_str()
            .context("no token")?;
        base64::engine::general_purpose::STANDARD
            .decode(token)
            .context("the token is not base64")?;
        let content = json!({ "auths": { self.registry(): { "auth": token } } });
        fs::write(&file, content.to_string()).context("could not write the credentials")?;
        Ok(file)
    }

    /// A skopeo copy from a layout to a repository of the platform.
    pub fn push_command(&self, layout: &Path, reference: &str) -> Result<Command> {
        let mut command = Command::new("skopeo");
        command.args([
            "copy",
            "--quiet",
            "--all",
            "--preserve-digests",
            "--retry-times",
            "0",
        ]);
        command.arg("--dest-authfile").arg(self.registry_login()?);
        command.arg("--dest-cert-dir").arg(self.certificate_dir()?);
        command.arg(format!("oci:{}:image", layout.display()));
        command.arg(format!("docker://{}/{reference}", self.registry()));
        Ok(command)
    }

    /// Makes the repository if needed and pushes the image; returns its whole name.
    pub fn push(&self, image: &EchoImage, reference: &str) -> Result<String> {
        self.push_layout(&self.layout(image)?, reference)
    }

    /// The same for an image that was written as a layout, with the tag `image` in there.
    pub fn push_layout(&self, layout: &Path, reference: &str) -> Result<String> {
        let (repository, _) = reference.split_once(':').context("a reference has a tag")?;
        self.repository(repository)?;
        run::ok(&mut self.push_command(layout, reference)?)?;
        Ok(format!("{}/{reference}", self.registry()))
    }
}
