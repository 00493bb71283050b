//! Reads the documents of issuers: HTTPS, bounded in time and size, no redirects, and none but public addresses unless the
//! operator wants others.

use super::addresses::is_public;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Time for one document, from the name to the last byte.
const WITHIN: Duration = Duration::from_secs(5);
/// Bytes of one document.
const BYTES_MAX: usize = 256 << 10;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// How documents are fetched.
#[derive(Clone, Debug, Default)]
pub struct FetchSettings {
    /// Certificates (PEM) to trust besides the system's.
    pub authorities: Vec<String>,
    /// Whether issuers may have addresses that are not public.
    pub private_addresses: bool,
}

/// Reads one document.
///
/// # Errors
/// What failed, for people.
pub(super) async fn fetch(url: &str, settings: &FetchSettings) -> Result<Bytes, String> {
    match tokio::time::timeout(WITHIN, fetch_untimed(url, settings)).await {
        Ok(result) => result.map_err(|reason| format!("{url}: {reason}")),
        Err(_) => Err(format!(
            "{url}: no whole answer within {} s",
            WITHIN.as_secs()
        )),
    }
}

async fn fetch_untimed(url: &str, settings: &FetchSettings) -> Result<Bytes, String> {
    let uri: Uri = url.parse().map_err(|_| "it is not a URL".to_owned())?;
    let https = uri.scheme_str() == Some("https");
    let authority = uri
        .authority()
        .filter(|it| https && !it.as_str().contains('@'));
    let authority = authority.ok_or("it is not an https URL of a host")?;
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let stream = connect(host, authority.port_u16().unwrap_or(443), settings).await?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` cannot have a certificate"))?;
    let connector = TlsConnector::from(tls(&settings.authorities)?);
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| format!("TLS failed: {error}"))?;
    let failed = |error: hyper::Error| format!("HTTP failed: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // Ends when the answer was read or dropped.
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/json")
        .header(
            header::USER_AGENT,
            concat!("apron/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("it cannot be asked for: {error}"))?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        connection.abort();
        return Err(format!(
            "the answer is {}, redirects are not followed",
            answer.status()
        ));
    }
    let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
    connection.abort();
    let body = body.map_err(|error| format!("the answer cannot be read: {error}"))?;
    Ok(body.to_bytes())
}

async fn connect(host: &str, port: u16, settings: &FetchSettings) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| format!("the name `{host}` has no address: {error}"))?
        .collect();
    let allowed = |it: &&SocketAddr| settings.private_addresses || is_public(it.ip());
    let mut failed =
        format!("`{host}` has no public address; `private_issuers` of apron.toml allows others");
    for address in found.iter().filter(allowed).take(ADDRESSES_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = format!("connecting to {address} failed: {error}"),
        }
    }
    Err(failed)
}

fn tls(authorities: &[String]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_certificates().iter().cloned());
    for pem in authorities {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate =
                certificate.map_err(|error| format!("an authority cannot be read: {error}"))?;
            let added = roots.add(certificate);
            added.map_err(|error| format!("an authority cannot be used: {error}"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}

/// The system's certificates, read once.
fn system_certificates() -> &'static [CertificateDer<'static>] {
    static CERTIFICATES: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    CERTIFICATES.get_or_init(|| rustls_native_certs::load_native_certs().certs)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        fetch(url, &FetchSettings::default()).await.unwrap_err()
    }

    #[tokio::test]
    async fn only_public_https_is_asked() {
        for url in [
            "http://localhost/",
            "file:///etc/passwd",
            "https://user@localhost/",
            "https:///x",
            "",
        ] {
            let error = refused(url).await;
            assert!(error.contains("URL"), "{error}");
        }
        for url in [
            "https://localhost:1/",
            "https://127.0.0.1:1/",
            "https://[::1]:1/",
        ] {
            let error = refused(url).await;
            assert!(error.contains("no public address"), "{error}");
        }
    }
}
