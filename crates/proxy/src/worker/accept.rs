//! Accepting connections and starting TLS on them.

use super::run::Purpose;
use super::{Admitted, Worker};
use crate::client::Client;
use crate::client2;
use crate::tls::UNRECOGNIZED_NAME;
use crate::visit::{Scheme, Visitor};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

/// Longest time of a TLS handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long accepting rests when the system has no descriptor or memory left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Connections over the bound that are still told so, per worker; beyond them connections are closed without a word.
const REFUSED_MAX: usize = 256;

/// Accepts connections for ever.
pub async fn accept(worker: Rc<Worker>, purpose: Purpose, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let over = worker
                    .connections
                    .get()
                    .saturating_sub(worker.shared.connections_max);
                if over < REFUSED_MAX {
                    let admitted = Admitted::new(&worker);
                    let refused = worker.connections.get() > worker.shared.connections_max;
                    tokio::task::spawn_local(serve(
                        worker.clone(),
                        purpose,
                        stream,
                        peer,
                        refused,
                        admitted,
                    ));
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Errors that accept(2) passes on from a connection that is gone already.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

async fn serve(
    worker: Rc<Worker>,
    purpose: Purpose,
    stream: TcpStream,
    peer: SocketAddr,
    refused: bool,
    _admitted: Admitted,
) {
    // Small answers must not wait for an acknowledgement. Failing means that the connection is gone, which reading tells.
    let _ = stream.set_nodelay(true);
    let port = stream.local_addr().map_or(0, |address| address.port());
    let visitor = |scheme| Visitor {
        worker: Rc::clone(&worker),
        scheme,
        http2: false,
        address: peer.ip().to_canonical().to_string().into(),
        port: port.to_string().into(),
    };
    match purpose {
        Purpose::Plain => {
            Client::new(visitor(Scheme::Http), stream, refused)
                .serve()
                .await
        }
        Purpose::Redirect => {
            Client::new(visitor(Scheme::Redirect), stream, refused)
                .serve()
                .await
        }
        Purpose::Https => {
            let deadline = worker.sweep.register();
            deadline.set_phase(Some(HANDSHAKE_MAX));
            let done = deadline.bound(Box::pin(handshake(&worker, stream))).await;
            drop(deadline);
            if let Ok(Ok((tls, name))) = done {
                let visitor = visitor(Scheme::Https { name });
                match tls.get_ref().1.alpn_protocol() {
                    Some(b"h2") => client2::serve(visitor, tls, refused).await,
                    _ => Client::new(visitor, tls, refused).serve().await,
                }
            }
        }
    }
}

type Tls = tokio_rustls::server::TlsStream<TcpStream>;

/// Does the handshake, if there is a certificate for the name the client wants; answers that name in lower case.
async fn handshake(worker: &Worker, stream: TcpStream) -> std::io::Result<(Tls, Box<str>)> {
    let mut start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let name = start
        .client_hello()
        .server_name()
        .map(str::to_ascii_lowercase);
    match name.filter(|name| worker.shared.tls.certificates().knows(name)) {
        Some(name) => {
            let tls = start.into_stream(worker.shared.tls.config.clone()).await?;
            Ok((tls, name.into()))
        }
        None => {
            start.io.write_all(&UNRECOGNIZED_NAME).await?;
            start.io.shutdown().await?;
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
    }
}
