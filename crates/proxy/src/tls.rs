//! TLS: certificates by server name, one configuration for all of them.

use apron_link::proxy::Certificate;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::sync::Arc;

/// TLS 1.3 session tickets sent after a handshake: one is what a client uses.
const TICKETS: usize = 1;

/// Bytes a fatal `unrecognized_name` alert stands in on the wire (RFC 8446 section 6.2, RFC 6066 section 3).
pub const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

/// Certificates by name and the configuration that uses them.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For every handshake.
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
}

/// A certificate of a table that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("certificate for {names:?} cannot be used: {problem}")]
pub struct CertificateError {
    names: Vec<String>,
    problem: String,
}

#[derive(Debug, Default)]
struct Certificates(ArcSwap<Names>);

#[derive(Debug, Default)]
struct Names {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By the part after `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// Loaded keys by their texts, so that a new table loads only what is new.
    loaded: HashMap<(String, String), Arc<CertifiedKey>>,
}

impl Names {
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let parent = || {
            name.split_once('.')
                .and_then(|(_, parent)| self.wildcard.get(parent))
        };
        self.exact.get(name).or_else(parent)
    }
}

/// aws-lc with AES-128-GCM-SHA256 first: processors have instructions for SHA-256 that they lack for SHA-384, and the
/// difference is a third of a handshake.
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let first = [
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    provider
        .cipher_suites
        .sort_by_key(|suite| !first.contains(suite));
    provider
}

impl Tls {
    /// A configuration without certificates.
    pub fn new() -> Result<Tls, rustls::Error> {
        let certificates = Arc::new(Certificates::default());
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
        let resolver = Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        config.send_tls13_tickets = TICKETS;
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Tls {
            config: Arc::new(config),
            certificates,
        })
    }

    /// Whether there is a certificate for this name (lower case).
    pub fn knows(&self, name: &str) -> bool {
        self.certificates.0.load().find(name).is_some()
    }

    /// Replaces the certificates. One that cannot be used is left out and reported; the others serve.
    pub fn replace(&self, certificates: &[Certificate]) -> Vec<CertificateError> {
        let before = self.certificates.0.load_full();
        let (mut names, mut errors) = (Names::default(), Vec::new());
        for certificate in certificates {
            let texts = (certificate.chain_pem.clone(), certificate.key_pem.clone());
            let key = match before.loaded.get(&texts) {
                Some(key) => Arc::clone(key),
                None => match load(&self.config, certificate) {
                    Ok(key) => Arc::new(key),
                    Err(problem) => {
                        errors.push(CertificateError {
                            names: certificate.names.clone(),
                            problem,
                        });
                        continue;
                    }
                },
            };
            for name in &certificate.names {
                let name = name.to_ascii_lowercase();
                match name.strip_prefix("*.") {
                    Some(parent) => names.wildcard.insert(parent.into(), Arc::clone(&key)),
                    None => names.exact.insert(name.into(), Arc::clone(&key)),
                };
            }
            names.loaded.insert(texts, key);
        }
        self.certificates.0.store(Arc::new(names));
        errors
    }
}

fn load(config: &ServerConfig, certificate: &Certificate) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("chain: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
        .map_err(|error| format!("key: {error}"))?;
    if chain.is_empty() {
        return Err("the chain is empty".into());
    }
    CertifiedKey::from_der(chain, key, config.crypto_provider()).map_err(|error| error.to_string())
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.0.load().find(&name).cloned()
    }
}
