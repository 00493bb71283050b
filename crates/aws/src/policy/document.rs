//! A policy as a value, and whether a statement of it applies to a request.

use super::action::ActionPattern;
use super::arn::ArnPattern;
use super::condition::Condition;
use super::json::Span;
use super::pattern::Matched;
use super::principal::{PrincipalPattern, Reach};
use super::request::Request;
use std::collections::BTreeMap;

/// The version of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `2008-10-17`, also that of a document without `Version`: no variables.
    V2008,
    /// `2012-10-17`.
    V2012,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It lets requests through that nothing denies.
    Allow,
    /// It denies, whatever else allows.
    Deny,
}

impl Effect {
    /// The word of policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        }
    }
}

/// A document that was checked. Make one with [`Policy::parse`]; its `Display` is the JSON of it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The version of the language; none was given when this is none, which means [`Version::V2008`].
    pub version: Option<Version>,
    /// `Id`.
    pub id: Option<String>,
    /// The statements, at least one.
    pub statements: Vec<Statement>,
    /// Characters of the text, counted as its kind counts them.
    pub chars: usize,
}

/// Two documents are the same that say the same, however they are written.
impl PartialEq for Policy {
    fn eq(&self, other: &Policy) -> bool {
        self.version == other.version && self.id == other.id && self.statements == other.statements
    }
}

impl Eq for Policy {}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// `Sid`.
    pub sid: Option<String>,
    /// `Effect`.
    pub effect: Effect,
    /// `Principal` or `NotPrincipal`; none in policies of identities.
    pub principals: Option<Principals>,
    /// `Action` or `NotAction`.
    pub actions: Actions,
    /// `Resource` or `NotResource`; none: the resource the policy belongs to.
    pub resources: Option<Resources>,
    /// `Condition`; empty: none.
    pub conditions: Vec<Condition>,
    /// Where it stands in the text.
    pub span: Span,
}

/// Two statements are the same that say the same, wherever they stand.
impl PartialEq for Statement {
    fn eq(&self, other: &Statement) -> bool {
        self.sid == other.sid
            && self.effect == other.effect
            && self.principals == other.principals
            && self.actions == other.actions
            && self.resources == other.resources
            && self.conditions == other.conditions
    }
}

impl Eq for Statement {}

/// `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principals {
    /// Whether it is `NotPrincipal`, which is always in a `Deny`.
    pub negated: bool,
    /// Whom it names.
    pub entries: Vec<PrincipalPattern>,
}

/// `Action` or `NotAction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actions {
    /// Whether it is `NotAction`.
    pub negated: bool,
    /// The actions.
    pub patterns: Vec<ActionPattern>,
}

/// `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Whether it is `NotResource`.
    pub negated: bool,
    /// The resources.
    pub patterns: Vec<ArnPattern>,
}

impl Policy {
    /// The condition keys it reads, in conditions and as variables. Keys are told apart without case and come as they are
    /// first written; variables come in lower case.
    pub fn context_keys(&self) -> Vec<String> {
        let mut keys = BTreeMap::new();
        for statement in &self.statements {
            for condition in &statement.conditions {
                keys.entry(super::context::normal(&condition.key))
                    .or_insert_with(|| condition.key.clone());
            }
        }
        for statement in &self.statements {
            let resources = statement.resources.iter().flat_map(|it| &it.patterns);
            let variables = resources
                .flat_map(ArnPattern::variables)
                .chain(statement.conditions.iter().flat_map(Condition::variables));
            for key in variables {
                keys.entry(key.to_owned()).or_insert_with(|| key.to_owned());
            }
        }
        keys.into_values().collect()
    }
}

impl Statement {
    /// Whether the statement applies to a request, and how directly it names the caller ([`Reach::Direct`] in policies of
    /// identities, which are the caller's own).
    pub fn applies(&self, request: &Request<'_>) -> Option<Reach> {
        let reach = match &self.principals {
            None => Reach::Direct,
            Some(principals) => principals.reach(request)?,
        };
        let applies = self.actions.matches(request.action)
            && self.covers_resource(request)
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(self.effect, request.context));
        applies.then_some(reach)
    }

    fn covers_resource(&self, request: &Request<'_>) -> bool {
        let Some(resources) = &self.resources else {
            return true;
        };
        // `Resource` of a `Deny` and `NotResource` of an `Allow` take access away.
        let takes_away = (self.effect == Effect::Deny) != resources.negated;
        let result = |pattern: &ArnPattern| {
            if takes_away {
                pattern.matches_widely(request.resource, request.context)
            } else {
                pattern.matches(request.resource, request.context)
            }
        };
        let mut results = resources.patterns.iter().map(result);
        if !resources.negated {
            return results.any(|matched| matched == Matched::Yes);
        }
        // A pattern whose variable has no value names nothing. In an `Allow` with `NotResource` that would make it wider.
        results.all(|matched| match matched {
            Matched::Yes => false,
            Matched::No => true,
            Matched::Unresolved => self.effect == Effect::Deny,
        })
    }
}

impl Actions {
    fn matches(&self, action: &str) -> bool {
        let named = self.patterns.iter().any(|pattern| pattern.matches(action));
        named != self.negated
    }
}

impl Principals {
    fn reach(&self, request: &Request<'_>) -> Option<Reach> {
        let reach = self
            .entries
            .iter()
            .filter_map(|entry| entry.reach(request.caller))
            .max();
        if !self.negated {
            return reach;
        }
        // Always a `Deny`: only who is named exempt is, not everybody of a named account and not every session of a named
        // role (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html>).
        (reach != Some(Reach::Direct)).then_some(Reach::Direct)
    }
}
