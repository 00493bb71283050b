//! A second registry on loopback: the reference implementation, as the distribution packages it.

use crate::{Platform, assets, run, wait};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running second registry; it ends when this is dropped.
pub struct Registry {
    port: u16,
    process: Child,
    credentials: Option<(String, String)>,
}

impl Registry {
    /// Starts a registry that serves plain HTTP on a port of the platform's slot, with or without credentials.
    pub fn start(
        platform: &Platform,
        index: u16,
        credentials: Option<(&str, &str)>,
    ) -> Result<Registry> {
        let port = platform.slot.port(index);
        let dir = platform.dir().join(format!("registry{index}"));
        fs::create_dir_all(&dir)?;
        let mut settings = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.join("data").display()
        );
        if let Some((user, password)) = credentials {
            let file = dir.join("htpasswd");
            write_htpasswd(&file, user, password)?;
            settings.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: second\n    path: {}\n",
                file.display()
            ));
        }
        let file = dir.join("config.yml");
        fs::write(&file, settings)?;
        let process = Command::new(assets::find("registry/usr/bin/docker-registry")?)
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("the second registry could not be started")?;
        let credentials =
            credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let registry = Registry {
            port,
            process,
            credentials,
        };
        wait::until_true(
            "the second registry to listen",
            Duration::from_secs(10),
            || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()),
        )?;
        Ok(registry)
    }

    /// Its name in image references.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Pushes a layout and returns the image's whole name.
    pub fn push(&self, layout: &Path, reference: &str) -> Result<String> {
        self.push_tagged(layout, "image", reference)
    }

    /// Pushes the image of a layout that has this tag and returns its whole name.
    pub fn push_tagged(&self, layout: &Path, tag: &str, reference: &str) -> Result<String> {
        let image = format!("{}/{reference}", self.host());
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--dest-tls-verify=false"]);
        if let Some((user, password)) = &self.credentials {
            command
                .arg("--dest-creds")
                .arg(format!("{user}:{password}"));
        }
        run::ok(
            command
                .arg(format!("oci:{}:{tag}", layout.display()))
                .arg(format!("docker://{image}")),
        )?;
        Ok(image)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Writes a password file in the only form the registry takes, bcrypt, with Python's help.
fn write_htpasswd(file: &Path, user: &str, password: &str) -> Result<()> {
    let hash = run::ok(Command::new(assets::python()?).args(["-c", BCRYPT, password]))
        .context("the password could not be hashed")?;
    ensure!(hash.starts_with("$2"), "not a bcrypt hash: {hash}");
    fs::write(file, format!("{user}:{}\n", hash.trim()))
        .context("could not write the password file")
}

/// The C library's own hashing function, called from Python.
const BCRYPT: &str = "\
import ctypes, ctypes.util, sys
lib = ctypes.CDLL(ctypes.util.find_library('crypt') or 'libcrypt.so.1')
lib.crypt.restype = ctypes.c_char_p
print(lib.crypt(sys.argv[1].encode(), b'$2b$05$abcdefghijklmnopqrstuu').decode())
";
