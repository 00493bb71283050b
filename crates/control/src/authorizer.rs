//! Whether a caller may do what it asks for: from an operation and its input to the questions, from the caller to the policies
//! that have a say, and to the decision of [`apron_aws::policy`].

mod facts;
mod voice;

pub use facts::{ResourceFacts, ResourcePolicy, ResourceQuestion};

use crate::endpoint::{ApiService, Caller};
use crate::iam::Identities;
use apron_aws::model::Protocol;
use apron_aws::policy::actions::{self, Check, CheckError, Scope};
use apron_aws::policy::{Context, Decision, Request, ResourceLayer, evaluate, owner_of};
use apron_aws::{ApiError, Arn};
use apron_domain::Millis;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use voice::Voice;

/// What no policy of a resource can take from the root user, or a resource could be locked for ever.
const ALWAYS_ROOTS: [&str; 6] = [
    "ecr:SetRepositoryPolicy",
    "ecr:DeleteRepositoryPolicy",
    "secretsmanager:PutResourcePolicy",
    "secretsmanager:DeleteResourcePolicy",
    "kms:PutKeyPolicy",
    "kms:GetKeyPolicy",
];

/// What surrounds a request.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The address it came from; none for what the platform does itself.
    pub source: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// When it came.
    pub now: Millis,
}

/// An operation that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The service as in actions, for example `apprunner`.
    pub service: &'a str,
    /// The operation.
    pub operation: &'a str,
    /// Its input, valid by the model.
    pub input: &'a Value,
    /// What surrounds it.
    pub surroundings: &'a Surroundings,
}

/// One question and its answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The decision, with the statements that made it.
    pub decision: Decision,
}

/// Why an operation is not performed.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The policies do not allow it.
    Denied {
        /// The text for the caller.
        message: String,
        /// The question and its answer.
        answered: Box<Answered>,
    },
    /// Whether it is allowed cannot be found out; nothing is done then.
    Failed(ApiError),
}

impl Refusal {
    /// The error a service with that protocol answers.
    pub fn into_error(self, protocol: Protocol) -> ApiError {
        match self {
            Refusal::Failed(error) => error,
            Refusal::Denied { message, .. } => {
                let mut error = ApiError::access_denied(message);
                match protocol {
                    Protocol::Query => error.code = "AccessDenied".to_owned(),
                    // What services with JSON protocols really send, whatever the page of common errors says.
                    Protocol::Json10 | Protocol::Json11 => error.status = 400,
                }
                error
            }
        }
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        match self {
            Refusal::Denied { message, .. } => message,
            Refusal::Failed(error) => &error.message,
        }
    }
}

/// Decides for every door of the platform.
pub struct Authorizer {
    identities: Arc<Identities>,
    account: String,
    region: String,
    /// Who knows resources: the services, which get to know this one first.
    services: RwLock<Vec<Arc<dyn ApiService>>>,
}

impl Authorizer {
    /// An authorizer by these identities.
    pub fn new(identities: Arc<Identities>, region: &str) -> Authorizer {
        Authorizer {
            account: identities.directory().account.clone(),
            region: region.to_owned(),
            identities,
            services: RwLock::default(),
        }
    }

    /// Makes the services known whose resources have tags and policies.
    pub fn introduce(&self, services: &[Arc<dyn ApiService>]) {
        let mut known = self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        known.extend_from_slice(services);
    }

    /// The identities.
    pub fn identities(&self) -> &Arc<Identities> {
        &self.identities
    }

    /// Whether an operation may be performed; every question it needs is answered with yes then.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn check(&self, asked: &Asked<'_>) -> Result<Vec<Answered>, Refusal> {
        let scope = Scope {
            partition: "aws",
            region: &self.region,
            account: &self.account,
            user: asked.caller.user_name(),
        };
        let checks = actions::checks(asked.service, asked.operation, asked.input, &scope);
        let checks = match checks {
            Ok(checks) => checks,
            Err(error) => self.without_resource(asked, &error)?,
        };
        let voice = Voice::of(asked.caller, &self.identities.directory());
        let mut answered = Vec::with_capacity(checks.len());
        for check in checks {
            answered.push(
                self.answer(asked.caller, &voice, check, asked.surroundings)
                    .await?,
            );
        }
        Ok(answered)
    }

    /// Whether a caller may perform an action on a resource, for what is no operation of an API.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn permit(
        &self,
        caller: &Caller,
        action: &str,
        resource: &str,
        surroundings: &Surroundings,
    ) -> Result<Answered, Refusal> {
        let nothing = Context::new();
        self.permit_in(caller, action, resource, nothing, surroundings)
            .await
    }

    /// The same with condition keys that only who asks knows.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn permit_in(
        &self,
        caller: &Caller,
        action: &str,
        resource: &str,
        context: Context,
        surroundings: &Surroundings,
    ) -> Result<Answered, Refusal> {
        let check = Check {
            action: action.to_owned(),
            resource: resource.to_owned(),
            provisional: false,
            context,
        };
        let voice = Voice::of(caller, &self.identities.directory());
        self.answer(caller, &voice, check, surroundings).await
    }

    /// The question for an operation whose input names no resource.
    fn without_resource(
        &self,
        asked: &Asked<'_>,
        error: &CheckError,
    ) -> Result<Vec<Check>, Refusal> {
        let CheckError::Unnamed(_, members) = error else {
            tracing::error!(%error, operation = asked.operation, "an operation cannot be authorized");
            return Err(Refusal::Failed(ApiError::internal_failure()));
        };
        if members.contains("@user") && !asked.caller.is_root() {
            let text = "Must specify userName when calling with non-User credentials";
            return Err(Refusal::Failed(ApiError::validation(text)));
        }
        Ok(vec![Check {
            action: format!("{}:{}", asked.service, asked.operation),
            resource: "*".to_owned(),
            provisional: false,
            context: Context::new(),
        }])
    }

    async fn answer(
        &self,
        caller: &Caller,
        voice: &Voice,
        mut check: Check,
        surroundings: &Surroundings,
    ) -> Result<Answered, Refusal> {
        let facts = self.facts(caller, voice, &check).await?;
        let mut context = caller.identity.context();
        surroundings.describe(&mut context);
        context.set("aws:RequestedRegion", &self.region);
        voice.describe(&mut context);
        if let Some(facts) = &facts {
            facts.describe(&check, &mut context);
            if let Some(arn) = facts.arn.as_ref().filter(|_| check.provisional) {
                check.resource.clone_from(arn);
            }
        }
        context.set(
            "aws:ResourceAccount",
            owner_of(&check.resource, &self.account),
        );
        if check.action.starts_with("kms:")
            && let Some(account) = caller.identity.account()
        {
            context.set("kms:CallerAccount", account);
        }
        context.extend(check.context);
        let request = Request {
            caller: &caller.identity,
            action: &check.action,
            resource: &check.resource,
            // One account lives here: a resource named with another one does not exist, which the service itself says best.
            owner: &self.account,
            context: &context,
        };
        let mut layers = voice.layers();
        let policy = facts.as_ref().and_then(|facts| facts.policy.as_ref());
        layers.resource = policy.map(ResourcePolicy::layer);
        let decision = evaluate(&request, &layers);
        let message = match &decision {
            Decision::Allowed(_) => None,
            Decision::Denied(denial) => Some(denial.message(&request)),
        };
        let answered = Answered {
            decision,
            action: check.action,
            resource: check.resource,
        };
        match message {
            None => Ok(answered),
            Some(message) => Err(Refusal::Denied {
                message,
                answered: Box::new(answered),
            }),
        }
    }

    /// What is known of the resource, where that can make a difference.
    async fn facts(
        &self,
        caller: &Caller,
        voice: &Voice,
        check: &Check,
    ) -> Result<Option<ResourceFacts>, Refusal> {
        let Ok(arn) = check.resource.parse::<Arn>() else {
            return Ok(None);
        };
        let Some(service) = self.service(&arn.service) else {
            return Ok(None);
        };
        let tags = voice.reads_resource_tags();
        let own = (check.provisional || tags) && !caller.is_root();
        let repairs = caller.is_root() && ALWAYS_ROOTS.contains(&check.action.as_str());
        if repairs || !own && !service.has_resource_policy(&check.action) {
            return Ok(None);
        }
        let question = ResourceQuestion {
            action: &check.action,
            arn: &check.resource,
        };
        service.resource(&question).await.map_err(Refusal::Failed)
    }

    fn service(&self, name: &str) -> Option<Arc<dyn ApiService>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let mut services = services.iter();
        services
            .find(|service| service.model().service == name)
            .cloned()
    }
}

impl Surroundings {
    /// The condition keys that every request has
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>).
    pub fn describe(&self, context: &mut Context) {
        context.set_time(i64::try_from(self.now.0 / 1000).unwrap_or(i64::MAX));
        context.set("aws:SecureTransport", "true");
        context.set("aws:ViaAWSService", "false");
        if let Some(source) = self.source {
            context.set("aws:SourceIp", source.to_string());
        }
        if let Some(agent) = &self.user_agent {
            context.set("aws:UserAgent", agent);
        }
    }
}

impl ResourcePolicy {
    fn layer(&self) -> ResourceLayer<'_> {
        let source = apron_aws::policy::Source {
            name: &self.name,
            policy: self.document.policy(),
        };
        match self.required {
            true => ResourceLayer::Trust(source),
            false => ResourceLayer::Policy(source),
        }
    }
}
