//! Certificates by server name. A change loads what is in it; everything else stays as it is.

use crate::route::claims::Claims;
use crate::route::map::Map;
use apron_link::proxy::Certificate;
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("certificate {id} for {names:?} cannot be used: {problem}")]
pub struct CertificateError {
    id: String,
    names: Vec<String>,
    problem: String,
}

/// The certificates in force.
#[derive(Debug, Default)]
pub struct Certificates {
    names: ArcSwap<Names>,
    held: Mutex<Held>,
}

/// Keys by exact name, and by the part after `*.`.
#[derive(Clone, Debug, Default)]
struct Names {
    exact: Map<Arc<CertifiedKey>>,
    wildcard: Map<Arc<CertifiedKey>>,
}

/// What the names were made of.
#[derive(Debug, Default)]
struct Held {
    certificates: HashMap<String, (Vec<String>, Arc<CertifiedKey>)>,
    claims: Claims,
}

impl Names {
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let parent = || {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        };
        self.exact.get(name).or_else(parent)
    }

    fn set(&mut self, name: &str, key: Option<&Arc<CertifiedKey>>) {
        let (map, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, name),
        };
        match key {
            Some(key) => map.insert(name, Arc::clone(key)),
            None => map.remove(name),
        }
    }
}

impl Certificates {
    /// Whether there is a certificate for this name (lower case).
    pub fn knows(&self, name: &str) -> bool {
        self.names.load().find(name).is_some()
    }

    /// Puts these certificates in the place of all others. One that cannot be used is left out and reported; the others
    /// serve.
    pub fn replace(
        &self,
        provider: &CryptoProvider,
        certificates: &[Certificate],
    ) -> Vec<CertificateError> {
        let stay: HashSet<&str> = certificates.iter().map(|it| it.id.as_str()).collect();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.certificates.keys();
        let gone: Vec<String> = known
            .filter(|id| !stay.contains(id.as_str()))
            .cloned()
            .collect();
        drop(held);
        self.change(provider, certificates, &gone)
    }

    /// Puts these certificates in the place of those with the same ids and takes the `removed` ids out. One that cannot be
    /// used is left out and reported.
    pub fn change(
        &self,
        provider: &CryptoProvider,
        certificates: &[Certificate],
        removed: &[String],
    ) -> Vec<CertificateError> {
        if certificates.is_empty() && removed.is_empty() {
            return Vec::new();
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = Names::clone(&self.names.load());
        let mut errors = Vec::new();
        for id in removed {
            held.take_out(&mut names, id);
        }
        for certificate in certificates {
            match load(provider, certificate, held.key(&certificate.id)) {
                Ok(key) => held.put_in(&mut names, certificate, key),
                Err(problem) => {
                    held.take_out(&mut names, &certificate.id);
                    errors.push(CertificateError {
                        id: certificate.id.clone(),
                        names: certificate.names.clone(),
                        problem,
                    });
                }
            }
        }
        self.names.store(Arc::new(names));
        errors
    }
}

impl Held {
    fn key(&self, id: &str) -> Option<&Arc<CertifiedKey>> {
        Some(&self.certificates.get(id)?.1)
    }

    fn put_in(&mut self, names: &mut Names, certificate: &Certificate, key: Arc<CertifiedKey>) {
        let id = &certificate.id;
        let claimed = certificate.names.iter();
        let claimed: Vec<String> = claimed.map(|name| name.to_ascii_lowercase()).collect();
        let entry = (claimed.clone(), key);
        let before = self.certificates.insert(id.clone(), entry);
        for name in &claimed {
            self.claims.claim(name, id);
            self.settle(names, name);
        }
        for name in before.iter().flat_map(|(names, _)| names) {
            if !claimed.contains(name) {
                self.claims.give_up(name, id);
                self.settle(names, name);
            }
        }
    }

    fn take_out(&mut self, names: &mut Names, id: &str) {
        if let Some((given_up, _)) = self.certificates.remove(id) {
            for name in &given_up {
                self.claims.give_up(name, id);
                self.settle(names, name);
            }
        }
    }

    /// Gives a name the key of the certificate whose claim counts.
    fn settle(&self, names: &mut Names, name: &str) {
        let key = self.claims.owner(name).and_then(|owner| self.key(owner));
        names.set(name, key);
    }
}

/// Loads a certificate with its key, or answers `known` if its chain is the same: then the key is, too.
fn load(
    provider: &CryptoProvider,
    certificate: &Certificate,
    known: Option<&Arc<CertifiedKey>>,
) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("chain: {error}"))?;
    if let Some(known) = known.filter(|known| known.cert == chain) {
        return Ok(Arc::clone(known));
    }
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
        .map_err(|error| format!("key: {error}"))?;
    if chain.is_empty() {
        return Err("the chain is empty".into());
    }
    let loaded = CertifiedKey::from_der(chain, key, provider);
    loaded.map(Arc::new).map_err(|error| error.to_string())
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.names.load().find(&name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(id: &str, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        Certificate {
            id: id.into(),
            names,
            chain_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    #[test]
    fn changes_touch_what_they_name() {
        let (provider, all) = (crate::tls::provider(), Certificates::default());
        let wide = certificate("wide", &["*.apron.test"]);
        assert!(
            all.replace(&provider, std::slice::from_ref(&wide))
                .is_empty()
        );
        assert!(all.knows("a.apron.test") && !all.knows("a.b.apron.test"));
        let own = certificate("own", &["a.apron.test", "shop.test"]);
        all.change(&provider, std::slice::from_ref(&own), &[]);
        let key = |name: &str| Arc::clone(all.names.load().find(name).unwrap());
        let before = key("b.apron.test");
        assert!(!Arc::ptr_eq(&before, &key("a.apron.test")));
        // The same once more is not loaded once more; a renewed one takes the names over.
        all.change(&provider, std::slice::from_ref(&wide), &[]);
        assert!(Arc::ptr_eq(&before, &key("b.apron.test")));
        all.change(&provider, &[certificate("own", &["shop.test"])], &[]);
        assert!(Arc::ptr_eq(&before, &key("a.apron.test")));
        let mut broken = certificate("own", &["shop.test"]);
        broken.key_pem = wide.key_pem.clone();
        let errors = all.change(&provider, &[broken], &["wide".into()]);
        assert_eq!((errors.len(), all.knows("shop.test")), (1, false));
        assert!(!all.knows("b.apron.test"));
    }
}
