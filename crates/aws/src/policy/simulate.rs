//! The decision with everything that led to it, as `SimulatePrincipalPolicy` answers
//! (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html>).

use super::decision::{Decision, StatementName};
use super::evaluate::{Layers, evaluate};
use super::json::Span;
use super::request::Request;
use std::collections::BTreeMap;

/// A statement that applies to the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementMatch {
    /// The statement.
    pub name: StatementName,
    /// Where it stands in its document, for `StartPosition` and `EndPosition`.
    pub span: Span,
}

/// The answer to a simulated request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// What would be decided.
    pub decision: Decision,
    /// Every statement that applies, also those that decide nothing: `MatchedStatements`.
    pub matched: Vec<StatementMatch>,
    /// The condition keys that policies read and the request does not have, sorted: `MissingContextValues`.
    pub missing_context: Vec<String>,
}

/// Decides about a request and tells what took part.
pub fn simulate(request: &Request<'_>, layers: &Layers<'_>) -> Simulation {
    let mut matched = Vec::new();
    let mut missing = BTreeMap::new();
    for (layer, source) in layers.sources() {
        for (index, statement) in source.policy.statements.iter().enumerate() {
            if statement.applies(request).is_some() {
                matched.push(StatementMatch {
                    name: StatementName::new(layer, source.name, index, statement),
                    span: statement.span,
                });
            }
        }
        for key in source.policy.context_keys() {
            if request.context.get(&key).is_none() {
                missing.entry(super::context::normal(&key)).or_insert(key);
            }
        }
    }
    Simulation {
        decision: evaluate(request, layers),
        matched,
        missing_context: missing.into_values().collect(),
    }
}
