//! Registries with token servers, redirects and certificates of their own.

use crate::images::TestImage;
use crate::server::{TestGate, TestServer, test_store_bounds};
use apron_oci::{ContentStore, Credentials, ImageName, PullError, Puller};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const USER: &str = "Basic dXNlcjpzZWNyZXQ=";

/// What the front of a registry saw: path and `Authorization` of each request.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A front that wants tokens, and sends those who ask for content elsewhere.
#[derive(Clone)]
struct Front {
    /// The registry behind, where content is read.
    behind: SocketAddr,
    own: SocketAddr,
    seen: Seen,
}

impl Front {
    async fn start(behind: SocketAddr) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Front {
            behind,
            own: listener.local_addr().unwrap(),
            seen: Seen::default(),
        };
        let router = axum::Router::new()
            .fallback(answer)
            .with_state(front.clone());
        serve(listener, router, None);
        front
    }

    fn name(&self, rest: &str) -> ImageName {
        ImageName::parse(&format!("{}/{rest}", self.own)).unwrap()
    }
}

async fn answer(State(front): State<Front>, request: Request) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization
        .map_or("", |value| value.to_str().unwrap())
        .to_owned();
    let target = request.uri().path_and_query().unwrap().to_string();
    front
        .seen
        .lock()
        .unwrap()
        .push((target.clone(), authorization.clone()));
    if target.starts_with("/token?") {
        return match authorization == USER {
            true => r#"{"token":"good","expires_in":300}"#.into_response(),
            false => (
                StatusCode::FORBIDDEN,
                r#"{"errors":[{"code":"DENIED","message":"who are you"}]}"#,
            )
                .into_response(),
        };
    }
    if authorization != "Bearer good" {
        let own = front.own;
        let challenge = format!(
            "Bearer realm=\"http://{own}/token\",service=\"front\",scope=\"repository:app:pull\""
        );
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, challenge)],
        )
            .into_response();
    }
    let elsewhere = format!("http://{}{target}", front.behind);
    (
        StatusCode::TEMPORARY_REDIRECT,
        [(header::LOCATION, elsewhere)],
    )
        .into_response()
}

/// Serves a router, with TLS when there is an acceptor.
fn serve(listener: TcpListener, router: axum::Router, tls: Option<TlsAcceptor>) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            let tls = tls.clone();
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                // Clients that refuse a certificate go away; that is what some tests are about.
                match tls {
                    None => drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    ),
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            drop(
                                builder
                                    .serve_connection(TokioIo::new(stream), service)
                                    .await,
                            );
                        }
                    }
                }
            });
        }
    });
}

fn store() -> (tempfile::TempDir, Arc<ContentStore>) {
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open_bounded(directory.path(), test_store_bounds()).unwrap();
    (directory, store)
}

fn user(password: &str) -> Option<Credentials> {
    Some(Credentials {
        username: "user".to_owned(),
        password: password.to_owned(),
    })
}

/// The registry behind wants no credentials and refuses those that are sent along by mistake.
#[tokio::test]
async fn a_token_is_fetched_and_goes_nowhere_else() {
    let server = TestServer::start().await;
    let image = TestImage::new("amd64", 1, 100_000);
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    let front = Front::start(server.address).await;
    let (_directory, store) = store();
    let digest = Puller::new()
        .pull(&store, &front.name("app:v1"), user("secret"), &[])
        .await
        .unwrap();
    assert_eq!(digest, image.digest());
    let seen = front.seen.lock().unwrap().clone();
    let tokens: Vec<_> = seen
        .iter()
        .filter(|(target, _)| target.starts_with("/token"))
        .collect();
    let [(target, authorization)] = tokens.as_slice() else {
        panic!("{seen:?}")
    };
    assert_eq!(target, "/token?service=front&scope=repository%3Aapp%3Apull");
    assert_eq!(authorization, USER);
    assert!(
        server
            .gate
            .authorizations
            .lock()
            .unwrap()
            .iter()
            .all(Option::is_none)
    );
}

#[tokio::test]
async fn a_refused_token_is_said() {
    let server = TestServer::start().await;
    let front = Front::start(server.address).await;
    let (_directory, store) = store();
    for credentials in [None, user("wrong")] {
        let error = Puller::new()
            .pull(&store, &front.name("app:v1"), credentials, &[])
            .await
            .unwrap_err();
        let expect = format!(
            "registry {} answered 403 to GET /token: DENIED: who are you",
            front.own
        );
        assert_eq!(error.to_string(), expect);
    }
}

/// A registry with a certificate of an authority that only its users know.
async fn with_certificate(server: &TestServer) -> (SocketAddr, String) {
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&own_key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gate = Arc::clone(&server.gate);
    let router = apron_oci::registry(
        Arc::clone(&server.store),
        gate,
        crate::server::test_bounds(),
    );
    serve(listener, router, Some(TlsAcceptor::from(Arc::new(config))));
    (address, authority_pem)
}

#[tokio::test]
async fn a_certificate_is_trusted_when_its_authority_is_given() {
    let server = TestServer::with_gate(TestGate::default()).await;
    let image = TestImage::new("amd64", 1, 1000);
    image
        .push(server.address, "app", "v1", "")
        .await
        .expect(201);
    let (address, authority) = with_certificate(&server).await;
    let name = ImageName::parse(&format!("{address}/app:v1")).unwrap();
    let (_directory, store) = store();
    let error = Puller::new()
        .pull(&store, &name, None, &[])
        .await
        .unwrap_err();
    assert!(matches!(error, PullError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let digest = Puller::new()
        .pull(&store, &name, None, &[authority])
        .await
        .unwrap();
    assert_eq!(digest, image.digest());
    let error = Puller::new()
        .pull(&store, &name, None, &["garbage".to_owned()])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}
