//! A small blocking HTTP/1.1 client that never retries and never hides anything: every error is the test's to judge.

use anyhow::{Context, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Longest silence of the other side before a request counts as failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Whom to trust and where to connect.
#[derive(Clone)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// The name in the certificate and, with the port if it is not the usual one, in `Host`.
    pub host: String,
    /// TLS settings; none is plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
}

/// TLS settings that trust one authority.
pub fn trust(ca_pem: &str) -> Result<Arc<ClientConfig>> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots
            .add(certificate.context("the authority's certificate is not PEM")?)
            .context("bad certificate")?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no protocol version")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// One connection.
pub struct Connection {
    stream: BufReader<Box<dyn Duplex>>,
    host: String,
    closing: bool,
}

/// A whole response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Target {
    /// Opens a connection.
    pub fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect_timeout(&self.address, SILENCE_MAX)
            .with_context(|| format!("could not connect to {}", self.address))?;
        tcp.set_read_timeout(Some(SILENCE_MAX))?;
        tcp.set_write_timeout(Some(SILENCE_MAX))?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).context("not a host name")?;
                Box::new(StreamOwned::new(
                    ClientConnection::new(Arc::clone(config), name)?,
                    tcp,
                ))
            }
        };
        Ok(Connection {
            stream: BufReader::new(stream),
            host: self.host_header(),
            closing: false,
        })
    }

    /// The value of `Host`.
    pub fn host_header(&self) -> String {
        let usual = if self.tls.is_some() { 443 } else { 80 };
        if self.address.port() == usual {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.address.port())
        }
    }

    /// One request on a connection of its own.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        self.connect()?.request(method, path, headers, body)
    }
}

impl Connection {
    /// Whether the other side announced that it closes after the last response.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Sends a request with its length and reads the response.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("content-length", &length));
        self.send_head(method, path, &all)?;
        self.send(body)?;
        self.receive()
    }

    /// Sends the head of a request; `Host` is added.
    pub fn send_head(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            head.push_str(&format!("host: {}\r\n", self.host));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(head.as_bytes())
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream.get_mut();
        stream
            .write_all(bytes)
            .context("the request could not be sent")?;
        stream.flush().context("the request could not be sent")
    }

    /// Reads a whole response to a request other than HEAD.
    pub fn receive(&mut self) -> Result<Response> {
        let (status, headers) = self.receive_head()?;
        let find = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        self.closing = find("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let body = if find("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            self.receive_chunks()?
        } else if let Some(length) = find("content-length") {
            self.receive_exact(length.parse().context("content-length is no number")?)?
        } else if status == 204 || status == 304 {
            Vec::new()
        } else {
            self.closing = true;
            let mut body = Vec::new();
            self.stream
                .read_to_end(&mut body)
                .context("the response was cut")?;
            body
        };
        Ok(Response {
            status,
            headers,
            body,
        })
    }

    /// Reads the head of a response, skipping interim ones.
    pub fn receive_head(&mut self) -> Result<(u16, Vec<(String, String)>)> {
        loop {
            let head = self.receive_switch()?;
            if head.0 >= 200 {
                return Ok(head);
            }
        }
    }

    /// Reads the next head, of an interim response, too; after a 101 the connection is no longer HTTP.
    pub fn receive_switch(&mut self) -> Result<(u16, Vec<(String, String)>)> {
        let first = self.line()?;
        let status: u16 = first
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("not a status line: {first:?}"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, headers));
            }
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("not a header: {line:?}"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("no answer")? == 0 {
            bail!("the connection was closed before an answer");
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Reads this many bytes.
    pub fn receive_exact(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .context("the response was cut")?;
        Ok(body)
    }

    fn receive_chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
                .with_context(|| format!("not a chunk size: {line:?}"))?;
            body.extend(self.receive_exact(size)?);
            let end = self.line()?;
            if size == 0 {
                return Ok(body);
            }
            if !end.is_empty() {
                bail!("a chunk does not end where it says");
            }
        }
    }
}
