//! Requests at the same time over a kept HTTP/2 connection.

use super::{Visit, version};
use crate::http::Target;
use anyhow::{Context, Result, ensure};
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// Requests at the same time.
const AT_ONCE: usize = 4;

/// Longest time until a connection is there or requests are answered.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Attempts to make requests that the other side says it has not begun.
const ATTEMPTS_MAX: usize = 5;

/// One client.
pub(super) struct Visitor {
    target: Target,
    runtime: Runtime,
    kept: Option<SendRequest<bytes::Bytes>>,
}

impl Visitor {
    pub(super) fn new(target: Target) -> Result<Visitor> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let kept = None;
        Ok(Visitor {
            target,
            runtime,
            kept,
        })
    }
}

impl Visit for Visitor {
    fn once(&mut self) -> Result<Option<String>> {
        let (target, kept) = (self.target.clone(), self.kept.take());
        let (connection, version) = self.runtime.block_on(within(several(target, kept)))?;
        self.kept = Some(connection);
        Ok(Some(version))
    }
}

async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ANSWER_MAX, work)
        .await
        .context("no answer in time")?
}

async fn connect(target: &Target) -> Result<SendRequest<bytes::Bytes>> {
    let tcp = TcpStream::connect(target.address).await?;
    tcp.set_nodelay(true)?;
    let config = target.tls.as_ref().context("HTTP/2 without TLS")?;
    let mut config = (**config).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(target.host.clone())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let (sender, connection) = h2::client::handshake(connector.connect(name, tcp).await?).await?;
    // How it ends is seen by the requests.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

/// Asks several times at once and gives back the connection and the version of the last answer.
async fn several(
    target: Target,
    kept: Option<SendRequest<bytes::Bytes>>,
) -> Result<(SendRequest<bytes::Bytes>, String)> {
    let mut sender = match kept {
        Some(sender) => sender,
        None => connect(&target).await?,
    };
    let mut last = String::new();
    let mut left = AT_ONCE;
    for _ in 0..ATTEMPTS_MAX {
        let asking = (0..left).map(|_| one(sender.clone(), &target));
        left = 0;
        for answer in futures_util::future::join_all(asking).await {
            match answer? {
                Some(version) => last = version,
                None => left += 1,
            }
        }
        if left == 0 {
            return Ok((sender, last));
        }
        sender = connect(&target).await?;
    }
    anyhow::bail!("{left} requests were sent back {ATTEMPTS_MAX} times")
}

/// One request; `None` if the other side goes away and says that it has not begun it (RFC 9113 section 6.8).
async fn one(sender: SendRequest<bytes::Bytes>, target: &Target) -> Result<Option<String>> {
    let mut sender = match sender.ready().await {
        Ok(sender) => sender,
        Err(error) if has_gone_away(&error) => return Ok(None),
        Err(error) => return Err(error).context("the connection is not ready"),
    };
    let uri = format!("https://{}/", target.host_header());
    let request = http::Request::get(uri).body(())?;
    let answered = async {
        let response = sender.send_request(request, true)?.0.await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok::<_, h2::Error>((status, bytes))
    };
    let (status, bytes) = match answered.await {
        Err(error) if has_gone_away(&error) => return Ok(None),
        answered => answered?,
    };
    ensure!(
        status == 200,
        "answered {status}: {}",
        String::from_utf8_lossy(&bytes)
    );
    version(&bytes)
}

/// In order, and without having begun the request: what was begun and is cut ends otherwise.
fn has_gone_away(error: &h2::Error) -> bool {
    let in_order = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    in_order || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
}
