//! Connections to registries: TCP, TLS, and one HTTP/1.1 request each.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long one address may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a registry may take to begin its answer: some prepare content first.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    /// The `Host` header's value.
    pub(super) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// The TLS configuration: the system's certificates and those given.
pub(super) fn tls_config(ca_pem: &[String]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_certificates().iter().cloned());
    for pem in ca_pem {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate
                .map_err(|e| format!("an additional certificate cannot be read: {e}"))?;
            roots
                .add(certificate)
                .map_err(|e| format!("an additional certificate is invalid: {e}"))?;
        }
        if roots.len() == before {
            return Err("an additional certificate has no PEM text of one".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The system's certificates, read once. A machine without any can still pull with certificates given.
fn system_certificates() -> &'static [CertificateDer<'static>] {
    static CERTIFICATES: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    CERTIFICATES.get_or_init(|| {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::warn!(%error, "a certificate of the system could not be read");
        }
        loaded.certs
    })
}

/// Sends a request over a connection of its own. The error says what failed.
pub(super) async fn send(
    origin: &Origin,
    tls: &Arc<ClientConfig>,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let stream = connect(&origin.host, origin.port).await?;
    if !origin.tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(origin.host.clone())
        .map_err(|_| format!("`{}` cannot have a certificate", origin.host))?;
    let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
    match timeout(HANDSHAKE_MAX, handshake).await {
        Ok(Ok(stream)) => exchange(stream, request).await,
        Ok(Err(error)) => Err(format!("TLS with it failed: {error}")),
        Err(_) => Err(format!(
            "no TLS handshake within {} s",
            HANDSHAKE_MAX.as_secs()
        )),
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|e| format!("its name `{host}` has no address: {e}"))?;
    let mut failed = format!("its name `{host}` has no address");
    for address in addresses {
        match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Only latency depends on it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failed = format!("connecting to {address} failed: {error}"),
            Err(_) => failed = format!("{address} did not answer for {} s", CONNECT_MAX.as_secs()),
        }
    }
    Err(failed)
}

async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("HTTP with it failed: {e}"))?;
    // Ends by itself when the answer was read or dropped; its errors come out of the answer's body.
    tokio::spawn(connection);
    match timeout(ANSWER_MAX, sender.send_request(request)).await {
        Ok(answer) => answer.map_err(|e| format!("HTTP with it failed: {e}")),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}
