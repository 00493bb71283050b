//! The command line as a client of the platform's API: requests signed as every SDK signs them.

use crate::config::Config;
use crate::credentials::{self, Credentials};
use crate::paths::Paths;
use anyhow::{Context, Result, anyhow, bail};
use apron_aws::Model;
use apron_aws::sigv4::{Secret, Signer, sign};
use apron_control::clock::{Clock, Machine};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Time for one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Succeeds when the platform answers.
pub fn health(paths: &Paths, config: &Config) -> Result<()> {
    let request = Request::builder()
        .method(Method::GET)
        .uri("/")
        .header("host", "localhost");
    let (status, _) = block_on(send(paths, config, request.body(Full::default())?))?;
    if status != StatusCode::OK {
        bail!("the health check answered {status}");
    }
    Ok(())
}

/// Calls one operation of a JSON service.
pub fn call(paths: &Paths, model: &Model, operation: &str, input: &Value) -> Result<Value> {
    let config = Config::read(paths)?;
    let credentials = credentials::find(paths, &config)?;
    let mut headers = HeaderMap::new();
    headers.insert(
        "content-type",
        HeaderValue::from_static("application/x-amz-json-1.0"),
    );
    headers.insert(
        "x-amz-target",
        HeaderValue::from_str(&format!("{}.{operation}", model.target_prefix))?,
    );
    let body = serde_json::to_vec(input)?;
    let request = signed(&config, model, &credentials, headers, body)?;
    let (status, answer) = block_on(send(paths, &config, request))?;
    let answer: Value =
        serde_json::from_slice(&answer).context("the platform's answer is not JSON")?;
    if !status.is_success() {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = format!("{}{}", text("Message"), text("message"));
        return Err(failure(operation, text("__type"), &message, &credentials));
    }
    Ok(answer)
}

/// The answer of a service that speaks the query protocol, which is XML.
pub struct QueryAnswer {
    xml: String,
}

impl QueryAnswer {
    /// The text of the first element of this name. Only for texts that XML does not escape: ids, keys, codes.
    pub fn element(&self, name: &str) -> Result<&str> {
        let found = self.xml.split_once(&format!("<{name}>"));
        let found = found.and_then(|(_, rest)| rest.split_once("</"));
        found
            .map(|(text, _)| text)
            .with_context(|| format!("the platform's answer has no {name}"))
    }
}

/// Calls one operation of a service that speaks the query protocol, as IAM does. The parameters' values must be such that no URL
/// has to escape them.
pub fn query(
    paths: &Paths,
    model: &Model,
    operation: &str,
    parameters: &[(&str, &str)],
    credentials: &Credentials,
) -> Result<QueryAnswer> {
    let config = Config::read(paths)?;
    let mut body = format!("Action={operation}&Version={}", model.api_version);
    for (name, value) in parameters {
        let _ = write!(body, "&{name}={value}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(
        "content-type",
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    let request = signed(&config, model, credentials, headers, body.into_bytes())?;
    let (status, answer) = block_on(send(paths, &config, request))?;
    let xml = String::from_utf8(answer.into()).context("the platform's answer is not XML")?;
    let answer = QueryAnswer { xml };
    if !status.is_success() {
        let message = answer.element("Message").unwrap_or_default();
        let code = answer.element("Code")?;
        return Err(failure(operation, code, message, credentials));
    }
    Ok(answer)
}

/// What the platform refused; of a key that it does not know, which one that is and what to do.
fn failure(operation: &str, code: &str, message: &str, credentials: &Credentials) -> anyhow::Error {
    let refused = anyhow!("{operation} failed: {code} {message}");
    let unknown = ["UnrecognizedClientException", "InvalidClientTokenId"];
    match unknown.iter().any(|unknown| code.ends_with(unknown)) {
        true => refused.context(format!(
            "the access key {} is not in force; `eval \"$(apron env)\"` sets the one that this machine has",
            credentials.access_key_id
        )),
        false => refused,
    }
}

/// A request with this body, signed for a service.
fn signed(
    config: &Config,
    model: &Model,
    credentials: &Credentials,
    mut headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>> {
    headers.insert(
        "host",
        HeaderValue::from_str(&format!("localhost:{}", config.api_port()))?,
    );
    if let Some(token) = &credentials.session_token {
        headers.insert("x-amz-security-token", HeaderValue::from_str(token)?);
    }
    let signer = Signer {
        access_key_id: credentials.access_key_id.clone(),
        secret: Secret::new(credentials.secret_access_key.as_str()),
        region: config.region.clone(),
        service: model.signing_name.clone(),
    };
    let now = Machine.now().0;
    sign(&signer, "POST", "/", "", &mut headers, &body, now)?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/")
        .body(Full::from(body))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::time::timeout(ANSWER_WITHIN, work)
            .await
            .context("no answer in time")?
    })
}

async fn send(
    paths: &Paths,
    config: &Config,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes)> {
    let address = *config
        .listen
        .api
        .first()
        .context("listen.api has no address")?;
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let name = ServerName::try_from("localhost").context("localhost is a host name")?;
    let stream = TlsConnector::from(tls(paths)?)
        .connect(name, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}

fn tls(paths: &Paths) -> Result<Arc<ClientConfig>> {
    let path = paths.ca();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path)
        .with_context(|| format!("cannot read {}", path.display()))?
    {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}
