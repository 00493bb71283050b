//! Accepting connections and starting TLS on them.

use super::run::Purpose;
use super::{Admitted, Worker};
use crate::client::socket::Socket;
use crate::client::{Client, ClientIo};
use crate::client2;
use crate::h1::rewrite;
use crate::tls::UNRECOGNIZED_NAME;
use crate::visit::{Scheme, Visitor};
use std::net::SocketAddr;
use std::pin::Pin;
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
    let stream = Socket(stream);
    let visitor = |scheme| {
        let address = peer.ip().to_canonical().to_string();
        let proto = match scheme {
            Scheme::Http => "http",
            Scheme::Https { .. } | Scheme::Redirect => "https",
        };
        Visitor {
            worker: Rc::clone(&worker),
            scheme,
            http2: false,
            forwarded: rewrite::connection(&address, proto, port),
            address: address.into(),
        }
    };
    let served = match purpose {
        Purpose::Plain => Some(requests(visitor(Scheme::Http), stream, refused)),
        Purpose::Redirect => Some(requests(visitor(Scheme::Redirect), stream, refused)),
        Purpose::Https => {
            let deadline = worker.sweep.register();
            deadline.set_phase(Some(HANDSHAKE_MAX));
            let secured = secured(&worker, stream, refused, visitor);
            let done = deadline.bound(Box::pin(secured)).await;
            done.ok().and_then(Result::ok)
        }
    };
    if let Some(served) = served {
        served.await;
    }
}

/// The rest of a connection's life. In memory of its own: the task would otherwise hold room for every way a connection
/// can go, most of it unused, as long as the connection lives.
type Served = Pin<Box<dyn Future<Output = ()>>>;

fn requests<C: ClientIo + 'static>(visitor: Visitor, stream: C, refused: bool) -> Served {
    let mut client = Box::new(Client::new(visitor, stream, refused));
    Box::pin(async move { client.serve().await })
}

/// Does the handshake; answers what is to be done with the connection then.
async fn secured(
    worker: &Worker,
    stream: Socket,
    refused: bool,
    visitor: impl FnOnce(Scheme) -> Visitor,
) -> std::io::Result<Served> {
    let (tls, name) = handshake(worker, stream).await?;
    let visitor = visitor(Scheme::Https { name });
    Ok(match tls.get_ref().1.alpn_protocol() {
        Some(b"h2") => Box::pin(client2::serve(visitor, tls, refused)),
        _ => requests(visitor, tls, refused),
    })
}

type Tls = tokio_rustls::server::TlsStream<Socket>;

/// Does the handshake, if there is a certificate for the name the client wants; answers that name in lower case.
async fn handshake(worker: &Worker, stream: Socket) -> std::io::Result<(Tls, Box<str>)> {
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
