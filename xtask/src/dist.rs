//! `cargo xtask dist`: the programs for other machines in one archive.

mod licences;

use crate::process::{self, say};
use crate::tuned::{self, Compiler};
use crate::{bench, packages, up, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What goes along with the programs.
const DOCUMENTS: [&str; 6] = [
    "LICENSE",
    "NOTICE",
    "README.md",
    "docs/compatibility.md",
    "docs/operations.md",
    "docs/web-identity.md",
];

/// Builds the programs, the proxy with a profile of its work, and packs them; prints where and with what digest.
pub fn run() -> Result<()> {
    packages::install_missing(&[packages::BUILD])?;
    let compiler = Compiler::ask()?;
    let apron = up::build()?;
    let shim = apron.with_file_name("apron-shim");
    bench::build()?;
    let proxy = tuned::build(&compiler)?;
    let directory = workspace::target().join("dist");
    let name = format!("apron-{}-{}", env!("CARGO_PKG_VERSION"), compiler.host);
    let stage = directory.join(&name);
    // What an earlier run left there.
    if stage.exists() {
        fs::remove_dir_all(&stage)
            .with_context(|| format!("could not remove {}", stage.display()))?;
    }
    say("packing");
    for program in [&apron, &proxy, &shim] {
        place(program, &stage, "", 0o755)?;
    }
    for document in DOCUMENTS {
        let within = Path::new(document).parent().unwrap_or(Path::new(""));
        let within = within.to_string_lossy();
        place(&workspace::root().join(document), &stage, &within, 0o644)?;
    }
    let texts = stage.join("THIRD-PARTY-LICENCES");
    fs::write(&texts, licences::texts(&compiler.host)?)
        .with_context(|| format!("could not write {}", texts.display()))?;
    let archive = format!("{name}.tar.gz");
    pack(&directory, &name, &archive)?;
    let digest = process::capture(
        Command::new("sha256sum")
            .arg(&archive)
            .current_dir(&directory),
    )?;
    fs::write(directory.join(format!("{archive}.sha256")), &digest)?;
    say(format!("{} {}", directory.display(), digest.trim()));
    Ok(())
}

fn place(file: &Path, stage: &Path, within: &str, mode: u32) -> Result<()> {
    let directory = stage.join(within);
    let name = file.file_name().context("a file has a name")?;
    let to = directory.join(name);
    let placed = fs::create_dir_all(&directory)
        .and_then(|()| fs::copy(file, &to))
        .and_then(|_| fs::set_permissions(&to, fs::Permissions::from_mode(mode)));
    placed.with_context(|| format!("could not copy {} to {}", file.display(), to.display()))
}

/// One archive from the same files is the same bytes: everything is root's and as old as the commit.
fn pack(directory: &Path, name: &str, archive: &str) -> Result<()> {
    let mut time = Command::new("git");
    time.args(["log", "-1", "--format=%ct"])
        .current_dir(workspace::root());
    // A checkout without git has no commit.
    let time = process::capture(&mut time).unwrap_or_else(|_| "0".to_owned());
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--sort=name", "--numeric-owner"])
        .args(["--owner=0", "--group=0"])
        .arg(format!("--mtime=@{}", time.trim()))
        .args(["--file", archive, name])
        .current_dir(directory);
    process::capture(&mut tar).map(drop)
}
