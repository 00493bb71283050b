//! Keys, secrets and parameters, called as the endpoint calls them: inputs and outputs are held against the models.

#[path = "vault/keys.rs"]
mod keys;
#[path = "vault/parameters.rs"]
mod parameters;
#[path = "vault/secrets.rs"]
mod secrets;

use apron_aws::codec;
use apron_aws::model::Lookup;
use apron_control::Settings;
use apron_control::authorizer::Authorizer;
use apron_control::clock::{Clock, Machine, Manual};
use apron_control::endpoint::{ApiService, Call, Caller};
use apron_control::iam::Identities;
use apron_control::vault::Vault;
use apron_domain::Millis;
use apron_store::Store;
use apron_testkit::ACCESS_KEY_ID;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The three services over a fresh store.
pub struct Bench {
    runtime: Runtime,
    dir: tempfile::TempDir,
    clock: Arc<Manual>,
    vault: Vault,
    settings: Arc<Settings>,
}

impl Bench {
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let settings = Arc::new(apron_testkit::World::new().settings.clone());
        let vault = runtime.block_on(open(dir.path().to_owned(), settings.clone()));
        Bench {
            runtime,
            dir,
            clock: Arc::new(Manual::at(Millis(1_800_000_000_000))),
            vault,
            settings,
        }
    }

    /// The same state under a new control plane.
    pub fn restart(&mut self) {
        let (dir, settings) = (self.dir.path().to_owned(), self.settings.clone());
        self.vault = self.runtime.block_on(open(dir, settings));
    }

    pub fn pass(&self, days: u64) {
        self.clock.pass(days * DAY_MS);
        self.runtime
            .block_on(self.vault.sweep_once(self.clock.now()))
            .unwrap();
    }

    pub fn call(
        &self,
        service: &str,
        operation: &str,
        input: Value,
    ) -> Result<Value, (String, String)> {
        let service: Arc<dyn ApiService> = match service {
            "kms" => self.vault.kms.clone(),
            "ssm" => self.vault.parameters.clone(),
            _ => self.vault.secrets.clone(),
        };
        let model = service.model();
        let Lookup::Offered(table) = model.operation(operation) else {
            panic!("{operation} is not offered")
        };
        let told = |error: apron_aws::ApiError| (error.code, error.message);
        let input = codec::decode(model, table, input.to_string().as_bytes()).map_err(told)?;
        let caller = Caller::root("111122223333", ACCESS_KEY_ID);
        let call = Call {
            operation: operation.to_owned(),
            input,
            caller,
            session_token: None,
            request_id: "id".to_owned(),
            now: self.clock.now(),
        };
        let output = self.runtime.block_on(service.call(call)).map_err(told)?;
        let encoded = codec::encode(model, operation, table, output, "id").unwrap();
        Ok(serde_json::from_slice(&encoded.body).unwrap())
    }

    /// Whether a file of the state directory shows the text.
    pub fn shows(&self, text: &str) -> bool {
        std::fs::read_dir(self.dir.path()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(text.len()).any(|w| w == text.as_bytes())
        })
    }
}

async fn open(dir: PathBuf, settings: Arc<Settings>) -> Vault {
    let store = Store::open(&dir).await.unwrap();
    let identities = Identities::open(store.clone(), &settings.account, &Machine);
    let authorizer = Authorizer::new(identities.await.unwrap(), &settings.region);
    Vault::new(&settings, &store, Arc::new(authorizer), Arc::new(Machine))
}

#[track_caller]
fn refused(answer: Result<Value, (String, String)>, code: &str, text: &str) {
    let (found, message) = answer.unwrap_err();
    assert_eq!(found, code, "{message}");
    assert!(
        message.contains(text),
        "{message:?} does not contain {text:?}"
    );
}
