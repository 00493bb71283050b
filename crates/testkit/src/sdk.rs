//! The connection of an AWS SDK that ends in an endpoint of this process: the SDK signs, serialises and parses as
//! everywhere, only the socket is left out.

use apron_control::endpoint::Endpoint;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::fmt;
use std::sync::Arc;

/// The address an SDK is given; it appears in the signature and nowhere else.
pub const SDK_ENDPOINT_URL: &str = "http://localhost:7400";

/// Hands an SDK's requests to an endpoint.
#[derive(Clone)]
pub struct SdkConnector {
    endpoint: Arc<Endpoint>,
}

impl SdkConnector {
    /// Requests go to this endpoint.
    pub fn new(endpoint: Arc<Endpoint>) -> SdkConnector {
        SdkConnector { endpoint }
    }
}

impl fmt::Debug for SdkConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdkConnector").finish_non_exhaustive()
    }
}

impl HttpClient for SdkConnector {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for SdkConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let endpoint = self.endpoint.clone();
        HttpConnectorFuture::new(async move {
            let answered = endpoint.handle(from_sdk(&request)?).await;
            to_sdk(answered).await
        })
    }
}

/// The request as a listener would have read it.
fn from_sdk(request: &HttpRequest) -> Result<http::Request<Full<Bytes>>, ConnectorError> {
    let mut read = http::Request::builder()
        .method(request.method())
        .uri(request.uri());
    for (name, value) in request.headers() {
        read = read.header(name, value);
    }
    let Some(body) = request.body().bytes() else {
        return Err(ConnectorError::user(
            "a body that is streamed cannot be signed".into(),
        ));
    };
    read.body(Full::new(Bytes::copy_from_slice(body)))
        .map_err(|error| ConnectorError::user(error.into()))
}

async fn to_sdk(answered: http::Response<Full<Bytes>>) -> Result<HttpResponse, ConnectorError> {
    let (head, body) = answered.into_parts();
    let body = body.collect().await.unwrap_or_else(|never| match never {});
    let status = head.status.as_u16().try_into();
    let status = status.map_err(|_| ConnectorError::other("no status".into(), None))?;
    let mut response = HttpResponse::new(status, body.to_bytes().into());
    for (name, value) in &head.headers {
        let value = value.to_str();
        let value = value.map_err(|error| ConnectorError::other(error.into(), None))?;
        response
            .headers_mut()
            .append(name.as_str().to_owned(), value.to_owned());
    }
    Ok(response)
}
