//! `RotateIssuerKey`: another key that signs the tokens of instances, while tokens of the former one stay good, or end at once.

use super::{Operator, read};
use crate::endpoint::{Call, internal};
use crate::web_identity::KeyChange;
use apron_aws::{ApiError, model};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RotateIssuerKey {
    #[serde(default)]
    at_once: bool,
    #[serde(default)]
    withdraw_former: bool,
}

impl Operator {
    pub(super) async fn rotate_issuer_key(&self, call: &Call) -> Result<Value, ApiError> {
        let input: RotateIssuerKey = read(call)?;
        let change = match (input.withdraw_former, input.at_once) {
            (true, _) => KeyChange::Withdraw,
            (false, true) => KeyChange::AtOnce,
            (false, false) => KeyChange::Ahead,
        };
        let issuer = &self.engine.web_identity.issuer;
        let rotated = issuer.rotate(change, call.now).await;
        let rotated =
            rotated.map_err(|error| internal(call, "replace the issuer's key", &error))?;
        let Some(rotated) = rotated else {
            let text = "so many keys of the issuer are published that another one has to wait until the first of them has gone";
            return Err(model::apron().error("InvalidStateException", text));
        };
        tracing::info!(key = rotated.key, "the issuer's key is replaced");
        Ok(json!({
            "KeyId": rotated.key,
            "SignsFrom": rotated.signs_from.as_seconds(),
            "FormerKeyId": rotated.former,
            "FormerKeyPublishedUntil": rotated.former_until.as_seconds(),
        }))
    }
}
