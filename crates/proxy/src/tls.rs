//! TLS: one configuration for all certificates.

use crate::certificates::Certificates;
use rustls::crypto::CryptoProvider;
use rustls::crypto::{aws_lc_rs, ring};
use rustls::server::ResolvesServerCert;
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
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

/// aws-lc, with ring's record ciphers where those are faster. AES-128-GCM-SHA256 is first: processors have instructions for
/// SHA-256 that they lack for SHA-384, and the difference is a third of a handshake.
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if rings_ciphers_are_faster() {
        provider.cipher_suites = ring::ALL_CIPHER_SUITES.to_vec();
    }
    let first = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    let is_later = |suite: &SupportedCipherSuite| !first.contains(&suite.suite());
    provider.cipher_suites.sort_by_key(is_later);
    provider
}

/// Whether this processor has wide AES without AVX-512: ring has AES-GCM for it, at twice the speed of what aws-lc has; with
/// AVX-512 aws-lc has its own.
fn rings_ciphers_are_faster() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let has_wide_aes = std::arch::is_x86_feature_detected!("vaes")
            && std::arch::is_x86_feature_detected!("vpclmulqdq")
            && std::arch::is_x86_feature_detected!("avx2");
        has_wide_aes && !std::arch::is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
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

    /// The certificates in force.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// What keys are loaded with.
    pub fn provider(&self) -> &CryptoProvider {
        self.config.crypto_provider()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_libraries_offer_the_same_and_the_fast_ones_first() {
        let names = |suites: &[SupportedCipherSuite]| {
            let mut names: Vec<_> = suites.iter().map(|it| u16::from(it.suite())).collect();
            names.sort_unstable();
            names
        };
        let of_aws_lc = names(&aws_lc_rs::default_provider().cipher_suites);
        assert_eq!(names(ring::ALL_CIPHER_SUITES), of_aws_lc);
        let provider = provider();
        assert_eq!(names(&provider.cipher_suites), of_aws_lc);
        let first = provider.cipher_suites[0].suite();
        assert_eq!(first, CipherSuite::TLS13_AES_128_GCM_SHA256);
    }
}
