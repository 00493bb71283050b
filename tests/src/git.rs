//! Git servers on loopback, as hosts of repositories are: over HTTP with basic authentication, and over SSH.

use crate::{Platform, assets, run, wait};
use anyhow::{Context, Result};
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The user of the server over HTTP.
pub const USER: &str = "reader";
/// Its password.
pub const PASSWORD: &str = "correct-horse-battery";

/// Longest time a server may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// A server's process; it ends when this is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A repository with a directory to work in.
pub struct Repository {
    work: PathBuf,
}

/// `git` that takes nothing of the machine's or the user's settings.
pub fn git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("HOME", dir)
        .args(["-c", "user.name=tester", "-c", "user.email=t@example.com"])
        .args([
            "-c",
            "credential.helper=",
            "-c",
            "protocol.file.allow=always",
        ]);
    command
}

impl Repository {
    /// A directory under version control.
    pub fn at(work: PathBuf) -> Result<Repository> {
        fs::create_dir_all(&work)?;
        let repository = Repository { work };
        repository.git(&["init", "-q", "-b", "main"])?;
        Ok(repository)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.work
    }

    /// Runs git in it; it must succeed.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        run::ok(git(&self.work).args(arguments)).map(|text| text.trim().to_owned())
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    }

    /// Commits everything; answers the commit.
    pub fn commit(&self) -> Result<String> {
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"])?;
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits everything and pushes it into a bare repository.
    pub fn publish(&self, bare: &Path) -> Result<String> {
        let commit = self.commit()?;
        let url = bare.display().to_string();
        self.git(&["push", "-q", "--force", &url, "HEAD:refs/heads/main"])?;
        Ok(commit)
    }
}

/// Makes a bare repository.
pub fn bare(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    run::ok(git(dir).args(["init", "-q", "--bare", "-b", "main"])).map(drop)
}

/// A host of repositories over HTTP.
pub struct HttpHost {
    _server: Server,
    port: u16,
    repositories: PathBuf,
}

impl HttpHost {
    /// Starts it on a port of the platform's slot; who reads needs [`USER`] and [`PASSWORD`].
    pub fn start(platform: &Platform, index: u16) -> Result<HttpHost> {
        let port = platform.slot.port(index);
        let repositories = platform.dir().join("http-repositories");
        fs::create_dir_all(&repositories)?;
        let program = assets::checkout().join("tests/apps/git_server.py");
        let child = Command::new(assets::python()?)
            .arg(program)
            .arg(port.to_string())
            .arg(&repositories)
            .args([USER, PASSWORD])
            .stdin(Stdio::null())
            .spawn()
            .context("the git server could not be started")?;
        let server = Server(child);
        listens(port)?;
        Ok(HttpHost {
            _server: server,
            port,
            repositories,
        })
    }

    /// Its name, with the port.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The URL of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}.git", self.host())
    }

    /// Where a repository is; made if it is not there.
    pub fn repository(&self, name: &str) -> Result<PathBuf> {
        let dir = self.repositories.join(format!("{name}.git"));
        if !dir.exists() {
            bare(&dir)?;
        }
        Ok(dir)
    }
}

/// A host of repositories over SSH, with a key for it and the file of its own.
pub struct SshHost {
    _server: Server,
    port: u16,
    dir: PathBuf,
}

impl SshHost {
    /// Starts OpenSSH's server on a port of the platform's slot.
    pub fn start(platform: &Platform, index: u16) -> Result<SshHost> {
        let port = platform.slot.port(index);
        let dir = platform.dir().join("ssh");
        fs::create_dir_all(&dir)?;
        for name in ["host_key", "client_key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
            run::ok(keygen.arg(dir.join(name)))?;
        }
        fs::copy(dir.join("client_key.pub"), dir.join("authorized_keys"))?;
        let host_key = fs::read_to_string(dir.join("host_key.pub"))?;
        let known = format!("[localhost]:{port} {host_key}");
        fs::write(dir.join("known_hosts"), known)?;
        // The server wants it, whatever it is for.
        fs::create_dir_all("/run/sshd")?;
        fs::set_permissions("/run/sshd", fs::Permissions::from_mode(0o755))?;
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host_key\nAuthorizedKeysFile {dir}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n\
             SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=* GIT_CONFIG_GLOBAL=/dev/null\n",
            dir = dir.display()
        );
        fs::write(dir.join("sshd_config"), settings)?;
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-f"])
            .arg(dir.join("sshd_config"))
            .args(["-E".as_ref(), dir.join("sshd.log").as_os_str()])
            .stdin(Stdio::null())
            .spawn()
            .context("sshd could not be started")?;
        let server = Server(child);
        listens(port)?;
        Ok(SshHost {
            _server: server,
            port,
            dir,
        })
    }

    /// Its name, with the port.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The URL of a repository on this machine.
    pub fn url(&self, repository: &Path) -> String {
        format!("ssh://root@{}{}", self.host(), repository.display())
    }

    /// The private key that may come in.
    pub fn key(&self) -> PathBuf {
        self.dir.join("client_key")
    }

    /// The file with its own key.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }
}

fn listens(port: u16) -> Result<()> {
    wait::until_true("the git server to listen", LISTENS_WITHIN, || {
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    })
}
