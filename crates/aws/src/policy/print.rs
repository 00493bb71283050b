//! Documents as JSON again. Reading what is written here gives the same document.

use super::document::{Policy, Principals, Statement, Version};
use serde_json::{Map, Value, json};
use std::fmt;

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_json())
    }
}

impl Policy {
    /// The document as a value of JSON. Lists stay lists, also of one.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        if let Some(version) = self.version {
            let date = match version {
                Version::V2008 => "2008-10-17",
                Version::V2012 => "2012-10-17",
            };
            members.insert("Version".to_owned(), Value::from(date));
        }
        if let Some(id) = &self.id {
            members.insert("Id".to_owned(), Value::from(id.as_str()));
        }
        let statements: Vec<Value> = self.statements.iter().map(statement).collect();
        members.insert("Statement".to_owned(), Value::from(statements));
        Value::from(members)
    }
}

fn statement(of: &Statement) -> Value {
    let mut members = Map::new();
    if let Some(sid) = &of.sid {
        members.insert("Sid".to_owned(), Value::from(sid.as_str()));
    }
    members.insert("Effect".to_owned(), Value::from(of.effect.as_str()));
    if let Some(of) = &of.principals {
        members.insert(named("Principal", of.negated), principals(of));
    }
    let actions: Vec<&str> = of.actions.patterns.iter().map(|it| it.source()).collect();
    members.insert(named("Action", of.actions.negated), json!(actions));
    if let Some(resources) = &of.resources {
        let patterns: Vec<&str> = resources.patterns.iter().map(|it| it.source()).collect();
        members.insert(named("Resource", resources.negated), json!(patterns));
    }
    if !of.conditions.is_empty() {
        let mut operators = Map::new();
        for condition in &of.conditions {
            let keys = operators
                .entry(condition.operator.written())
                .or_insert_with(|| Value::from(Map::new()));
            keys[condition.key.as_str()] = json!(condition.values());
        }
        members.insert("Condition".to_owned(), Value::from(operators));
    }
    Value::from(members)
}

fn named(element: &str, negated: bool) -> String {
    if negated {
        format!("Not{element}")
    } else {
        element.to_owned()
    }
}

fn principals(of: &Principals) -> Value {
    let mut map: Map<String, Value> = Map::new();
    for entry in &of.entries {
        let (key, text) = entry.written();
        let texts = map
            .entry(key)
            .or_insert_with(|| Value::from(Vec::<Value>::new()));
        if let Value::Array(texts) = texts {
            texts.push(Value::from(text));
        }
    }
    Value::from(map)
}
