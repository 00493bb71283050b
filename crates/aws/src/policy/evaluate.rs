//! The decision about a request, from all the policies that have a say
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html>).

use super::decision::{Decision, Denial, Grant, Layer, StatementName};
use super::document::{Effect, Policy};
use super::principal::Reach;
use super::request::{Caller, Request};

/// A policy and what it is called in records: its ARN, or a text such as `inline policy of role x: name`.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The name.
    pub name: &'a str,
    /// The document.
    pub policy: &'a Policy,
}

/// The policy of the resource.
#[derive(Clone, Copy, Debug)]
pub enum ResourceLayer<'a> {
    /// An ordinary one: within the account, either it or a policy of the identity has to allow.
    Policy(Source<'a>),
    /// A role's trust policy, which has to allow in any case. Policies of KMS keys are of this sort, too.
    Trust(Source<'a>),
}

impl<'a> ResourceLayer<'a> {
    fn source(self) -> Source<'a> {
        match self {
            ResourceLayer::Policy(source) | ResourceLayer::Trust(source) => source,
        }
    }

    fn layer(self) -> Layer {
        match self {
            ResourceLayer::Policy(_) => Layer::Resource,
            ResourceLayer::Trust(_) => Layer::Trust,
        }
    }
}

/// All the policies that have a say. The default is none, which lets only the root user through.
#[derive(Clone, Debug, Default)]
pub struct Layers<'a> {
    /// Service control policies by level of the organisation, each level of which has to allow; empty: no organisation.
    pub service_control: Vec<Vec<Source<'a>>>,
    /// The policies of the user and its groups, or of the role.
    pub identity: Vec<Source<'a>>,
    /// The permissions boundary of the user or role.
    pub boundary: Option<Source<'a>>,
    /// The policies that were given when the session was made; none: none were given.
    pub session: Option<Vec<Source<'a>>>,
    /// The policy of the resource.
    pub resource: Option<ResourceLayer<'a>>,
}

impl<'a> Layers<'a> {
    /// Every policy with its layer, in the order in which denials are looked for.
    pub(super) fn sources(&self) -> impl Iterator<Item = (Layer, Source<'a>)> {
        let control = self.service_control.iter().flatten();
        let control = control.map(|source| (Layer::ServiceControl, *source));
        let resource = self.resource.map(|it| (it.layer(), it.source()));
        let identity = self.identity.iter().map(|it| (Layer::Identity, *it));
        let boundary = self.boundary.map(|it| (Layer::Boundary, it));
        let session = self.session.iter().flatten();
        let session = session.map(|it| (Layer::Session, *it));
        control
            .chain(resource)
            .chain(identity)
            .chain(boundary)
            .chain(session)
    }
}

/// An `Allow` that applies, and how directly it names the caller.
struct Allow {
    name: StatementName,
    reach: Reach,
}

/// Decides about a request. Nothing is allowed that no policy allows, but what the root user does in its own account.
pub fn evaluate(request: &Request<'_>, layers: &Layers<'_>) -> Decision {
    if let Some(name) = denied(request, layers) {
        return Decision::Denied(Denial::Explicit(name));
    }
    match granted(request, layers) {
        Ok(grant) => Decision::Allowed(grant),
        Err(layer) => Decision::Denied(Denial::Missing(layer)),
    }
}

/// The first statement that denies.
fn denied(request: &Request<'_>, layers: &Layers<'_>) -> Option<StatementName> {
    let applies = |(layer, source): (Layer, Source<'_>)| {
        let mut statements = source.policy.statements.iter().enumerate();
        let (index, statement) = statements
            .find(|(_, it)| it.effect == Effect::Deny && it.applies(request).is_some())?;
        Some(StatementName::new(layer, source.name, index, statement))
    };
    layers.sources().find_map(applies)
}

/// The statement of some policies that allows most directly.
fn allowed(request: &Request<'_>, layer: Layer, sources: &[Source<'_>]) -> Option<Allow> {
    let of_resource = matches!(layer, Layer::Resource | Layer::Trust);
    let mut best: Option<Allow> = None;
    for source in sources {
        for (index, statement) in source.policy.statements.iter().enumerate() {
            // A document without principals is no policy of a resource; taken for one, it would be for everybody.
            let for_nobody = of_resource && statement.principals.is_none();
            if statement.effect != Effect::Allow || for_nobody {
                continue;
            }
            let Some(reach) = statement.applies(request) else {
                continue;
            };
            if best.as_ref().is_none_or(|best| best.reach < reach) {
                let name = StatementName::new(layer, source.name, index, statement);
                best = Some(Allow { name, reach });
            }
        }
    }
    best
}

/// Why the request goes through, or the layer whose `Allow` is missing.
fn granted(request: &Request<'_>, layers: &Layers<'_>) -> Result<Grant, Layer> {
    let resource = layers.resource.and_then(|it| {
        let sources = [it.source()];
        allowed(request, it.layer(), &sources)
    });
    let resource_layer = layers
        .resource
        .map_or(Layer::Resource, ResourceLayer::layer);
    let Some(account) = request.caller.account() else {
        // Services, web identities and nobody have no policies of their own.
        let allow = resource.ok_or(resource_layer)?;
        return Ok(Grant::Statements(vec![allow.name]));
    };
    let mut names = Vec::new();
    for level in &layers.service_control {
        let allow = allowed(request, Layer::ServiceControl, level);
        names.push(allow.ok_or(Layer::ServiceControl)?.name);
    }
    let same_account = account == request.owner;
    let trust_required = matches!(layers.resource, Some(ResourceLayer::Trust(_)));
    let root = matches!(request.caller, Caller::Root { .. });
    if root && same_account && !trust_required {
        return Ok(Grant::Root);
    }
    let reach = resource.as_ref().map(|allow| allow.reach);
    if same_account && reach == Some(Reach::Direct) {
        // Named as itself, the caller needs nothing of its own, and neither boundary nor session policy limits.
        names.extend(resource.map(|allow| allow.name));
        return Ok(Grant::Statements(names));
    }
    if same_account && trust_required && reach.is_none() {
        return Err(Layer::Trust);
    }
    if !root {
        let by_resource = same_account && reach == Some(Reach::Entity);
        names.extend(own_side(request, layers, by_resource)?);
    }
    let decides = !same_account || trust_required || reach == Some(Reach::Entity);
    match resource {
        Some(allow) if decides => names.push(allow.name),
        None if !same_account => return Err(resource_layer),
        _ => {}
    }
    Ok(Grant::Statements(names))
}

/// The layers of the caller's own account. `by_resource`: the policy of the resource stands for those of the identity.
fn own_side(
    request: &Request<'_>,
    layers: &Layers<'_>,
    by_resource: bool,
) -> Result<Vec<StatementName>, Layer> {
    let mut names = Vec::new();
    match allowed(request, Layer::Identity, &layers.identity) {
        Some(allow) => names.push(allow.name),
        None if by_resource => {}
        None => return Err(Layer::Identity),
    }
    if let Some(boundary) = layers.boundary {
        let allow = allowed(request, Layer::Boundary, &[boundary]);
        names.push(allow.ok_or(Layer::Boundary)?.name);
    }
    if let Some(session) = &layers.session {
        let allow = allowed(request, Layer::Session, session);
        names.push(allow.ok_or(Layer::Session)?.name);
    } else if matches!(request.caller, Caller::FederatedUser { .. }) {
        // A federated session has only what its session policy gives it.
        return Err(Layer::Session);
    }
    Ok(names)
}
