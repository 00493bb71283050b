//! A plain HTTP client: one connection per request, nothing interpreted.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of the first error.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{:?} {text}", self.headers);
        self
    }

    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Answer {
        let answer = self.expect(status);
        assert_eq!(answer.code(), code, "{:?}", answer.json());
        answer
    }
}

/// Sends a request with headers and a body.
pub async fn send(
    server: SocketAddr,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let stream = TcpStream::connect(server).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(body.into()));
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap();
    request
        .headers_mut()
        .insert("host", server.to_string().parse().unwrap());
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

pub async fn get(server: SocketAddr, target: &str) -> Answer {
    send(server, Method::GET, target, &[], Bytes::new()).await
}

pub async fn head(server: SocketAddr, target: &str) -> Answer {
    send(server, Method::HEAD, target, &[], Bytes::new()).await
}

pub async fn delete(server: SocketAddr, target: &str) -> Answer {
    send(server, Method::DELETE, target, &[], Bytes::new()).await
}

pub async fn post(server: SocketAddr, target: &str) -> Answer {
    send(server, Method::POST, target, &[], Bytes::new()).await
}

/// Opens an upload and returns its path.
pub async fn open_upload(server: SocketAddr, name: &str) -> String {
    let answer = post(server, &format!("/v2/{name}/blobs/uploads/"))
        .await
        .expect(202);
    answer.header("location").to_owned()
}
