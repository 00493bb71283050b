//! A base image with Python 3, Flask and what Python packages from PyPI link with, made from Debian packages because no
//! public registry is needed that way.

use super::once;
use crate::process::{self, say};
use crate::workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian release the base is made from.
const RELEASE: &str = "bookworm";
/// Files of packages that a base image does not need.
const LEFT_OUT: [&str; 4] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
];

/// Makes the image and returns it as an OCI layout directory with the tag `3`.
pub fn prepare() -> Result<PathBuf> {
    once(
        "python-base-2",
        "making the Python base image from Debian packages (once, about a minute)",
        |layout| {
            let work = workspace::assets().join("python-base.work");
            super::remove(&work)?;
            std::fs::create_dir_all(&work).context("the work directory could not be made")?;
            bootstrap(&work.join("base.tar"))?;
            say("packing the Python base image");
            pack(&work, layout)?;
            super::remove(&work)
        },
    )
}

/// Debian's essential packages, Python and Flask as one tar file.
fn bootstrap(tar: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command.args([
        "--quiet",
        "--variant=essential",
        "--include=python3-minimal,python3-flask,libstdc++6,ca-certificates",
    ]);
    for pattern in LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={pattern}"));
    }
    command.arg(RELEASE).arg(tar);
    process::capture(&mut command)
        .context("the Debian packages of the base image could not be put together")?;
    Ok(())
}

fn pack(work: &Path, layout: &Path) -> Result<()> {
    std::fs::write(
        work.join("Dockerfile"),
        "FROM scratch\nADD base.tar /\nCMD [\"python3\"]\n",
    )
    .context("the Dockerfile could not be written")?;
    let storage = Storage::in_dir(&work.join("containers"));
    process::capture(
        storage
            .buildah()
            .args(["build", "--quiet", "--tag", "python-base:3"])
            .arg(work),
    )?;
    process::capture(
        storage
            .buildah()
            .args(["push", "--quiet", "python-base:3"])
            .arg(format!("oci:{}:3", layout.display())),
    )?;
    process::capture(storage.buildah().args(["rmi", "--all", "--force"]))?;
    Ok(())
}

/// Storage of buildah apart from the machine's own.
pub struct Storage {
    root: PathBuf,
    run: PathBuf,
}

impl Storage {
    /// Storage under `dir`.
    pub fn in_dir(dir: &Path) -> Storage {
        Storage {
            root: dir.join("root"),
            run: dir.join("run"),
        }
    }

    /// A buildah command that uses this storage.
    pub fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(&self.root)
            .arg("--runroot")
            .arg(&self.run)
            .args(["--storage-driver", "overlay"]);
        command
    }
}
