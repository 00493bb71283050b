//! Packages of the operating system: which are needed for what, and installing the missing ones.

use crate::process::{self, say};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package and how its presence shows.
pub struct Package {
    /// Its name in Debian and Ubuntu.
    pub name: &'static str,
    /// A program it brings, or the path of a file when another package could bring a program of that name.
    pub program: &'static str,
    /// What it is for, for people.
    pub purpose: &'static str,
}

impl Package {
    fn is_there(&self) -> bool {
        if self.program.starts_with('/') {
            Path::new(self.program).exists()
        } else {
            process::exists(self.program)
        }
    }
}

const fn package(name: &'static str, program: &'static str, purpose: &'static str) -> Package {
    Package {
        name,
        program,
        purpose,
    }
}

/// What makes virtual environments for Python; other Pythons than the distribution's bring it themselves.
pub const VIRTUAL_ENVIRONMENTS: Package = package(
    "python3-venv",
    "python3",
    "a virtual environment for the AWS command line",
);

/// What the compiler needs for the C parts of the cryptography, database and compression crates.
pub const BUILD: &[Package] = &[
    package("gcc", "cc", "compiling the C parts of dependencies"),
    package("make", "make", "compiling the C parts of dependencies"),
];

/// What Apron itself needs to run.
pub const RUNTIME: &[Package] = &[
    package("nftables", "nft", "the firewall around instances"),
    package("e2fsprogs", "mkfs.ext4", "the disks of instances"),
    package("git", "git", "fetching source code, and taking pushes"),
    package("openssh-client", "ssh", "fetching source code over SSH"),
];

/// What deploying the sample application needs.
pub const SAMPLE: &[Package] = &[
    package("skopeo", "skopeo", "pushing images"),
    package(
        "buildah",
        "buildah",
        "building the sample image from its Dockerfile",
    ),
    package("mmdebstrap", "mmdebstrap", "making the Python base image"),
    package(
        "debian-archive-keyring",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "making the Python base image",
    ),
    package("curl", "curl", "asking the sample application"),
];

/// What the end-to-end tests need on top.
pub const TESTS: &[Package] = &[
    package(
        "busybox-static",
        "/bin/busybox",
        "the programs of the smallest test images",
    ),
    package("podman", "podman", "real client: podman"),
    package(
        "openssh-server",
        "/usr/sbin/sshd",
        "a host of repositories over SSH",
    ),
    package(
        "awscli",
        "/usr/bin/aws",
        "real client: AWS command line, version 2",
    ),
    package("npm", "npm", "real client: AWS SDK for JavaScript"),
    package("nodejs", "node", "real client: AWS SDK for JavaScript"),
    package("chromium", "/usr/bin/chromium", "real client: browser"),
    package("iproute2", "ip", "looking for left-over interfaces"),
    package(
        "valgrind",
        "valgrind",
        "counting the data plane's instructions",
    ),
];

/// What the benchmarks compare with.
pub const PEERS: &[Package] = &[
    package("crun", "crun", "peer: OCI runtime"),
    package("runc", "runc", "peer: OCI runtime"),
    package("umoci", "umoci", "peer: unpacking images"),
];

/// The clients that load the data plane.
pub const LOAD: &[Package] = &[
    package("wrk", "wrk", "client for HTTP/1.1"),
    package("nghttp2-client", "h2load", "client for HTTP/2"),
];

/// What the data plane is compared with.
pub const DATA_PLANE_PEERS: &[Package] = &[
    package("nginx", "/usr/sbin/nginx", "peer: proxy"),
    package("haproxy", "/usr/sbin/haproxy", "peer: proxy"),
    package(
        "valgrind",
        "valgrind",
        "counting the data plane's instructions",
    ),
];

/// Installs the packages of `groups` whose programs are missing, and says which and why.
pub fn install_missing(groups: &[&[Package]]) -> Result<()> {
    let missing: Vec<&Package> = groups
        .iter()
        .flat_map(|group| group.iter())
        .filter(|package| !package.is_there())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    let absent: Vec<&str> = missing
        .iter()
        .filter(|package| !package.is_there())
        .map(|package| package.program)
        .collect();
    if !absent.is_empty() {
        bail!(
            "still missing after installing their packages: {}",
            absent.join(", ")
        );
    }
    Ok(())
}

/// Installs packages whether they seem to be there or not, and says which and why.
pub fn install(packages: &[&Package]) -> Result<()> {
    let named: Vec<_> = packages.iter().map(|it| (it.name, it.purpose)).collect();
    install_named(&named)
}

/// Installs a package whose name is found out while this runs, and says what for.
pub fn install_one(name: &str, purpose: &str) -> Result<()> {
    install_named(&[(name, purpose)])
}

/// Installs packages by their names, each with what it is for.
fn install_named(packages: &[(&str, &str)]) -> Result<()> {
    for (name, purpose) in packages {
        say(format!("installing {name} ({purpose})"));
    }
    let names: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
    if !process::exists("apt-get") {
        bail!(
            "this machine has no apt-get; install what corresponds to these Debian packages and run this again: {}",
            names.join(", ")
        );
    }
    apt(&["update", "-qq"])
        .context("the package lists could not be brought up to date; is the network reachable?")?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(names);
    apt(&arguments).context("packages could not be installed; the lines above say which")?;
    Ok(())
}

/// Downloads a package without installing it and unpacks it into `dir`, for programs that only tests use and that
/// would otherwise start a service on the machine.
pub fn unpack_into(name: &str, dir: &Path) -> Result<()> {
    let downloads = tempdir_in(dir)?;
    let fetch = || {
        process::capture(
            Command::new("apt-get")
                .args(["download", "-qq", name])
                .current_dir(&downloads),
        )
    };
    if fetch().is_err() {
        apt(&["update", "-qq"])?;
        fetch().with_context(|| format!("package {name} could not be downloaded"))?;
    }
    for entry in std::fs::read_dir(&downloads).context("the download directory disappeared")? {
        let file = entry?.path();
        process::capture(Command::new("dpkg-deb").arg("-x").arg(&file).arg(dir))?;
    }
    std::fs::remove_dir_all(&downloads)
        .with_context(|| format!("could not remove {}", downloads.display()))
}

fn tempdir_in(dir: &Path) -> Result<PathBuf> {
    let downloads = dir.join("download");
    std::fs::create_dir_all(&downloads)
        .with_context(|| format!("could not make {}", downloads.display()))?;
    Ok(downloads)
}

fn apt(arguments: &[&str]) -> Result<String> {
    process::capture(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments),
    )
}
