//! The proxy as it is shipped: optimised by a profile of what it does under load. The compiler then keeps what requests run
//! through together and in order, and everything else out of its way; at some thousand requests a second, when a request finds
//! little of the program in the processor's caches, that is a seventh of what the proxy adds to its time.
//!
//! A profile names functions as one compiler names them for one set of dependencies and features, so it is made here, from
//! the same sources as the program, and made again when the sources, the compiler or the load have changed.

use crate::process::{self, say};
use crate::{packages, workspace};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the compiler says of itself.
pub struct Compiler {
    /// The platform it runs on and builds for.
    pub host: String,
    /// The major version of its LLVM, which a profile has to be written for.
    llvm: String,
}

impl Compiler {
    /// Asks it.
    pub fn ask() -> Result<Compiler> {
        let text = process::capture(rustc().arg("-vV"))?;
        Compiler::read(&text).with_context(|| format!("rustc describes itself oddly:\n{text}"))
    }

    fn read(text: &str) -> Option<Compiler> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Some(Compiler {
            host: field("host: ")?.to_owned(),
            llvm: field("LLVM version: ")?.split('.').next()?.to_owned(),
        })
    }

    /// The program that merges profiles: the toolchain's own, where its component `llvm-tools` is installed, or Debian's.
    fn merger(&self) -> Result<PathBuf> {
        let root = process::capture(rustc().args(["--print", "sysroot"]))?;
        let own = Path::new(root.trim())
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin/llvm-profdata");
        if own.is_file() {
            return Ok(own);
        }
        let program = format!("llvm-profdata-{}", self.llvm);
        if !process::exists(&program) {
            let package = format!("llvm-{}", self.llvm);
            packages::install_one(&package, "merging profiles of the proxy").with_context(|| {
                format!(
                    "the compiler's profiles need llvm-profdata of LLVM {}: `rustup component add llvm-tools` brings it, too",
                    self.llvm
                )
            })?;
        }
        Ok(program.into())
    }
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Builds the proxy, trains it with the measurements, which are built already, and builds it anew; answers where it is. Quick
/// when nothing has changed.
pub fn build(compiler: &Compiler) -> Result<PathBuf> {
    packages::install_missing(&[packages::BUILD, packages::LOAD])?;
    let merger = compiler.merger()?;
    let directory = workspace::target().join("tuned");
    fs::create_dir_all(&directory)
        .with_context(|| format!("could not make {}", directory.display()))?;
    say("building the proxy so that it counts what it does (some minutes the first time)");
    // Taken from where the second build puts its own.
    let counting = directory.join("apron-proxy-that-counts");
    let built = compile(compiler, &directory, "-Cprofile-generate".into())?;
    fs::copy(&built, &counting).with_context(|| {
        format!(
            "could not copy {} to {}",
            built.display(),
            counting.display()
        )
    })?;
    let profile = directory.join(format!("{:016x}.profdata", digest(&counting)?));
    if !profile.is_file() {
        train(&counting, &merger, &directory, &profile)?;
    }
    say("building the proxy with its profile (some minutes the first time)");
    let mut flag = OsString::from("-Cprofile-use=");
    flag.push(&profile);
    compile(compiler, &directory, flag)
}

/// Has the load run over a build that counts, and writes what it counted.
fn train(counting: &Path, merger: &Path, directory: &Path, profile: &Path) -> Result<()> {
    say("running the load whose profile is taken (a minute)");
    let raw = directory.join("raw");
    // Of a run that did not come to its end.
    if raw.exists() {
        fs::remove_dir_all(&raw).with_context(|| format!("could not remove {}", raw.display()))?;
    }
    let mut load = Command::new(workspace::target().join("release/apron-bench"));
    load.arg("--train")
        .arg(counting)
        .env("LLVM_PROFILE_FILE", raw.join("%p.profraw"))
        .current_dir(workspace::root());
    process::show(&mut load)?;
    let parts = fs::read_dir(&raw).context("the proxy wrote no profile")?;
    let parts: Vec<_> = parts
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    ensure!(!parts.is_empty(), "the proxy wrote no profile");
    // Under another name until it is whole: its presence is what says that there is one.
    let unfinished = profile.with_extension("unfinished");
    let mut merge = Command::new(merger);
    merge.arg("merge").arg("-o").arg(&unfinished).args(&parts);
    process::capture(&mut merge).context("the profiles could not be merged")?;
    fs::rename(&unfinished, profile)
        .with_context(|| format!("could not make {}", profile.display()))?;
    fs::remove_dir_all(&raw).with_context(|| format!("could not remove {}", raw.display()))
}

/// Builds the proxy alone with one more flag. The platform is named because flags are then not those of build scripts.
fn compile(compiler: &Compiler, directory: &Path, flag: OsString) -> Result<PathBuf> {
    let mut build = workspace::cargo();
    build
        .args(["build", "--release", "--quiet", "--locked"])
        .args(["-p", "apron-proxy", "--bin", "apron-proxy"])
        .args(["--target", &compiler.host])
        .arg("--target-dir")
        .arg(directory)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(flag));
    process::show(&mut build)?;
    Ok(directory.join(&compiler.host).join("release/apron-proxy"))
}

/// The flags that are set for all builds and this one, as cargo takes them when they contain blanks.
fn flags(own: OsString) -> OsString {
    if let Some(mut encoded) = std::env::var_os("CARGO_ENCODED_RUSTFLAGS") {
        encoded.push("\x1f");
        encoded.push(own);
        return encoded;
    }
    let set = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut flags = OsString::new();
    for flag in set.split_whitespace() {
        flags.push(flag);
        flags.push("\x1f");
    }
    flags.push(own);
    flags
}

/// What a profile depends on: the program that counts, and the one that loads it.
fn digest(counting: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for program in [counting, &workspace::target().join("release/apron-bench")] {
        let bytes =
            fs::read(program).with_context(|| format!("could not read {}", program.display()))?;
        hasher.write(&bytes);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::Compiler;

    #[test]
    fn a_compiler_is_read() {
        let text = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\n\
                    LLVM version: 22.1.2\n";
        let compiler = Compiler::read(text).unwrap();
        assert_eq!(compiler.host, "x86_64-unknown-linux-gnu");
        assert_eq!(compiler.llvm, "22");
        assert!(Compiler::read("rustc 1.95.0").is_none());
    }
}
