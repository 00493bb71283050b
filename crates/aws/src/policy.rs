//! The IAM policy language: documents, matching, conditions and the decision about one request.
//!
//! Pure like the rest of the crate: a document is text, the time is a value of the request's context. What is not documented
//! by AWS and was chosen here stands in `docs/decisions/0022-iam-policies-are-evaluated-here.md`.
//!
//! * Checking a document that somebody stores: [`Policy::parse`] with its [`Kind`].
//! * Authorising a call: [`actions::checks`] says which action on which resource it is, [`evaluate`] decides.
//! * A role's trust policy: the same [`evaluate`], with [`ResourceLayer::Trust`].
//! * `SimulatePrincipalPolicy`: [`simulate`]; `GetContextKeysForCustomPolicy`: [`Policy::context_keys`].
//!
//! ```
//! use apron_aws::policy::{Caller, Kind, Layers, Policy, Request, Source, actions, evaluate, owner_of};
//!
//! let policy = r#"{"Version": "2012-10-17", "Statement": [{
//!     "Effect": "Allow", "Action": "apprunner:*", "Resource": "arn:aws:apprunner:*:*:service/${aws:username}-*"}]}"#;
//! let policy = Policy::parse(policy, Kind::UserInline)?;
//! let caller = Caller::User {
//!     arn: "arn:aws:iam::111122223333:user/ann".parse()?,
//!     id: "AIDAEXAMPLE000000001".to_owned(),
//! };
//! let layers = Layers {
//!     identity: vec![Source { name: "inline policy of ann: own-services", policy: &policy }],
//!     ..Layers::default()
//! };
//! let scope = actions::Scope { partition: "aws", region: "us-east-1", account: "111122223333", user: Some("ann") };
//! let input = serde_json::json!({"ServiceName": "bob-shop"});
//! for check in actions::checks("apprunner", "CreateService", &input, &scope)? {
//!     let mut context = caller.context();
//!     context.set_time(1_790_000_000);
//!     context.extend(check.context);
//!     let request = Request {
//!         caller: &caller,
//!         action: &check.action,
//!         resource: &check.resource,
//!         owner: owner_of(&check.resource, "111122223333"),
//!         context: &context,
//!     };
//!     let decision = evaluate(&request, &layers);
//!     assert_eq!(decision.to_string(), "denied: no identity-based policy allows it");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>.

mod action;
pub mod actions;
mod arn;
mod condition;
mod context;
mod decision;
mod document;
mod error;
mod evaluate;
mod json;
mod kind;
mod operator;
mod parse;
mod pattern;
mod principal;
mod print;
mod request;
mod simulate;
mod value;

pub use action::ActionPattern;
pub use arn::ArnPattern;
pub use condition::Condition;
pub use context::Context;
pub use decision::{Decision, Denial, Grant, Layer, StatementName};
pub use document::{Actions, Effect, Policy, Principals, Resources, Statement, Version};
pub use error::{MalformedPolicy, PolicyError};
pub use evaluate::{Layers, ResourceLayer, Source, evaluate};
pub use json::{Position, Span};
pub use kind::Kind;
pub use operator::{Operator, Quantifier};
pub use pattern::{Matched, Pattern};
pub use principal::{PrincipalPattern, Reach};
pub use request::{Caller, Request, owner_of};
pub use simulate::{Simulation, StatementMatch, simulate};
pub use value::written_date;
