//! A client that sees every byte.

use super::PATIENCE;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

/// Bytes both ways, with TLS or without.
trait Bytes: Read + Write + Send {}
impl<T: Read + Write + Send> Bytes for T {}

/// A connection.
pub struct Wire {
    bytes: Box<dyn Bytes>,
    tcp: TcpStream,
    read: Vec<u8>,
}

/// A response that was read to its end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn reason(&self) -> &str {
        self.header("x-apron-reason").unwrap_or("")
    }
}

/// Trusts this authority.
pub fn tls_config(root_pem: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    config.with_root_certificates(roots).with_no_client_auth()
}

impl Wire {
    pub fn plain(address: SocketAddr) -> Wire {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire {
            bytes: Box::new(tcp.try_clone().unwrap()),
            tcp,
            read: Vec::new(),
        }
    }

    pub fn tls(address: SocketAddr, host: &str, root_pem: &str) -> Wire {
        Wire::try_tls(address, host, root_pem).unwrap()
    }

    pub fn try_tls(address: SocketAddr, host: &str, root_pem: &str) -> io::Result<Wire> {
        Wire::negotiated(address, host, tls_config(root_pem))
    }

    /// With what `config` offers.
    pub fn negotiated(address: SocketAddr, host: &str, config: ClientConfig) -> io::Result<Wire> {
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        let bytes = Box::new(StreamOwned::new(session, tcp.try_clone()?));
        Ok(Wire {
            bytes,
            tcp,
            read: Vec::new(),
        })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.bytes.write_all(bytes.as_ref())?;
        self.bytes.flush()
    }

    pub fn get(&mut self, host: &str, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        self.response()
    }

    pub fn response(&mut self) -> Response {
        self.try_response(false).unwrap()
    }

    /// Reads a whole response; an error if the connection ends within it.
    pub fn try_response(&mut self, to_head: bool) -> io::Result<Response> {
        let mut response = Response::default();
        let status = self.line()?;
        response.status = status
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap();
        response.headers = self.fields()?;
        if to_head || response.status < 200 || matches!(response.status, 204 | 304) {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).unwrap();
                if size == 0 {
                    let trailers = self.fields()?;
                    response.trailers = trailers
                        .iter()
                        .map(|(name, value)| format!("{name}={value};"))
                        .collect();
                    return Ok(response);
                }
                response.body.extend(self.exactly(size)?);
                assert_eq!(self.line()?, "");
            }
        }
        response.body = match response.header("content-length") {
            Some(length) => self.exactly(length.parse().unwrap())?,
            None => self.rest()?,
        };
        Ok(response)
    }

    /// One line without its end, which must be CRLF.
    pub fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=at).collect();
                let line = String::from_utf8(line).unwrap();
                return Ok(line
                    .strip_suffix("\r\n")
                    .expect("line ends in CRLF")
                    .to_owned());
            }
            self.more()?;
        }
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(": ").unwrap();
            fields.push((name.to_owned(), value.to_owned()));
        }
    }

    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < count {
            self.more()?;
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Everything until the orderly end of the connection.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.more() {
                Ok(()) => {}
                Err(error)
                    if error.kind() == io::ErrorKind::UnexpectedEof
                        && error.get_ref().is_none() =>
                {
                    return Ok(std::mem::take(&mut self.read));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16_384];
        match self.bytes.read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.read.extend_from_slice(&bytes[..read]);
                Ok(())
            }
        }
    }

    /// Ends the sending direction.
    pub fn end(&self) {
        self.tcp.shutdown(Shutdown::Write).unwrap();
    }
}
