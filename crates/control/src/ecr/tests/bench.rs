//! ECR and its registry over fresh stores, called as the endpoint and the listener call them.

use crate::audit::Trail;
use crate::authorizer::Authorizer;
use crate::clock::{Clock, Manual};
use crate::ecr::*;
use crate::endpoint::Caller;
use crate::iam::{Identities, RootKey};
use apron_aws::codec;
use apron_aws::model::Lookup;
use apron_aws::sigv4::Secret;
use apron_domain::Millis;
use apron_domain::operation::Patience;
use axum::body::Body;
use serde_json::json;
use std::sync::Mutex;
use std::time::Duration;
use tower::ServiceExt;

const ACCOUNT: &str = "123456789012";
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";

/// ECR and its registry over fresh stores.
pub(super) struct Bench {
    _dir: tempfile::TempDir,
    pub(super) clock: Arc<Manual>,
    pub(super) content: Arc<ContentStore>,
    pub(super) ecr: Ecr,
    pub(super) gate: Arc<RegistryGate>,
    pub(super) pushes: Arc<Pushes>,
    trail: Arc<Trail>,
}

#[derive(Default)]
pub(super) struct Pushes(pub(super) Mutex<Vec<String>>);

#[async_trait]
impl PushWatcher for Pushes {
    async fn pushed(&self, repository: &str, tag: &str) {
        self.0.lock().unwrap().push(format!("{repository}:{tag}"));
    }
}

/// Settings for tests.
pub(crate) fn settings() -> Settings {
    Settings {
        account: ACCOUNT.to_owned(),
        region: "eu-west-1".to_owned(),
        domain: "apron.test".to_owned(),
        https_port: 7443,
        registry_host: "localhost:8443".to_owned(),
        instance_endpoint: None,
        issuer: "https://localhost:7400".to_owned(),
        patience: Patience::default(),
        stop_grace: Duration::from_secs(1),
        services_max: 1,
        instance_disk_bytes: 1,
        instance_pids_max: 1,
        deleted_kept: Duration::from_secs(1),
    }
}

impl Bench {
    pub(super) async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state")).await.unwrap();
        let content = ContentStore::open(&dir.path().join("content")).unwrap();
        let (clock, settings) = (
            Arc::new(Manual::at(Millis(1_800_000_000_123))),
            Arc::new(settings()),
        );
        let tokens = Arc::new(Tokens::load(&store, &*clock).await.unwrap());
        let root = RootKey {
            access_key_id: KEY.to_owned(),
            secret: Secret::new("secret"),
        };
        let identities = Identities::open(store.clone(), ACCOUNT, &*clock);
        let identities = identities.await.unwrap();
        identities.set_root_key(root, clock.now()).await.unwrap();
        let authorizer = Authorizer::new(identities, &settings.region);
        let audit = apron_telemetry::Audit::open(&dir.path().join("audit")).unwrap();
        let trail = Arc::new(Trail::new(audit, &settings.region, clock.clone()));
        let pushes = Arc::new(Pushes::default());
        let gate = RegistryGate::new(
            settings.clone(),
            store.clone(),
            tokens.clone(),
            Arc::new(authorizer),
            trail.clone(),
            clock.clone(),
            pushes.clone(),
        );
        let ecr = Ecr::new(settings, store, content.clone(), tokens);
        Bench {
            _dir: dir,
            clock,
            content,
            ecr,
            gate: Arc::new(gate),
            pushes,
            trail,
        }
    }

    /// The records of the audit, as texts.
    pub(super) async fn records(&self) -> Vec<String> {
        let lookup = apron_telemetry::Lookup {
            since_ms: 0,
            until_ms: u64::MAX,
            before: None,
            containing: None,
            wanted: Box::new(|_| true),
            limit: 1_000,
        };
        let page = self.trail.file().lookup(lookup).await.unwrap();
        let bodies = page.events.into_iter().map(|event| event.body.to_string());
        bodies.collect()
    }

    /// Calls an operation as the endpoint does: the input is held against the model, and so is the output.
    pub(super) async fn call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        let model = model::ecr();
        let Lookup::Offered(table) = model.operation(operation) else {
            panic!("{operation} is not offered")
        };
        let input = codec::decode(model, table, input.to_string().as_bytes())?;
        let caller = Caller::root(ACCOUNT, KEY);
        let (operation, request_id, now) =
            (operation.to_owned(), "id".to_owned(), self.clock.now());
        let output = self
            .ecr
            .call(Call {
                operation: operation.clone(),
                input,
                caller,
                session_token: None,
                request_id,
                now,
            })
            .await?;
        let encoded = codec::encode(model, &operation, table, output, "id").unwrap();
        Ok(serde_json::from_slice(&encoded.body).unwrap())
    }

    pub(super) async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input)
            .await
            .unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    pub(super) async fn refused(&self, operation: &str, input: Value, code: &str, text: &str) {
        let error = self.call(operation, input).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.status), (code, 400), "{error}");
        assert!(
            error.message.contains(text),
            "{error} does not contain {text}"
        );
    }

    pub(super) async fn create(&self, name: &str) -> Value {
        self.ok("CreateRepository", json!({"repositoryName": name}))
            .await["repository"]
            .clone()
    }

    pub(super) async fn authorization(&self) -> String {
        let answer = self.ok("GetAuthorizationToken", json!({})).await;
        format!(
            "Basic {}",
            answer["authorizationData"][0]["authorizationToken"]
                .as_str()
                .unwrap()
        )
    }

    /// One request to the registry, logged in.
    pub(super) async fn registry(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: Vec<u8>,
    ) -> http::Response<Body> {
        let registry = apron_oci::registry(
            self.content.clone(),
            self.gate.clone(),
            apron_oci::RegistryBounds::default(),
        );
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", self.authorization().await)
            .header("content-type", media_type)
            .header("content-length", body.len());
        registry
            .oneshot(request.body(Body::from(body)).unwrap())
            .await
            .unwrap()
    }

    pub(super) async fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self
            .registry("POST", &path, "application/octet-stream", bytes.to_vec())
            .await;
        assert_eq!(answer.status(), 201, "{path}");
        digest
    }

    /// Pushes an image of one configuration and one layer, and returns its digest.
    pub(super) async fn push(&self, repository: &str, tag: &str, text: &str) -> String {
        let (config, layer) = (format!("{{\"x\":\"{text}\"}}"), format!("layer of {text}"));
        let descriptor = |kind: &str, digest: &str, bytes: &str| json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
        let config_digest = self.push_blob(repository, config.as_bytes()).await;
        let layer_digest = self.push_blob(repository, layer.as_bytes()).await;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": apron_oci::OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config_digest, &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, &layer)],
        });
        self.push_manifest(repository, tag, apron_oci::OCI_MANIFEST, &manifest)
            .await
    }

    pub(super) async fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        manifest: &Value,
    ) -> String {
        let bytes = manifest.to_string().into_bytes();
        let digest = digest_of(&bytes);
        let answer = self
            .registry(
                "PUT",
                &format!("/v2/{repository}/manifests/{tag}"),
                media_type,
                bytes,
            )
            .await;
        assert_eq!(answer.status(), 201, "{repository}:{tag}");
        digest
    }
}

/// The digest of bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    format!("sha256:{}", hex::encode(digest))
}
