//! Certificates as a Java key store: programs of Java read no PEM.
//!
//! The format is JKS, which every version of Java reads (OpenJDK, `sun.security.provider.JavaKeyStore`): big-endian numbers,
//! strings of two bytes of length and their text, and a digest over a password and all before it.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// What a key store begins with.
const MAGIC: u32 = 0xfeed_feed;

const VERSION: u32 = 2;

/// The kind of an entry that is a certificate to trust.
const TRUSTED: u32 = 2;

/// The password that Java's own key stores of certificates have. It keeps no secret: who reads them gives none.
const PASSWORD: &str = "changeit";

/// The word that goes into the digest after the password.
const WHITENING: &[u8] = b"Mighty Aphrodite";

/// A key store with the certificates of a PEM file; what in it is none is left out.
pub fn of_pem(pem: &[u8]) -> Vec<u8> {
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .collect();
    let mut store = Vec::new();
    let count = certificates.len() as u32;
    for number in [MAGIC, VERSION, count] {
        store.extend(number.to_be_bytes());
    }
    for (number, certificate) in certificates.iter().enumerate() {
        store.extend(TRUSTED.to_be_bytes());
        text(&mut store, &format!("trusted-{number}"));
        // When it came into the store, in milliseconds; the same certificates are the same store.
        store.extend(0_u64.to_be_bytes());
        text(&mut store, "X.509");
        store.extend((certificate.len() as u32).to_be_bytes());
        store.extend(certificate.as_ref());
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for part in [&password, WHITENING, &store] {
        digest.update(part);
    }
    store.extend(digest.finish().as_ref());
    store
}

fn text(store: &mut Vec<u8>, text: &str) {
    store.extend((text.len() as u16).to_be_bytes());
    store.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_entries_and_other_parts_are_none() {
        let pem = "# a name\n-----BEGIN CERTIFICATE-----\nAAECAw==\n-----END CERTIFICATE-----\n\
                   -----BEGIN PUBLIC KEY-----\nAAEC\n-----END PUBLIC KEY-----\n\
                   -----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----\n";
        let store = of_pem(pem.as_bytes());
        assert_eq!(
            store[..12],
            [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2]
        );
        let entry = |alias: &str, der: &[u8]| {
            let mut entry = vec![0, 0, 0, 2, 0, 9];
            entry.extend(alias.as_bytes());
            entry.extend([0; 8]);
            entry.extend(b"\0\x05X.509");
            entry.extend((der.len() as u32).to_be_bytes());
            entry.extend(der);
            entry
        };
        let entries = [
            entry("trusted-0", &[0, 1, 2, 3]),
            entry("trusted-1", &[4, 5, 6]),
        ]
        .concat();
        assert_eq!(store[12..store.len() - 20], entries);
        // An empty store, as `keytool` makes it with this password.
        let empty = of_pem(b"");
        assert_eq!(empty.len(), 12 + 20);
    }
}
