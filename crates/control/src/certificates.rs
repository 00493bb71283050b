//! The local certificate authority and the certificates it signs: one for the platform's own addresses, one for the
//! services' default domain. The authority is made at the first start and stays; leaves are made anew in time.

use apron_link::proxy::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// How long the authority is valid.
const AUTHORITY_DAYS: i64 = 3650;

/// How long a leaf is valid: clients begin to refuse leaves of more than 398 days.
const LEAF_DAYS: i64 = 397;

/// Hours a certificate is valid before it was made, for clients whose clock is behind.
const BACKDATED_HOURS: i64 = 24;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The system's answer.
        error: io::Error,
    },
    /// The certificate library refuses.
    #[error("cannot make a certificate for {name}: {error}")]
    Make {
        /// For what.
        name: String,
        /// The library's answer.
        error: rcgen::Error,
    },
}

/// The local certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Reads the authority from `ca.pem` and `ca.key` in this directory, or makes it there.
    pub fn open(dir: &Path, now: OffsetDateTime) -> Result<Authority, CertificateError> {
        let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !key.exists() {
            let made = make_authority(now).map_err(|error| make_failed("the authority", error))?;
            write_private(&key, made.1.as_bytes(), 0o600)?;
            write_private(&certificate, made.0.as_bytes(), 0o644)?;
        }
        let certificate_pem = read(&certificate)?;
        let failed = |error| make_failed("the authority", error);
        let key = KeyPair::from_pem(&read(&key)?).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key).map_err(failed)?;
        Ok(Authority {
            issuer,
            certificate_pem,
        })
    }

    /// The authority's certificate, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A new leaf for these DNS names and IP addresses.
    pub fn leaf(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<Certificate, CertificateError> {
        let first = names.first().cloned().unwrap_or_default();
        let make = || -> Result<Certificate, rcgen::Error> {
            let mut params = CertificateParams::default();
            params.subject_alt_names = alternative_names(names)?;
            params
                .distinguished_name
                .push(DnType::CommonName, first.clone());
            params.not_before = now - Duration::hours(BACKDATED_HOURS);
            params.not_after = now + Duration::days(LEAF_DAYS);
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?;
            Ok(Certificate {
                id: first.clone(),
                names: names.to_vec(),
                chain_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
                key_pem: key.serialize_pem(),
            })
        };
        make().map_err(|error| make_failed(&first, error))
    }
}

fn alternative_names(names: &[String]) -> Result<Vec<SanType>, rcgen::Error> {
    let one = |name: &String| match name.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.as_str().try_into()?)),
    };
    names.iter().map(one).collect()
}

fn make_authority(now: OffsetDateTime) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Apron local authority {}", now.date()),
    );
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Apron");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - Duration::hours(BACKDATED_HOURS);
    params.not_after = now + Duration::days(AUTHORITY_DAYS);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn make_failed(name: &str, error: rcgen::Error) -> CertificateError {
    CertificateError::Make {
        name: name.to_owned(),
        error,
    }
}

fn read(path: &Path) -> Result<String, CertificateError> {
    std::fs::read_to_string(path).map_err(|error| CertificateError::File {
        path: path.display().to_string(),
        error,
    })
}

/// Writes a file as a whole: a reader sees the old content or the new, never a part.
fn write_private(path: &Path, content: &[u8], mode: u32) -> Result<(), CertificateError> {
    let temporary: PathBuf = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| CertificateError::File {
        path: path.display().to_string(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_stays_and_its_key_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let first = Authority::open(dir.path(), now).unwrap();
        let second = Authority::open(dir.path(), now + Duration::days(30)).unwrap();
        assert_eq!(first.certificate_pem(), second.certificate_pem());
        let mode = std::fs::metadata(dir.path().join("ca.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let leaf = second
            .leaf(
                &[
                    "*.us-east-1.apron.localhost".to_owned(),
                    "127.0.0.1".to_owned(),
                ],
                now,
            )
            .unwrap();
        assert_eq!(leaf.chain_pem.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(!format!("{leaf:?}").contains("PRIVATE"));
    }
}
