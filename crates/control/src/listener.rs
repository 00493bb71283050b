//! The TLS listener of the control plane: the AWS endpoint, the image registry and git repositories on one address.
//!
//! Its own accept loop, because every wait needs an end: the handshake, the request head, idle connections, the number of
//! connections.

use crate::clock::Clock;
use crate::endpoint::{Endpoint, Peer};
use crate::git::{self, GitDoor};
use crate::hooks::{self, HookDoor};
use crate::web_identity::{self, WebIdentity};
use apron_link::proxy::Certificate;
use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{Domain, Protocol, Socket, Type};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// Connections served at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 2_048;

/// Time for a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Time for a request head, and for an idle HTTP/1.1 connection between requests.
const HEAD_WITHIN: Duration = Duration::from_secs(60);

/// Connections of instances that wait to be accepted.
const BACKLOG: i32 = 512;

/// Pause after an accept that failed, for example because there are no descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What answers requests.
#[derive(Clone)]
pub struct Site {
    /// The AWS services.
    pub endpoint: Arc<Endpoint>,
    /// The image registry under `/v2/`, where it is offered.
    pub registry: Option<axum::Router>,
    /// The platform's own git repositories under `/git/`, where they are offered.
    pub git: Option<Arc<GitDoor>>,
    /// Webhooks of other hosts of repositories under `/hooks/`, where they are taken.
    pub hooks: Option<Arc<HookDoor>>,
    /// The documents of the platform as an issuer, where they are offered, and the time.
    pub issuer: Option<(Arc<WebIdentity>, Arc<dyn Clock>)>,
}

impl Site {
    fn answer(
        self,
        request: Request<hyper::body::Incoming>,
    ) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        Box::pin(self.route(request))
    }

    async fn route(
        self,
        request: Request<hyper::body::Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path();
        if let Some(registry) = self.registry
            && (path == "/v2" || path.starts_with("/v2/"))
        {
            return registry.oneshot(request.map(Body::new)).await;
        }
        if let Some(git) = self.git.as_ref().filter(|_| git::is_path(path)) {
            return Ok(git.handle(request.map(Body::new)).await);
        }
        if let Some(hooks) = self.hooks.as_ref().filter(|_| hooks::is_path(path)) {
            return Ok(hooks.handle(request.map(Body::new)).await);
        }
        if let Some((issuer, clock)) = self.issuer.as_ref().filter(|_| web_identity::is_path(path))
        {
            let now = clock.now();
            return Ok(web_identity::answer(issuer, request.method(), path, now).await);
        }
        Ok(self
            .endpoint
            .handle(request.map(Body::new))
            .await
            .map(Body::new))
    }
}

/// The TLS configuration that answers with the newest certificate of the receiver.
pub fn tls(certificate: &Certificate) -> io::Result<Arc<ServerConfig>> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes()).collect();
    let chain = chain.map_err(io::Error::other)?;
    let key =
        PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Binds an address; the error names it and says how to find who has it.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = format!(
            "see who uses it with `ss -ltnp 'sport = :{}'`",
            address.port()
        );
        io::Error::new(
            error.kind(),
            format!("cannot listen on {address}: {error}; {hint}"),
        )
    })
}

/// Binds any free port of an address that this machine does not have yet: that of the instances' interfaces, which come with
/// the first instance.
pub fn bind_ahead(address: Ipv4Addr) -> io::Result<TcpListener> {
    let bound = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_freebind_v4(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|error| {
        let text = format!("cannot listen for instances on {address}: {error}");
        io::Error::new(error.kind(), text)
    })
}

/// Accepts for ever. The TLS configuration may be replaced while running.
pub async fn serve(listener: TcpListener, tls: watch::Receiver<Arc<ServerConfig>>, site: Site) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let acceptor = TlsAcceptor::from(tls.borrow().clone());
        let site = site.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, acceptor, site).await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor, site: Site) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let peer = Peer(stream.peer_addr()?.ip().to_canonical());
    let stream = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await??;
    let service = hyper::service::service_fn(move |mut request: Request<_>| {
        request.extensions_mut().insert(peer);
        site.clone().answer(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_WITHIN)
        .max_concurrent_streams(128);
    builder
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}
