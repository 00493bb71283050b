//! Reading one value with the instance role, as the application itself would.

use super::{Injection, InjectionError};
use crate::audit::{Deed, Door};
use crate::authorizer::{Asked, Surroundings};
use crate::endpoint::{ApiService, Call, Caller};
use crate::iam::ServicePrincipal;
use apron_aws::ApiError;
use apron_domain::{SecretReference, ServiceConfig, ServiceId};
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes of one variable: the kernel takes no longer text for a program's environment (128 KiB with name and end).
const VALUE_BYTES_MAX: usize = (128 << 10) - 1024;

/// What stands for the id of a request, of which there is none.
const REQUEST: &str = "deployment";

impl Injection {
    /// The value of a variable, and which version it is.
    pub(super) async fn read(
        &self,
        service: &ServiceId,
        variable: &str,
        text: &str,
        config: &ServiceConfig,
    ) -> Result<(String, String), InjectionError> {
        let reference = self.reference(text)?;
        let role = config.instance_role_arn.as_deref();
        let role = role.ok_or_else(|| InjectionError::NoRole(variable.to_owned()))?;
        let now = self.clock.now();
        let caller = self
            .authorizer
            .identities()
            .role_caller(ServicePrincipal::Tasks, role, service.as_str(), now)
            .map_err(|cause| InjectionError::Role {
                variable: variable.to_owned(),
                reason: cause.to_string(),
            })?;
        let refused = |error: ApiError| InjectionError::Refused {
            variable: variable.to_owned(),
            source_name: reference.to_string(),
            error: Box::new(error),
        };
        let content = |reason: String| InjectionError::Content {
            variable: variable.to_owned(),
            source_name: reference.to_string(),
            reason,
        };
        let (value, version) = match &reference {
            SecretReference::Secret {
                arn,
                json_key,
                stage,
                version,
            } => {
                let mut input = json!({ "SecretId": arn });
                if let Some(stage) = stage {
                    input["VersionStage"] = json!(stage);
                }
                if let Some(version) = version {
                    input["VersionId"] = json!(version);
                }
                let secrets = self.vault.secrets.clone();
                let answer = self.ask(secrets, &caller, "GetSecretValue", input).await;
                let answer = answer.map_err(refused)?;
                let value = secret_text(&answer, json_key.as_deref()).map_err(content)?;
                (value, text_of(&answer["VersionId"]))
            }
            SecretReference::Parameter { name } => {
                let input = json!({ "Names": [name], "WithDecryption": true });
                let parameters = self.vault.parameters.clone();
                let answer = self.ask(parameters, &caller, "GetParameters", input).await;
                let answer = answer.map_err(refused)?;
                let found = &answer["Parameters"][0];
                if found.is_null() {
                    return Err(content("there is no such parameter".to_owned()));
                }
                (text_of(&found["Value"]), text_of(&found["Version"]))
            }
        };
        check(&value).map_err(content)?;
        Ok((value, version))
    }

    /// Asks a service for something as this caller, whom the policies have to allow it.
    async fn ask(
        &self,
        service: Arc<dyn ApiService>,
        caller: &Caller,
        operation: &str,
        input: Value,
    ) -> Result<Value, ApiError> {
        let now = self.clock.now();
        let surroundings = Surroundings {
            now,
            ..Surroundings::default()
        };
        let model = service.model();
        let asked = Asked {
            caller,
            service: &model.service,
            operation,
            input: &input,
            surroundings: &surroundings,
        };
        let door = Door::Api {
            model,
            operation,
            input: &input,
        };
        let mut deed = Deed {
            request_id: REQUEST,
            caller,
            surroundings: &surroundings,
            door,
            answered: &[],
        };
        let answered = match self.authorizer.check(&asked).await {
            Ok(answered) => answered,
            Err(refusal) => {
                let error = refusal.clone().into_error(model.protocol);
                self.trail.refused(&deed, &refusal, &error)?;
                return Err(error);
            }
        };
        deed.answered = &answered;
        let opened = self.trail.open(&deed).await?;
        let called = service.call(Call {
            operation: operation.to_owned(),
            input: input.clone(),
            caller: caller.clone(),
            session_token: None,
            request_id: REQUEST.to_owned(),
            now,
        });
        let result = called.await;
        let ended = self.trail.close(opened, door, result.as_ref(), now);
        ended.and(result)
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The text of a secret, or of one member of the JSON text that it is.
fn secret_text(answer: &Value, json_key: Option<&str>) -> Result<String, String> {
    let Some(text) = answer["SecretString"].as_str() else {
        return Err("the secret is binary, a variable needs a text".to_owned());
    };
    let Some(key) = json_key else {
        return Ok(text.to_owned());
    };
    let members: Value = serde_json::from_str(text)
        .map_err(|_| "the secret is not a JSON text, so it has no keys".to_owned())?;
    match members.get(key) {
        Some(value) => Ok(text_of(value)),
        None => Err(format!("the secret has no key `{key}`")),
    }
}

fn check(value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err("it contains a zero byte".to_owned());
    }
    match value.len() > VALUE_BYTES_MAX {
        true => Err(format!(
            "it has {} bytes, a variable at most {VALUE_BYTES_MAX}",
            value.len()
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_json_texts_become_texts() {
        let answer = json!({"SecretString": r#"{"user": "ann", "port": 5432, "tls": true, "more": {"a": 1}}"#});
        let of = |key: &str| secret_text(&answer, Some(key));
        assert_eq!(of("user").unwrap(), "ann");
        assert_eq!(of("port").unwrap(), "5432");
        assert_eq!(of("tls").unwrap(), "true");
        assert_eq!(of("more").unwrap(), r#"{"a":1}"#);
        assert!(of("none").unwrap_err().contains("no key `none`"));
        let plain = json!({"SecretString": "text"});
        assert!(
            secret_text(&plain, Some("a"))
                .unwrap_err()
                .contains("not a JSON text")
        );
        assert!(
            secret_text(&json!({"SecretBinary": "AA=="}), None)
                .unwrap_err()
                .contains("binary")
        );
        assert!(check("a\0b").is_err() && check(&"x".repeat(1 << 20)).is_err());
    }
}
