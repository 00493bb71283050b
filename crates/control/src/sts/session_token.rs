//! `GetSessionToken`.

use super::{Sts, credentials, denied, duration};
use crate::endpoint::Call;
use crate::iam::{Session, SessionHolder, Tags};
use apron_aws::ApiError;
use apron_aws::policy::Caller;
use serde_json::{Value, json};

impl Sts {
    pub(super) fn get_session_token(&self, call: &Call) -> Result<Value, ApiError> {
        if call.caller.session.is_some() {
            return Err(denied(
                "Cannot call GetSessionToken with session credentials",
            ));
        }
        // AWS advises against it for the root user, and nothing would limit such a session here.
        let Caller::User { id, .. } = &call.caller.identity else {
            return Err(denied(
                "GetSessionToken is for users; the root user has none of its sessions here",
            ));
        };
        if call.input.get("TokenCode").is_some() || call.input.get("SerialNumber").is_some() {
            let text = "MultiFactorAuthentication failed: there are no MFA devices in this installation of Apron.";
            return Err(denied(text));
        }
        let seconds = duration::asked(call).unwrap_or(duration::USER_SECONDS_DEFAULT);
        let session = Session {
            holder: SessionHolder::User { id: id.clone() },
            issued: call.now,
            expires: call.now.plus(seconds * 1000),
            policy: None,
            policy_arns: Vec::new(),
            tags: Tags::new(),
            transitive: Vec::new(),
            source_identity: None,
        };
        let made = self.identities.issue(session, &*self.chance);
        Ok(json!({"Credentials": credentials(&made)}))
    }
}
