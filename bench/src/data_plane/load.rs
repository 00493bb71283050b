//! The clients of the measurements: closed loops over HTTP/1.1 and HTTP/2, new connections, a fixed rate, and
//! connections that do nothing.

use super::rig::HOST;
use anyhow::{Context as _, Result, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Where requests go.
#[derive(Clone)]
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// The TLS configuration, if there is TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// The path.
    pub path: &'static str,
}

/// A connection, with TLS or without.
pub trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// Takes any certificate: the clients measure, they keep no secrets.
#[derive(Debug)]
struct Trusting(CryptoProvider);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A configuration for this protocol (ALPN). Every connection does a full handshake, with X25519 as most clients do.
pub fn tls(protocol: &str) -> Result<Arc<ClientConfig>> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let verifier = Arc::new(Trusting(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

impl Target {
    /// Connects.
    pub async fn connect(&self) -> Result<Box<dyn Bytes>> {
        let stream = TcpStream::connect(self.address)
            .await
            .context("no connection")?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let handshake = connector.connect(ServerName::try_from(HOST)?, stream);
                Box::new(handshake.await.context("no TLS")?)
            }
        })
    }

    fn request(&self) -> String {
        format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", self.path)
    }
}

/// The length of a whole head at the beginning of `read`.
pub fn head_length(read: &[u8]) -> Option<usize> {
    memchr::memmem::find(read, b"\r\n\r\n").map(|at| at + 4)
}

/// Sends a request and reads its answer to the end.
async fn exchange(stream: &mut Box<dyn Bytes>, request: &str, read: &mut Vec<u8>) -> Result<()> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    read.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| read.len() < whole) {
        if stream.read_buf(read).await? == 0 {
            bail!("the connection ended within an answer");
        }
        if whole.is_none() {
            whole = response_length(read)?;
        }
    }
    ensure!(Some(read.len()) == whole, "more came than the answer");
    Ok(())
}

/// The length of head and body, when the head is there.
fn response_length(read: &[u8]) -> Result<Option<usize>> {
    let Some(head) = head_length(read) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&read[..head])?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "answered {text}");
    let lower = text.to_ascii_lowercase();
    let field = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = field.context("an answer without a length")?.parse()?;
    Ok(Some(head + length))
}

/// Open connections that are used again and again.
pub enum Clients {
    /// HTTP/1.1: one request at a time on each.
    Http1(String, Vec<Box<dyn Bytes>>),
    /// HTTP/2: so many at a time on each.
    Http2(
        &'static str,
        usize,
        Vec<h2::client::SendRequest<bytes::Bytes>>,
    ),
}

impl Clients {
    /// Connects with HTTP/1.1.
    pub async fn http1(target: &Target, connections: usize) -> Result<Clients> {
        Self::asking(target.request(), target, connections).await
    }

    /// Connects with HTTP/1.1 to make this request.
    pub async fn asking(request: String, target: &Target, connections: usize) -> Result<Clients> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(target.connect().await?);
        }
        Ok(Clients::Http1(request, open))
    }

    /// Connects with HTTP/2.
    pub async fn http2(target: &Target, connections: usize, streams: usize) -> Result<Clients> {
        let mut open = Vec::new();
        for _ in 0..connections {
            let (client, connection) = h2::client::handshake(target.connect().await?).await?;
            // It ends with an error when the proxy ends first, which the requests notice.
            tokio::spawn(async move { drop(connection.await) });
            open.push(client);
        }
        Ok(Clients::Http2(target.path, streams, open))
    }

    /// Makes `each` requests per connection, or per stream, one after the other; answers how many those are.
    pub async fn run(&mut self, each: usize) -> Result<usize> {
        match self {
            Clients::Http1(request, open) => {
                let mut tasks = JoinSet::new();
                for mut stream in open.drain(..) {
                    let request = request.clone();
                    tasks.spawn(async move {
                        let mut read = Vec::with_capacity(4 << 10);
                        for _ in 0..each {
                            exchange(&mut stream, &request, &mut read).await?;
                        }
                        anyhow::Ok(stream)
                    });
                }
                *open = all(tasks).await?;
                Ok(open.len() * each)
            }
            Clients::Http2(path, streams, open) => {
                let mut tasks = JoinSet::new();
                for client in &*open {
                    for _ in 0..*streams {
                        tasks.spawn(exchanges2(client.clone(), path, each));
                    }
                }
                Ok(all(tasks).await?.len() * each)
            }
        }
    }
}

async fn exchanges2(
    mut client: h2::client::SendRequest<bytes::Bytes>,
    path: &str,
    count: usize,
) -> Result<()> {
    for _ in 0..count {
        client = client.ready().await?;
        let request = http::Request::get(format!("https://{HOST}{path}")).body(())?;
        let (response, _) = client.send_request(request, true)?;
        let response = response.await?;
        ensure!(response.status() == 200, "answered {}", response.status());
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let taken = data?.len();
            body.flow_control().release_capacity(taken)?;
        }
    }
    Ok(())
}

/// The results of all clients, or the first failure.
pub async fn all<T: 'static>(mut tasks: JoinSet<Result<T>>) -> Result<Vec<T>> {
    let mut results = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        results.push(ended.context("a client panicked")??);
    }
    Ok(results)
}

/// Makes connections, `parallel` at the same time, each for one request.
pub async fn new_connections(target: &Target, parallel: usize, each: usize) -> Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..parallel {
        let target = target.clone();
        tasks.spawn(async move {
            let mut read = Vec::with_capacity(4 << 10);
            for _ in 0..each {
                let mut stream = target.connect().await?;
                exchange(&mut stream, &target.request(), &mut read).await?;
            }
            anyhow::Ok(())
        });
    }
    all(tasks).await.map(drop)
}

/// Makes new connections until the time is over; answers how many.
pub async fn new_connections_for(
    target: &Target,
    parallel: usize,
    time: Duration,
) -> Result<usize> {
    let (mut tasks, until) = (JoinSet::new(), Instant::now() + time);
    for _ in 0..parallel {
        let target = target.clone();
        tasks.spawn(async move {
            let (mut read, mut made) = (Vec::with_capacity(4 << 10), 0);
            while Instant::now() < until {
                let mut stream = target.connect().await?;
                exchange(&mut stream, &target.request(), &mut read).await?;
                made += 1;
            }
            anyhow::Ok(made)
        });
    }
    Ok(all(tasks).await?.into_iter().sum())
}

/// Makes connections that have done one request each and are then kept open until they are dropped.
pub async fn idle(target: &Target, connections: usize) -> Result<Vec<Box<dyn Bytes>>> {
    let (mut open, mut read) = (Vec::new(), Vec::new());
    for _ in 0..connections {
        let mut stream = target.connect().await?;
        exchange(&mut stream, &target.request(), &mut read).await?;
        open.push(stream);
    }
    Ok(open)
}

/// Sends plain requests at a fixed rate over `connections`, each with a thread of its own, however fast they are
/// answered; answers how long each took in microseconds, sorted. A request that could not be sent when it was due,
/// because the one before was not answered, counts from when it was due.
pub fn fixed_rate(
    address: SocketAddr,
    connections: usize,
    rate: f64,
    time: Duration,
) -> Result<Vec<f64>> {
    let interval = Duration::from_secs_f64(connections as f64 / rate);
    let start = Instant::now() + Duration::from_millis(100);
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let request = request.as_bytes();
    let client = move |number: usize| -> Result<Vec<f64>> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut due = start + interval.mul_f64(number as f64 / connections as f64);
        let mut times = Vec::new();
        while due < start + time {
            let early = due.saturating_duration_since(Instant::now());
            let began = if early.is_zero() {
                due
            } else {
                apron_e2e::wait::pace(early);
                Instant::now()
            };
            blocking_exchange(&mut stream, request)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            due += interval;
        }
        Ok(times)
    };
    let mut times = std::thread::scope(|scope| {
        let started: Vec<_> = (0..connections)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        let ended = started.into_iter().map(|client| match client.join() {
            Ok(times) => times,
            Err(_) => bail!("a client panicked"),
        });
        ended.collect::<Result<Vec<_>>>()
    })?
    .concat();
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn blocking_exchange(stream: &mut std::net::TcpStream, request: &[u8]) -> Result<()> {
    use std::io::{Read, Write};
    stream.write_all(request)?;
    let (mut bytes, mut read) = ([0; 4 << 10], 0);
    loop {
        let more = stream.read(&mut bytes[read..])?;
        ensure!(more > 0, "the connection ended within an answer");
        read += more;
        if let Some(whole) = response_length(&bytes[..read])? {
            if read == whole {
                return Ok(());
            }
            ensure!(
                read < whole && whole <= bytes.len(),
                "answered {whole} bytes"
            );
        }
    }
}
