//! The client process: connections that send signed requests one after the other.

use anyhow::{Context, Result, ensure};
use apron_aws::sigv4::{Secret, Signer, sign};
use apron_control::clock::{Clock, Machine};
use apron_testkit::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use http::{HeaderMap, HeaderValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a client is to do.
#[derive(Clone)]
pub struct Plan {
    pub address: String,
    /// The certificate to trust, PEM.
    pub authority: String,
    pub target: String,
    pub bodies: Vec<String>,
    pub connections: usize,
    pub milliseconds: u64,
}

/// What it saw.
pub struct Report {
    pub requests: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

type Connection = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// The head of a signed request.
pub fn signed(target: &str, body: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost"));
    headers.insert("x-amz-target", HeaderValue::from_str(target)?);
    headers.insert(
        "content-type",
        HeaderValue::from_static("application/x-amz-json-1.0"),
    );
    let signer = Signer {
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret: Secret::new(SECRET_ACCESS_KEY),
        region: "us-east-1".to_owned(),
        service: "apprunner".to_owned(),
    };
    let now = Machine.now().0;
    sign(&signer, "POST", "/", "", &mut headers, body.as_bytes(), now)?;
    Ok(headers)
}

fn request(target: &str, body: &str) -> Result<Vec<u8>> {
    let mut text = b"POST / HTTP/1.1\r\n".to_vec();
    for (name, value) in &signed(target, body)? {
        write!(text, "{name}: ")?;
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    write!(text, "content-length: {}\r\n\r\n{body}", body.len())?;
    Ok(text)
}

pub fn main(plan: &Plan) -> Result<Report> {
    // Fails when it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let requests: Result<Vec<_>> = plan
        .bodies
        .iter()
        .map(|b| request(&plan.target, b))
        .collect();
    let requests = requests?;
    let run = |first: usize| -> Result<Vec<Duration>> {
        let mut connection = connect(plan)?;
        let end = Instant::now() + Duration::from_millis(plan.milliseconds);
        let mut taken = Vec::new();
        // Another request each time, in an order that no cache of neighbours helps.
        let mut next = first;
        while Instant::now() < end {
            let begun = Instant::now();
            exchange(&mut connection, &requests[next % requests.len()])?;
            taken.push(begun.elapsed());
            next += 7919;
        }
        Ok(taken)
    };
    let mut taken = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.connections)
            .map(|first| scope.spawn(move || run(first)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            let ended = thread.join();
            ended.map_err(|_| anyhow::anyhow!("a client thread panicked"))?
        });
        joined.collect::<Result<Vec<_>>>()
    })?
    .concat();
    taken.sort_unstable();
    let at = |percent: usize| {
        let rank = (taken.len() * percent).div_ceil(100).saturating_sub(1);
        taken.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Ok(Report {
        requests: taken.len() as u64,
        p50_ms: at(50),
        p99_ms: at(99),
    })
}

fn connect(plan: &Plan) -> Result<Connection> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(plan.authority.as_bytes())?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    let stream = TcpStream::connect(&plan.address)?;
    stream.set_nodelay(true)?;
    let tls = ClientConnection::new(Arc::new(config), name)?;
    Ok(BufReader::new(StreamOwned::new(tls, stream)))
}

/// Sends a request and reads its answer, which must be a success.
fn exchange(connection: &mut Connection, request: &[u8]) -> Result<()> {
    connection.get_mut().write_all(request)?;
    connection.get_mut().flush()?;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200"), "answered {line:?}");
    let mut length = None;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let field = line.trim_end();
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':').context("no header field")?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let mut body = vec![0; length.context("an answer without its length")?];
    Ok(connection.read_exact(&mut body)?)
}

impl Plan {
    pub fn to_json(&self) -> Value {
        json!([
            self.address,
            self.authority,
            self.target,
            self.bodies,
            self.connections,
            self.milliseconds
        ])
    }

    pub fn from_json(text: &str) -> Result<Plan> {
        let (address, authority, target, bodies, connections, milliseconds) =
            serde_json::from_str(text)?;
        Ok(Plan {
            address,
            authority,
            target,
            bodies,
            connections,
            milliseconds,
        })
    }
}

impl Report {
    pub fn to_json(&self) -> Value {
        json!([self.requests, self.p50_ms, self.p99_ms])
    }

    pub fn from_json(text: &str) -> Result<Report> {
        let (requests, p50_ms, p99_ms) = serde_json::from_str(text)?;
        Ok(Report {
            requests,
            p50_ms,
            p99_ms,
        })
    }
}
