//! Another issuer: a server with TLS that publishes a key, and signs with it.

use apron_control::clock::{Clock, Machine};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Good,
    Redirect,
    TooMuch,
    OtherIssuer,
}

pub struct Issuer {
    pub url: String,
    pub authority: String,
    key: EcdsaKeyPair,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    pub fn begin() -> Issuer {
        Issuer::replying(Reply::Good)
    }

    pub fn replying(reply: Reply) -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let issuer = Issuer {
            url: format!("https://localhost:{port}"),
            authority: made.cert.pem(),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            asked: Arc::default(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(issuer.authority.as_bytes()).unwrap()];
        let key = made.signing_key.serialize_pem();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (config, asked) = (Arc::new(config), issuer.asked.clone());
        let documents = [issuer.configuration(reply), issuer.keys()];
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                asked.fetch_add(1, Ordering::SeqCst);
                // A client that goes away ends its conversation alone.
                let _ = converse(stream, config.clone(), reply, &documents);
            }
        });
        issuer
    }

    fn configuration(&self, reply: Reply) -> String {
        let issuer = match reply {
            Reply::OtherIssuer => "https://id.example.com",
            _ => &self.url,
        };
        json!({"issuer": issuer, "jwks_uri": format!("{}/keys", self.url)}).to_string()
    }

    fn keys(&self) -> String {
        let point = self.key.public_key().as_ref();
        let part = |range: std::ops::Range<usize>| BASE64_URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "x": part(1..33), "y": part(33..65)}]})
            .to_string()
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as("one", claims)
    }

    pub fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let encoded = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "ES256", "kid": kid});
        let signed = format!("{}.{}", encoded(&header), encoded(claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        Machine.now().0 / 1000
    }
}

fn converse(
    mut stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    reply: Reply,
    documents: &[String; 2],
) -> std::io::Result<()> {
    let mut connection = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let [configuration, keys] = documents;
    let body = match (
        reply,
        head.starts_with(b"GET /.well-known/openid-configuration "),
    ) {
        (Reply::TooMuch, _) => " ".repeat(1 << 20),
        (_, true) => configuration.clone(),
        (_, false) => keys.clone(),
    };
    let status = match reply {
        Reply::Redirect => "302 Found\r\nLocation: https://localhost/",
        _ => "200 OK",
    };
    let length = body.len();
    write!(
        tls,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    tls.flush()
}
