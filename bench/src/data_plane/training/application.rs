//! The application of the training: takes bodies, gives them back, streams and upgrades, over HTTP/1.1 and over HTTP/2
//! without TLS, on a thread of its own.

use super::super::application::on_a_thread;
use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;

/// Pieces of a stream.
const PIECES: usize = 4;
const PIECE: &[u8] = &[b'0'; 500];

/// Starts the application; it serves until the process ends.
pub fn start() -> Result<SocketAddr> {
    let routes = Router::new()
        .route("/collect", post(collect))
        .route("/echo", post(echo))
        .route("/stream", get(stream))
        .route("/tunnel", get(tunnel));
    on_a_thread(|listener| async move {
        let listener = listener.tap_io(|stream| {
            // One that waits with what it sends is only slower.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, routes).await
    })
}

/// Reads everything, then answers how much it was.
async fn collect(body: Bytes) -> String {
    format!("{} bytes", body.len())
}

/// Gives the body back while it comes.
async fn echo(request: Request) -> Response {
    Response::new(request.into_body())
}

/// Answers in pieces whose number is not said before.
async fn stream() -> Body {
    let pieces = std::iter::repeat_n(Ok::<_, Infallible>(PIECE), PIECES);
    Body::from_stream(futures_util::stream::iter(pieces))
}

/// Becomes a connection that gives everything back.
async fn tunnel(request: Request) -> Result<Response, StatusCode> {
    let protocol = request.headers().get(header::UPGRADE).cloned();
    let protocol = protocol.ok_or(StatusCode::UPGRADE_REQUIRED)?;
    tokio::spawn(async move {
        // A client that has left needs nothing.
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("upgrade"),
    );
    headers.insert(header::UPGRADE, protocol);
    Ok(response)
}
