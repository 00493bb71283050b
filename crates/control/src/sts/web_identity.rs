//! `AssumeRoleWithWebIdentity`: the call is not signed, a token of an identity provider says who asks
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>).

use super::assume_role::text;
use super::marks::Marks;
use super::{Sts, denied, error};
use crate::authorizer::{Answered, Surroundings};
use crate::endpoint::{Call, Caller};
use crate::iam::{Directory, Entity, Role};
use crate::web_identity::{TokenError, Verified};
use apron_aws::ApiError;
use apron_aws::policy::{self, Context, Request};
use serde_json::{Value, json};
use std::sync::Arc;

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

impl Sts {
    /// Who asks, by the token, and that the role's trust policy lets it.
    pub(super) async fn web_identity(
        &self,
        call: &Call,
        surroundings: &Surroundings,
    ) -> Result<(Caller, Vec<Answered>), ApiError> {
        let verified = self.verified(call).await?;
        let marks = Marks::claimed(&verified.claims)?;
        let directory = self.identities.directory();
        // Whether a role exists is nobody's business who may not assume it.
        let role = named(&directory, call).ok_or_else(|| not_authorized(ACTION))?;
        let arn = verified.provider.arn(&directory.account);
        let identity = policy::Caller::WebIdentity {
            provider: arn.clone(),
        };
        let mut context = identity.context();
        surroundings.describe(&mut context);
        describe(&verified, &mut context);
        marks.describe(&mut context);
        context.set("aws:FederatedProvider", &arn);
        context.set("sts:RoleSessionName", text(&call.input, "RoleSessionName"));
        context.set("aws:ResourceAccount", &directory.account);
        let tags = role.tags.iter();
        context.set_tags(
            "aws:ResourceTag",
            tags.map(|(k, v)| (k.as_str(), v.as_str())),
        );
        let resource = role.arn(&directory.account);
        let mut answered = Vec::new();
        for action in [ACTION].into_iter().chain(marks.needs()) {
            let request = Request {
                caller: &identity,
                action,
                resource: &resource,
                owner: &directory.account,
                context: &context,
            };
            let decision = role.decide(&request);
            if !decision.is_allowed() {
                return Err(not_authorized(action));
            }
            answered.push(Answered {
                action: action.to_owned(),
                resource: resource.clone(),
                decision,
            });
        }
        Ok((caller(identity, &directory, verified), answered))
    }

    /// The session. Who asks has been found out when this is reached.
    pub(super) fn assume_role_with_web_identity(&self, call: &Call) -> Result<Value, ApiError> {
        let verified = call.caller.token.as_ref();
        let claims = &verified.ok_or_else(|| not_authorized(ACTION))?.claims;
        let directory = self.identities.directory();
        let role = named(&directory, call).ok_or_else(|| not_authorized(ACTION))?;
        let mut answer = self.assumed(call, role, Marks::claimed(claims)?)?;
        answer["SubjectFromWebIdentityToken"] = json!(claims.subject);
        answer["Provider"] = json!(claims.issuer);
        answer["Audience"] = json!(claims.audiences.first());
        Ok(answer)
    }

    async fn verified(&self, call: &Call) -> Result<Verified, ApiError> {
        if call.input.get("ProviderId").is_some() {
            let text = "ProviderId is for access tokens of OAuth 2.0, which are not taken here";
            return Err(ApiError::validation(text));
        }
        let token = text(&call.input, "WebIdentityToken");
        let directory = self.identities.directory();
        let verified = self.issuers.verify(token, &directory, call.now).await;
        verified.map_err(|refused| refusal(&refused))
    }
}

fn named<'a>(directory: &'a Directory, call: &Call) -> Option<&'a Arc<Role>> {
    directory.role_by_arn(text(&call.input, "RoleArn"))
}

/// The condition keys that a provider's tokens have.
fn describe(verified: &Verified, context: &mut Context) {
    let key = |name: &str| format!("{}:{name}", verified.provider.url);
    let claims = &verified.claims;
    context.set_all(&key("aud"), &claims.audiences);
    context.set(&key("sub"), &claims.subject);
    if !claims.methods.is_empty() {
        context.set_all(&key("amr"), &claims.methods);
    }
}

/// The bearer of a token, who lives in no account and does something in this one.
fn caller(identity: policy::Caller, directory: &Directory, verified: Verified) -> Caller {
    let mut caller = Caller::new(identity, "", None);
    caller.account.clone_from(&directory.account);
    let claims = &verified.claims;
    let audience = claims.audiences.first().map_or("", String::as_str);
    let provider = verified.provider.arn(&directory.account);
    caller.user_id = format!("{provider}:{audience}:{}", claims.subject);
    caller.token = Some(Arc::new(verified));
    caller
}

fn not_authorized(action: &str) -> ApiError {
    denied(format!("Not authorized to perform {action}"))
}

/// A token that is not believed, in STS's words.
fn refusal(refused: &TokenError) -> ApiError {
    let shape = match refused {
        TokenError::Expired { .. } => "ExpiredTokenException",
        TokenError::Early(_) => "IDPRejectedClaimException",
        TokenError::Unreachable { .. } => "IDPCommunicationErrorException",
        TokenError::Store => return ApiError::internal_failure(),
        TokenError::Malformed(_)
        | TokenError::NoProvider(_)
        | TokenError::Audience
        | TokenError::NoKey(_)
        | TokenError::Signature => "InvalidIdentityTokenException",
    };
    error(shape, refused.to_string())
}
