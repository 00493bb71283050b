//! The records themselves.

use super::hidden::hidden;
use super::{Deed, reads};
use crate::authorizer::{Answered, Surroundings};
use crate::endpoint::Caller;
use apron_aws::policy::{self, written_date};
use apron_aws::{ApiError, Arn, Model};
use serde_json::{Value, json};

/// Where a request came in.
#[derive(Clone, Copy, Debug)]
pub enum Door<'a> {
    /// An operation of the AWS API.
    Api {
        /// The service.
        model: &'a Model,
        /// The operation.
        operation: &'a str,
        /// The input.
        input: &'a Value,
    },
    /// The image registry.
    Registry {
        /// What is done, by the action of ECR that it stands for.
        action: &'a str,
        /// The repository; none for the registry itself.
        repository: Option<&'a str>,
        /// Whether it changes nothing.
        reads: bool,
    },
    /// The platform's own git repositories.
    Git {
        /// The repository.
        repository: &'a str,
        /// Whether it is a push.
        pushes: bool,
    },
    /// A webhook of a connection.
    Hook {
        /// The id of the connection.
        connection: &'a str,
    },
}

/// How many kinds of doors there are.
pub(super) const DOORS: usize = 4;

impl Door<'_> {
    /// Whether nothing is changed.
    pub(super) fn reads(self) -> bool {
        match self {
            Door::Api {
                model, operation, ..
            } => reads(model, operation),
            Door::Registry { reads, .. } => reads,
            Door::Git { pushes, .. } => !pushes,
            // It makes the platform look; what comes of that is recorded by itself.
            Door::Hook { .. } => true,
        }
    }

    /// Its place among the kinds of doors.
    pub(super) fn number(self) -> usize {
        match self {
            Door::Api { .. } => 0,
            Door::Registry { .. } => 1,
            Door::Git { .. } => 2,
            Door::Hook { .. } => 3,
        }
    }

    fn source(self) -> String {
        match self {
            Door::Api { model, .. } if model.service == "apron" => "apron".to_owned(),
            Door::Api { model, .. } => format!("{}.amazonaws.com", model.service),
            Door::Registry { .. } => "ecr.amazonaws.com".to_owned(),
            Door::Git { .. } | Door::Hook { .. } => "apron".to_owned(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Door::Api { .. } => "AwsApiCall",
            Door::Registry { .. } | Door::Git { .. } | Door::Hook { .. } => "AwsServiceEvent",
        }
    }

    fn operation(&self) -> &str {
        match self {
            Door::Api { operation, .. } => operation,
            Door::Registry { action, .. } => action.strip_prefix("ecr:").unwrap_or(action),
            Door::Git { pushes: true, .. } => "GitPush",
            Door::Git { pushes: false, .. } => "GitFetch",
            Door::Hook { .. } => "Webhook",
        }
    }

    fn parameters(self) -> Value {
        match self {
            Door::Api {
                model,
                operation,
                input,
            } => {
                let shape = model.operations.get(operation);
                let shape = shape.and_then(|operation| operation.input.as_deref());
                shape.map_or(Value::Null, |shape| hidden(model, shape, input))
            }
            Door::Registry { repository, .. } => {
                json!({"repositoryName": repository, "protocol": "registry"})
            }
            Door::Git { repository, .. } => {
                json!({"repositoryName": repository, "protocol": "git"})
            }
            Door::Hook { connection } => json!({"connectionId": connection}),
        }
    }

    fn response(self, output: &Value) -> Value {
        let Door::Api {
            model, operation, ..
        } = self
        else {
            return Value::Null;
        };
        let shape = model.operations.get(operation);
        let shape = shape.and_then(|operation| operation.output.as_deref());
        match shape {
            // CloudTrail has no answers of what only reads.
            Some(shape) if !self.reads() => hidden(model, shape, output),
            _ => Value::Null,
        }
    }
}

/// The record of a deed without its end.
pub(super) fn event(deed: &Deed<'_>, region: &str, id: &str) -> Value {
    let mut event = common(deed.surroundings, deed.door, region, id);
    event["userIdentity"] = identity(deed.caller);
    event["requestID"] = json!(deed.request_id);
    event["requestParameters"] = deed.door.parameters();
    event["recipientAccountId"] = json!(deed.caller.account);
    event["resources"] = resources(deed.answered);
    event["additionalEventData"] = decisions(deed.answered);
    event
}

/// The record of a request that is nobody's.
pub(super) fn of_stranger(
    access_key_id: &str,
    surroundings: &Surroundings,
    door: Door<'_>,
    region: &str,
    id: &str,
) -> Value {
    let mut event = common(surroundings, door, region, id);
    event["userIdentity"] = json!({"type": "Unknown", "accessKeyId": access_key_id});
    event["requestParameters"] = door.parameters();
    event
}

fn common(surroundings: &Surroundings, door: Door<'_>, region: &str, id: &str) -> Value {
    let seconds = i64::try_from(surroundings.now.0 / 1000).unwrap_or(i64::MAX);
    json!({
        "eventVersion": "1.11",
        "eventID": id,
        "eventTime": written_date(seconds),
        "eventSource": door.source(),
        "eventName": door.operation(),
        "eventType": door.name(),
        "eventCategory": "Management",
        "managementEvent": true,
        "readOnly": door.reads(),
        "awsRegion": region,
        "sourceIPAddress": surroundings.source.map(|source| source.to_string()),
        "userAgent": surroundings.user_agent,
    })
}

/// How a deed ended.
pub(super) fn end(door: Door<'_>, result: Result<&Value, &ApiError>) -> Value {
    match result {
        Ok(output) => json!({"responseElements": door.response(output)}),
        Err(error) => json!({"errorCode": error.code, "errorMessage": error.message}),
    }
}

/// The decisions, with the statements that made them.
pub(super) fn decisions(answered: &[Answered]) -> Value {
    let decision = |it: &Answered| json!({"action": it.action, "resource": it.resource, "decision": it.decision.to_string()});
    json!({"authorization": answered.iter().map(decision).collect::<Vec<Value>>()})
}

/// The resources that were asked for.
pub(super) fn resources(answered: &[Answered]) -> Value {
    let named = answered.iter().filter(|it| it.resource != "*");
    named
        .map(|it| json!({"ARN": it.resource, "type": resource_type(&it.resource)}))
        .collect()
}

/// The type of a resource, as CloudFormation calls it.
fn resource_type(arn: &str) -> Option<&'static str> {
    let arn: Arn = arn.parse().ok()?;
    let kind = arn.resource.split(['/', ':']).next()?;
    Some(match (arn.service.as_str(), kind) {
        ("apprunner", "service") => "AWS::AppRunner::Service",
        ("apprunner", "autoscalingconfiguration") => "AWS::AppRunner::AutoScalingConfiguration",
        ("apprunner", "vpcconnector") => "AWS::AppRunner::VpcConnector",
        ("apprunner", "observabilityconfiguration") => "AWS::AppRunner::ObservabilityConfiguration",
        ("ecr", "repository") => "AWS::ECR::Repository",
        ("iam", "user") => "AWS::IAM::User",
        ("iam", "group") => "AWS::IAM::Group",
        ("iam", "role") => "AWS::IAM::Role",
        ("iam", "policy") => "AWS::IAM::Policy",
        ("secretsmanager", "secret") => "AWS::SecretsManager::Secret",
        ("ssm", "parameter") => "AWS::SSM::Parameter",
        ("kms", "key") => "AWS::KMS::Key",
        ("logs", "log-group") => "AWS::Logs::LogGroup",
        _ => return None,
    })
}

fn identity(caller: &Caller) -> Value {
    let Caller {
        account,
        access_key_id,
        arn,
        user_id,
        ..
    } = caller;
    let mut identity = json!({
        "principalId": user_id, "arn": arn, "accountId": account, "accessKeyId": access_key_id,
    });
    match &caller.identity {
        policy::Caller::Root { .. } => identity["type"] = json!("Root"),
        policy::Caller::User { .. } => {
            identity["type"] = json!("IAMUser");
            identity["userName"] = json!(caller.user_name());
        }
        policy::Caller::RoleSession { role, role_id, .. } => {
            identity["type"] = json!("AssumedRole");
            let name = role.resource.rsplit('/').next();
            identity["sessionContext"] = json!({"sessionIssuer": {
                "type": "Role", "principalId": role_id, "arn": role.to_string(),
                "accountId": role.account, "userName": name,
            }});
        }
        policy::Caller::WebIdentity { provider } => {
            // The audience and the subject.
            let name = user_id.strip_prefix(provider.as_str());
            let name = name.and_then(|name| name.strip_prefix(':'));
            identity = json!({
                "type": "WebIdentityUser", "principalId": user_id, "userName": name,
                "identityProvider": provider,
            });
        }
        _ => identity["type"] = json!("Unknown"),
    }
    if let Some(session) = &caller.session {
        let seconds = i64::try_from(session.issued.0 / 1000).unwrap_or(i64::MAX);
        identity["sessionContext"]["attributes"] =
            json!({"creationDate": written_date(seconds), "mfaAuthenticated": "false"});
        if let Some(source) = &session.source_identity {
            identity["sessionContext"]["sourceIdentity"] = json!(source);
        }
    }
    identity
}
