//! The layer that a build's instance has on top of its image and that is never shipped: its script, and the certificates
//! that the machine trusts.

use super::keystore;
use super::script::{SCRIPT, TOOLS};
use apron_oci::{ContentStore, Layer, LayerWriter, OciError};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// Where programs of Debian look for certificates, and where a build's variables point the others.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The program that installs Node.js in a base image.
const NODE: &str = include_str!("node.py");

/// Largest file of certificates, in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 8 << 20;

/// Debian's package manager in a build: no waiting for the disk, which nobody mounts again, and no manuals.
const DPKG: &str = "force-unsafe-io\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/doc/*\n\
     path-include=/usr/share/doc/*/copyright\npath-exclude=/usr/share/locale/*\npath-exclude=/usr/share/info/*\n";

/// Variables that make programs trust [`CERTIFICATES`], each by its own name.
const TRUST_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "AWS_CA_BUNDLE",
];

/// The same certificates for programs of Java.
const KEYSTORE: &str = "/.apron/cacerts";

/// Variables with options for the Java of a program that fetches packages. What a build sets in them itself is kept.
const JAVA_VARIABLES: &[&str] = &["MAVEN_OPTS", "GRADLE_OPTS", "SBT_OPTS"];

/// The variables of a build, where its programs trust the certificates of the layer: the platform's, over them the build's
/// own, and the options of Java in front of what is there.
pub fn trusting(
    mut platform: BTreeMap<String, String>,
    build: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    for name in TRUST_VARIABLES {
        platform.insert((*name).to_owned(), CERTIFICATES.to_owned());
    }
    platform.extend(build);
    for name in JAVA_VARIABLES {
        let value = platform.entry((*name).to_owned()).or_default();
        // The last of two options counts: who has a store of their own names it in theirs.
        *value = format!("-Djavax.net.ssl.trustStore={KEYSTORE} {value}")
            .trim_end()
            .to_owned();
    }
    platform
}

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
    small_layer(store, "write the layer of a build's script", |archive| {
        fill(archive, script, certificates)
    })
}

/// A layer of what is put into its archive. Blocks.
pub fn small_layer(
    store: &ContentStore,
    what: &str,
    fill: impl FnOnce(&mut tar::Builder<&mut LayerWriter>) -> io::Result<()>,
) -> Result<Layer, OciError> {
    let mut writer = store.layer_writer()?;
    let mut archive = tar::Builder::new(&mut writer);
    let written = fill(&mut archive).and_then(|()| archive.finish());
    drop(archive);
    written.map_err(|error| OciError::Io {
        what: what.to_owned(),
        error,
    })?;
    writer.finish()
}

fn fill(
    archive: &mut tar::Builder<impl Write>,
    script: &str,
    certificates: Option<&[u8]>,
) -> io::Result<()> {
    let directory = TOOLS.trim_start_matches('/');
    for (name, content) in [(SCRIPT, script), ("node.py", NODE)] {
        file(archive, &format!("{directory}/{name}"), content.as_bytes())?;
    }
    file(archive, "etc/dpkg/dpkg.cfg.d/apron-build", DPKG.as_bytes())?;
    if let Some(certificates) = certificates {
        file(archive, CERTIFICATES.trim_start_matches('/'), certificates)?;
        let keystore = keystore::of_pem(certificates);
        file(archive, KEYSTORE.trim_start_matches('/'), &keystore)?;
    }
    Ok(())
}

/// Puts a file into an archive that everybody may read.
pub fn file(archive: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive.append_data(&mut header, path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_build_for_java_come_after_the_platforms() {
        let of = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let env = trusting(of("PIP_CERT", "/theirs"), of("MAVEN_OPTS", "-Xmx1g"));
        let store = "-Djavax.net.ssl.trustStore=/.apron/cacerts";
        assert_eq!(env["MAVEN_OPTS"], format!("{store} -Xmx1g"));
        assert_eq!(env["GRADLE_OPTS"], store);
        assert_eq!(env["PIP_CERT"], CERTIFICATES);
        let env = trusting(BTreeMap::new(), of("PIP_CERT", "/own"));
        assert_eq!(env["PIP_CERT"], "/own");
    }
}
