//! The layer that a build's instance has on top of its image and that is never shipped: its script, and the certificates
//! that the machine trusts.

use super::script::{SCRIPT, TOOLS};
use apron_oci::{ContentStore, Layer, OciError};
use std::io::{self, Write};
use std::path::Path;

/// Where programs of Debian look for certificates, and where a build's variables point the others.
pub const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The program that installs Node.js in a base image.
const NODE: &str = include_str!("node.py");

/// Largest file of certificates, in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 8 << 20;

/// Debian's package manager in a build: no waiting for the disk, which nobody mounts again, and no manuals.
const DPKG: &str = "force-unsafe-io\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/doc/*\n\
     path-include=/usr/share/doc/*/copyright\npath-exclude=/usr/share/locale/*\npath-exclude=/usr/share/info/*\n";

/// Variables that make programs trust [`CERTIFICATES`], each by its own name.
pub const TRUST_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "AWS_CA_BUNDLE",
];

/// The certificates of a file, when there is one; too large a one is none.
pub fn certificates(path: Option<&Path>) -> Option<Vec<u8>> {
    let path = path?;
    let length = std::fs::metadata(path).ok()?.len();
    match length <= CERTIFICATES_BYTES_MAX {
        true => std::fs::read(path).ok(),
        false => None,
    }
}

/// Writes the layer. Blocks.
pub fn layer(
    store: &ContentStore,
    script: &str,
    certificates: Option<&[u8]>,
) -> Result<Layer, OciError> {
    let mut writer = store.layer_writer()?;
    write(&mut writer, script, certificates).map_err(|error| OciError::Io {
        what: "write the layer of a build's script".to_owned(),
        error,
    })?;
    writer.finish()
}

fn write(into: impl Write, script: &str, certificates: Option<&[u8]>) -> io::Result<()> {
    let mut archive = tar::Builder::new(into);
    let directory = TOOLS.trim_start_matches('/');
    for (name, content) in [(SCRIPT, script), ("node.py", NODE)] {
        file(
            &mut archive,
            &format!("{directory}/{name}"),
            content.as_bytes(),
        )?;
    }
    file(
        &mut archive,
        "etc/dpkg/dpkg.cfg.d/apron-build",
        DPKG.as_bytes(),
    )?;
    if let Some(certificates) = certificates {
        file(
            &mut archive,
            CERTIFICATES.trim_start_matches('/'),
            certificates,
        )?;
    }
    archive.finish()
}

fn file(archive: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive.append_data(&mut header, path, content)
}
