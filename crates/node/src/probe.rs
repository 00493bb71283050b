//! Health probes.

use apron_compute::{Probe, ProbeAnswer};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Bytes of a response's body that become evidence.
const BODY_BYTES_MAX: usize = 200;

/// How a probe introduces itself.
const USER_AGENT: &str = "Apron-HealthCheck/1";

/// Probes an address within a time.
pub async fn probe(address: SocketAddr, probe: &Probe, timeout: Duration) -> ProbeAnswer {
    match tokio::time::timeout(timeout, attempt(address, probe)).await {
        Ok(answer) => answer,
        Err(_) => no_answer(format!("no answer within {} s", timeout.as_secs_f32())),
    }
}

async fn attempt(address: SocketAddr, probe: &Probe) -> ProbeAnswer {
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => return no_answer(error_text(&error)),
    };
    match probe {
        Probe::Tcp => ProbeAnswer {
            healthy: true,
            answered: true,
            detail: "connected".to_owned(),
        },
        Probe::Http { path } => match get(stream, address, path).await {
            Ok(answer) => answer,
            Err(text) => no_answer(text),
        },
    }
}

async fn get(stream: TcpStream, address: SocketAddr, path: &str) -> Result<ProbeAnswer, String> {
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the path `{path}` cannot be asked for: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("no HTTP answer: {error}"))?;
    let exchange = async move {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| format!("no HTTP answer: {error}"))?;
        Ok(judge(response).await)
    };
    // The connection does the work; it is dropped with the answer.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    let mut connected = true;
    loop {
        tokio::select! {
            answer = &mut exchange => return answer,
            _ = &mut connection, if connected => connected = false,
        }
    }
}

async fn judge(response: Response<Incoming>) -> ProbeAnswer {
    let status = response.status().as_u16();
    if (200..=399).contains(&status) {
        return ProbeAnswer {
            healthy: true,
            answered: true,
            detail: status.to_string(),
        };
    }
    let mut body = response.into_body();
    let mut start = Vec::new();
    while start.len() < BODY_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => {
                start.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data))
            }
            Some(Err(_)) | None => break,
        }
    }
    start.truncate(BODY_BYTES_MAX);
    let text = String::from_utf8_lossy(&start);
    let text = text.trim_end_matches('\u{fffd}').trim();
    let detail = if text.is_empty() {
        format!("HTTP {status}")
    } else {
        format!("HTTP {status}: {text}")
    };
    ProbeAnswer {
        healthy: false,
        answered: true,
        detail,
    }
}

fn no_answer(detail: String) -> ProbeAnswer {
    ProbeAnswer {
        healthy: false,
        answered: false,
        detail,
    }
}

fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_millis(300);

    /// Answers one connection with `answer` and gives what it was asked.
    async fn check(answer: &'static [u8]) -> (ProbeAnswer, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer).await.unwrap();
            (String::from_utf8(asked).unwrap(), stream)
        });
        let found = probe(
            address,
            &Probe::Http {
                path: "/health?x=1".to_owned(),
            },
            SOON,
        )
        .await;
        let (asked, _) = server.await.unwrap();
        (found, asked)
    }

    #[tokio::test]
    async fn the_request_says_who_asks() {
        let (answer, asked) = check(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(answer.healthy && answer.detail == "204", "{answer:?}");
        assert!(asked.starts_with("GET /health?x=1 HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("user-agent: Apron-HealthCheck/1\r\n")
                && asked.contains("host: 127.0.0.1:"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn redirections_are_healthy_and_errors_bring_their_text() {
        assert!(
            check(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")
                .await
                .0
                .healthy
        );
        let (answer, _) = check(b"HTTP/1.1 500 X\r\ncontent-length: 12\r\n\r\nno database\n").await;
        assert_eq!(
            (answer.healthy, answer.answered, answer.detail.as_str()),
            (false, true, "HTTP 500: no database")
        );
    }

    #[tokio::test]
    async fn silence_nonsense_and_closed_ports_are_told_apart() {
        let (answer, _) = check(b"HTTP/1.1 200").await;
        assert!(
            answer.detail.contains("no answer within 0.3 s"),
            "{answer:?}"
        );
        let (answer, _) = check(b"SSH-2.0-OpenSSH\r\n").await;
        assert!(
            !answer.answered && answer.detail.contains("no HTTP answer"),
            "{answer:?}"
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        let answer = probe(closed, &Probe::Tcp, SOON).await;
        assert_eq!(answer.detail, "connection refused");
        assert!(!answer.answered && !answer.healthy);
    }
}
