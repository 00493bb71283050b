//! From text to a document, by the published grammar and nothing beyond it
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>).

use super::action::ActionPattern;
use super::arn::ArnPattern;
use super::condition::Condition;
use super::document::{Actions, Effect, Policy, Principals, Resources, Statement, Version};
use super::error::{MalformedPolicy, PolicyError};
use super::json::{self, Node, Span, Value};
use super::kind::{Kind, Presence};
use super::operator::Operator;
use super::principal::PrincipalPattern;
use std::collections::HashSet;

/// Bytes of a text that is read at all: the largest kind with as much white space as the API's model lets through.
const TEXT_BYTES_MAX: usize = 131_072;

type Result<T> = std::result::Result<T, MalformedPolicy>;

impl Policy {
    /// Reads and checks a document of a kind.
    ///
    /// # Errors
    /// [`PolicyError::Malformed`] says what is wrong and where; [`PolicyError::TooLong`] that it is longer than the kind
    /// allows.
    pub fn parse(text: &str, kind: Kind) -> std::result::Result<Policy, PolicyError> {
        let counted = |c: &char| kind.counts_space() || !c.is_ascii_whitespace();
        let chars = text.chars().filter(counted).count();
        let max = kind.chars_max();
        if chars > max {
            return Err(PolicyError::TooLong { chars, max });
        }
        if text.len() > TEXT_BYTES_MAX {
            // White space that does not count.
            let (chars, max) = (text.len(), TEXT_BYTES_MAX);
            return Err(PolicyError::TooLong { chars, max });
        }
        let value = json::read(text)?;
        Ok(document(&value, kind, chars)?)
    }
}

/// The members of a map that are told apart by name.
struct Members<'a> {
    path: String,
    span: Span,
    entries: &'a [(String, Value)],
}

fn wrong<T>(problem: impl Into<String>, path: &str, value: &Value) -> Result<T> {
    Err(MalformedPolicy::new(problem, path, value.span.start))
}

fn members<'a>(value: &'a Value, path: &str, known: &[&str]) -> Result<Members<'a>> {
    let Node::Map(entries) = &value.node else {
        return wrong("Syntax errors in policy: expected an object", path, value);
    };
    for (key, value) in entries {
        if !known.contains(&key.as_str()) {
            return wrong(format!("Unknown field {key}"), path, value);
        }
    }
    Ok(Members {
        path: path.to_owned(),
        span: value.span,
        entries,
    })
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        let entry = self.entries.iter().find(|(key, _)| key == name);
        entry.map(|(_, value)| value)
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn wrong<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(MalformedPolicy::new(problem, &self.path, self.span.start))
    }

    /// The one of an element and its opposite that is there: whether it is the opposite, its path and its value.
    fn either(&self, name: &str) -> Result<Option<(bool, String, &'a Value)>> {
        let not = format!("Not{name}");
        match (self.get(name), self.get(&not)) {
            (Some(_), Some(value)) => {
                let problem = format!("{name} and {not} cannot both be in a statement");
                wrong(problem, &self.path(&not), value)
            }
            (Some(value), None) => Ok(Some((false, self.path(name), value))),
            (None, Some(value)) => Ok(Some((true, self.path(&not), value))),
            (None, None) => Ok(None),
        }
    }
}

fn text<'a>(value: &'a Value, path: &str) -> Result<&'a str> {
    match &value.node {
        Node::Text(text) => Ok(text),
        _ => wrong("Syntax errors in policy: expected a string", path, value),
    }
}

/// A value or a list of at least one, each with its path.
fn one_or_more<'a>(value: &'a Value, path: &str) -> Result<Vec<(String, &'a Value)>> {
    match &value.node {
        Node::List(items) if items.is_empty() => {
            wrong("Syntax errors in policy: the list is empty", path, value)
        }
        Node::List(items) => {
            let item = |(at, value)| (format!("{path}[{at}]"), value);
            Ok(items.iter().enumerate().map(item).collect())
        }
        _ => Ok(vec![(path.to_owned(), value)]),
    }
}

/// Reads each of one or more strings.
fn each_text<T>(
    value: &Value,
    path: &str,
    parse: impl Fn(&str) -> std::result::Result<T, String>,
) -> Result<Vec<T>> {
    let read = |(path, value): (String, &Value)| {
        parse(text(value, &path)?).or_else(|problem| wrong(problem, &path, value))
    };
    one_or_more(value, path)?.into_iter().map(read).collect()
}

fn document(value: &Value, kind: Kind, chars: usize) -> Result<Policy> {
    let members = members(value, "", &["Version", "Id", "Statement"])?;
    let version = match members.get("Version") {
        None => None,
        Some(value) => Some(match text(value, "Version")? {
            "2012-10-17" => Version::V2012,
            "2008-10-17" => Version::V2008,
            other => return wrong(format!("Invalid version: {other}"), "Version", value),
        }),
    };
    let id = match members.get("Id") {
        Some(value) if kind.id() == Presence::Prohibited => {
            return wrong("Has prohibited field Id", "Id", value);
        }
        Some(value) => Some(text(value, "Id")?.to_owned()),
        None => None,
    };
    let Some(list) = members.get("Statement") else {
        return members.wrong("Missing required field Statement");
    };
    let language = Language {
        kind,
        variables: version == Some(Version::V2012),
    };
    let read = |(path, value): (String, &Value)| statement(value, &path, language);
    let listed = one_or_more(list, "Statement")?;
    let statements: Vec<Statement> = listed.into_iter().map(read).collect::<Result<_>>()?;
    unique_sids(&statements, kind)?;
    Ok(Policy {
        version,
        id,
        statements,
        chars,
    })
}

fn unique_sids(statements: &[Statement], kind: Kind) -> Result<()> {
    let mut seen = HashSet::new();
    for (at, statement) in statements.iter().enumerate() {
        let sid = statement.sid.as_deref().unwrap_or_default();
        if kind.strict_sids() && !sid.is_empty() && !seen.insert(sid) {
            return Err(MalformedPolicy::new(
                "Statement IDs (SID) in a single policy must be unique.",
                &format!("Statement[{at}].Sid"),
                statement.span.start,
            ));
        }
    }
    Ok(())
}

/// What of the language a document may use.
#[derive(Clone, Copy)]
struct Language {
    kind: Kind,
    variables: bool,
}

const STATEMENT_MEMBERS: &[&str] = &[
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

fn statement(value: &Value, path: &str, language: Language) -> Result<Statement> {
    let members = members(value, path, STATEMENT_MEMBERS)?;
    let effect = match members.get("Effect") {
        None => return members.wrong("Missing required field Effect"),
        Some(value) => match text(value, &members.path("Effect"))? {
            "Allow" => Effect::Allow,
            "Deny" => Effect::Deny,
            other => {
                let problem = format!("Invalid effect: {other}");
                return wrong(problem, &members.path("Effect"), value);
            }
        },
    };
    Ok(Statement {
        sid: sid(&members, language.kind)?,
        effect,
        principals: principals(&members, effect, language.kind)?,
        actions: actions(&members, language.kind)?,
        resources: resources(&members, language)?,
        conditions: conditions(&members, language.variables)?,
        span: value.span,
    })
}

fn sid(members: &Members<'_>, kind: Kind) -> Result<Option<String>> {
    let Some(value) = members.get("Sid") else {
        return Ok(None);
    };
    let path = members.path("Sid");
    let sid = text(value, &path)?;
    if kind.strict_sids() && !sid.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return wrong(
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
            &path,
            value,
        );
    }
    Ok(Some(sid.to_owned()))
}

fn principals(members: &Members<'_>, effect: Effect, kind: Kind) -> Result<Option<Principals>> {
    let Some((negated, path, value)) = members.either("Principal")? else {
        if kind.names_principals() {
            return members.wrong("Missing required field Principal");
        }
        return Ok(None);
    };
    if !kind.names_principals() {
        return wrong(
            "Policy document should not specify a principal.",
            &path,
            value,
        );
    }
    if negated && kind == Kind::Trust {
        return wrong("Has prohibited field NotPrincipal", &path, value);
    }
    if negated && effect == Effect::Allow {
        return wrong(
            "NotPrincipal is not allowed with the effect Allow",
            &path,
            value,
        );
    }
    let mut entries = Vec::new();
    match &value.node {
        Node::Text(text) if text == "*" => entries.push(PrincipalPattern::Everyone),
        Node::Map(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                let parse = |text: &str| PrincipalPattern::parse(key, text);
                entries.extend(each_text(value, &path, parse)?);
            }
        }
        _ => return wrong("Invalid principal in policy", &path, value),
    }
    entries.sort_by_key(|entry| entry.written().0);
    Ok(Some(Principals { negated, entries }))
}

fn actions(members: &Members<'_>, kind: Kind) -> Result<Actions> {
    let Some((negated, path, value)) = members.either("Action")? else {
        return members.wrong("Missing required field Action");
    };
    let patterns = each_text(value, &path, ActionPattern::parse)?;
    if kind == Kind::Trust
        && patterns
            .iter()
            .any(|action| action.service() != Some("sts"))
    {
        let problem = "AssumeRole policy may only specify STS AssumeRole actions.";
        return wrong(problem, &path, value);
    }
    Ok(Actions { negated, patterns })
}

fn resources(members: &Members<'_>, language: Language) -> Result<Option<Resources>> {
    let presence = language.kind.resources();
    let Some((negated, path, value)) = members.either("Resource")? else {
        if presence == Presence::Required {
            return members.wrong("Policy statement must contain resources.");
        }
        return Ok(None);
    };
    if presence == Presence::Prohibited {
        return wrong("Has prohibited field Resource", &path, value);
    }
    let parse = |text: &str| ArnPattern::parse_resource(text, language.variables);
    let patterns = each_text(value, &path, parse)?;
    Ok(Some(Resources { negated, patterns }))
}

fn conditions(members: &Members<'_>, variables: bool) -> Result<Vec<Condition>> {
    let Some(value) = members.get("Condition") else {
        return Ok(Vec::new());
    };
    let path = members.path("Condition");
    let mut conditions = Vec::new();
    for (name, tests) in map(value, &path)? {
        let path = format!("{path}.{name}");
        let operator = Operator::parse(name).or_else(|problem| wrong(problem, &path, tests))?;
        for (key, value) in map(tests, &path)? {
            let path = format!("{path}.{key}");
            let sources = one_or_more(value, &path)?
                .into_iter()
                .map(|(path, value)| condition_value(value, &path))
                .collect::<Result<Vec<String>>>()?;
            let condition = Condition::parse(operator, key, sources, variables);
            conditions.push(condition.or_else(|problem| wrong(problem, &path, value))?);
        }
    }
    conditions.sort_by_cached_key(|it: &Condition| (it.operator.written(), it.key.clone()));
    Ok(conditions)
}

fn map<'a>(value: &'a Value, path: &str) -> Result<&'a [(String, Value)]> {
    match &value.node {
        Node::Map(entries) => Ok(entries),
        _ => wrong("Syntax errors in policy: expected an object", path, value),
    }
}

/// Numbers and truth values may stand without quotation marks.
fn condition_value(value: &Value, path: &str) -> Result<String> {
    match &value.node {
        Node::Text(text) | Node::Number(text) => Ok(text.clone()),
        Node::Bool(is) => Ok(is.to_string()),
        _ => wrong("Syntax errors in policy: expected a string", path, value),
    }
}
