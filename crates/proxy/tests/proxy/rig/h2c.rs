//! Applications that speak HTTP/2 without TLS.

use super::{Rig, route};
use apron_link::proxy::{Route, UpstreamProtocol};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// An application, on a thread of its own until it is dropped.
pub struct H2Origin {
    pub address: SocketAddr,
    /// Connections accepted so far.
    pub connections: Arc<AtomicUsize>,
    /// Connections that are open.
    pub open: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl H2Origin {
    /// Hands every connection to `handle`.
    pub fn raw<F: Future<Output = ()> + Send + 'static>(
        handle: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> H2Origin {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, now) = (Arc::clone(&connections), Arc::clone(&open));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, SeqCst);
                now.fetch_add(1, SeqCst);
                let (handled, now) = (handle(stream, number), Arc::clone(&now));
                tokio::spawn(async move {
                    handled.await;
                    now.fetch_sub(1, SeqCst);
                });
            }
        });
        H2Origin {
            address,
            connections,
            open,
            runtime: Some(runtime),
        }
    }

    /// Answers every request with `handle`, within connections that `builder` describes.
    pub fn with<F: Future<Output = ()> + Send + 'static>(
        builder: Builder,
        handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> H2Origin {
        let handle = Arc::new(handle);
        H2Origin::raw(move |stream, _| {
            let (builder, handle) = (builder.clone(), Arc::clone(&handle));
            async move {
                let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
                    return;
                };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(handle(request, respond));
                }
            }
        })
    }

    pub fn new<F: Future<Output = ()> + Send + 'static>(
        handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + Sync + 'static,
    ) -> H2Origin {
        H2Origin::with(Builder::new(), handle)
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A route of the host of the tests to instances that speak h2c.
pub fn h2c_route(instances: &[(&str, SocketAddr)]) -> Route {
    Route {
        protocol: UpstreamProtocol::H2c,
        ..route(instances)
    }
}

/// A proxy that serves the host of the tests from one application.
pub fn serving_h2c(origin: SocketAddr) -> Rig {
    let mut rig = Rig::start();
    let table = rig.table(1, vec![h2c_route(&[("one", origin)])]);
    rig.publish(table);
    rig
}
