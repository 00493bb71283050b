//! A second evaluator, slow and obvious, that works on the JSON itself. It shares no code with the crate: wildcards by
//! recursion over characters, conditions by truth tables, dates by counting days.

use serde_json::Value;
use std::collections::BTreeMap;

/// Lower-case keys to values.
pub type Known = BTreeMap<String, Vec<String>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Char(char),
    Star,
    Question,
}

/// The units of a string with its variables replaced; none when one has no value.
fn units(text: &str, wildcards: bool, variables: bool, known: &Known) -> Option<Vec<Unit>> {
    let chars: Vec<char> = text.chars().collect();
    let mut units = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let starts_variable = variables && chars[at] == '$' && chars.get(at + 1) == Some(&'{');
        if starts_variable {
            let end = (at..chars.len()).find(|i| chars[*i] == '}').unwrap();
            let inner: String = chars[at + 2..end].iter().collect();
            at = end + 1;
            if ["*", "?", "$"].contains(&inner.as_str()) {
                units.extend(inner.chars().map(Unit::Char));
                continue;
            }
            let (name, default) = match inner.split_once(',') {
                Some((name, default)) => (name, Some(default.trim().trim_matches('\''))),
                None => (inner.as_str(), None),
            };
            let values = known.get(&name.to_lowercase()).cloned().unwrap_or_default();
            let value = match values.len() {
                0 => default?.to_owned(),
                1 => values[0].clone(),
                _ => return None,
            };
            units.extend(value.chars().map(Unit::Char));
            continue;
        }
        units.push(match chars[at] {
            '*' if wildcards => Unit::Star,
            '?' if wildcards => Unit::Question,
            c => Unit::Char(c),
        });
        at += 1;
    }
    Some(units)
}

fn glob(pattern: &[Unit], value: &[char]) -> bool {
    match pattern.first() {
        None => value.is_empty(),
        Some(Unit::Star) => (0..=value.len()).any(|skip| glob(&pattern[1..], &value[skip..])),
        Some(Unit::Question) => !value.is_empty() && glob(&pattern[1..], &value[1..]),
        Some(Unit::Char(c)) => value.first() == Some(c) && glob(&pattern[1..], &value[1..]),
    }
}

/// `Some(true)`: matches, `Some(false)`: does not, `None`: a variable has no value.
pub fn like(pattern: &str, value: &str, variables: bool, known: &Known) -> Option<bool> {
    let units = units(pattern, true, variables, known)?;
    Some(glob(&units, &value.chars().collect::<Vec<char>>()))
}

/// The parts of a pattern, whose variables have colons of their own.
fn parts_of(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut inside = false;
    for c in pattern.chars() {
        inside = match c {
            '{' => parts.last().unwrap().ends_with('$'),
            '}' => false,
            _ => inside,
        };
        if c == ':' && !inside && parts.len() < 6 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(c);
        }
    }
    parts
}

pub fn arn_like(pattern: &str, arn: &str, variables: bool, known: &Known) -> Option<bool> {
    if pattern == "*" {
        return Some(true);
    }
    let patterns = if variables {
        parts_of(pattern)
    } else {
        pattern.splitn(6, ':').map(str::to_owned).collect()
    };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    if parts.len() < 6 {
        return Some(false);
    }
    let last = patterns.len() - 1;
    let mut unknown = false;
    for at in 0..patterns.len() {
        let part = if at == last {
            parts[at..].join(":")
        } else {
            parts[at].to_owned()
        };
        match like(&patterns[at], &part, variables, known) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => unknown = true,
        }
    }
    if unknown { None } else { Some(true) }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

/// Seconds since 1970 of `2024`, `2024-02-29`, `2024-02-29T10:00:00Z` or of a number of seconds.
fn seconds(text: &str) -> Option<f64> {
    if text.len() != 4
        && let Ok(number) = text.parse::<i64>()
    {
        return Some(number as f64);
    }
    let (day, clock) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let mut day = day.split('-').map(str::parse::<i64>);
    let year = day.next()?.ok()?;
    let month = day.next().unwrap_or(Ok(1)).ok()?;
    let of_month = day.next().unwrap_or(Ok(1)).ok()?;
    let leap = |y: i64| (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let lengths = [
        31,
        28 + i64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    if !(1..=12).contains(&month) || of_month < 1 || of_month > lengths[month as usize - 1] {
        return None;
    }
    let years: i64 = (1970..year).map(|y| 365 + i64::from(leap(y))).sum();
    let months: i64 = lengths[..month as usize - 1].iter().sum();
    let clock: Vec<i64> = clock
        .strip_suffix('Z')?
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let of_day = clock[0] * 3600 + clock[1] * 60 + clock.get(2).unwrap_or(&0);
    Some(((years + months + of_month - 1) * 86_400 + of_day) as f64)
}

/// The bits of an address as text.
fn bits(address: &str) -> Option<String> {
    if let Ok(v4) = address.parse::<std::net::Ipv4Addr>() {
        return Some(v4.octets().iter().map(|b| format!("{b:08b}")).collect());
    }
    let v6 = address.parse::<std::net::Ipv6Addr>().ok()?;
    Some(v6.octets().iter().map(|b| format!("{b:08b}")).collect())
}

fn in_range(range: &str, address: &str) -> bool {
    let (base, length) = range.split_once('/').unwrap_or((range, "999"));
    let (Some(base), Some(address)) = (bits(base), bits(address)) else {
        return false;
    };
    let length = length.parse::<usize>().unwrap().min(base.len());
    base.len() == address.len() && base[..length] == address[..length]
}

/// Whether one value of the request compares with one of the policy, without negation.
fn compares(operator: &str, value: &str, wanted: &str, variables: bool, known: &Known) -> bool {
    let ordered = |order: Option<std::cmp::Ordering>| {
        let Some(order) = order else { return false };
        if operator.ends_with("LessThan") {
            order.is_lt()
        } else if operator.ends_with("LessThanEquals") {
            order.is_le()
        } else if operator.ends_with("GreaterThan") {
            order.is_gt()
        } else if operator.ends_with("GreaterThanEquals") {
            order.is_ge()
        } else {
            order.is_eq()
        }
    };
    let plain = || {
        let units = units(wanted, false, variables, known)?;
        let text = units.into_iter().map(|unit| match unit {
            Unit::Char(c) => c,
            Unit::Star => '*',
            Unit::Question => '?',
        });
        Some(text.collect::<String>())
    };
    match operator {
        "StringEquals" | "StringNotEquals" => plain().as_deref() == Some(value),
        "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" => {
            plain().map(|text| text.to_lowercase()) == Some(value.to_lowercase())
        }
        "StringLike" | "StringNotLike" => like(wanted, value, variables, known) == Some(true),
        "Bool" => {
            let wanted = plain().map(|text| text.to_lowercase());
            ["true", "false"].contains(&value.to_lowercase().as_str())
                && wanted == Some(value.to_lowercase())
        }
        "BinaryEquals" => wanted == value,
        "IpAddress" | "NotIpAddress" => in_range(wanted, value),
        name if name.starts_with("Arn") => arn_like(wanted, value, variables, known) == Some(true),
        name if name.starts_with("Date") => {
            ordered(seconds(value).and_then(|value| value.partial_cmp(&seconds(wanted)?)))
        }
        _ => {
            let number = value.parse::<f64>().ok();
            ordered(number.and_then(|value| value.partial_cmp(&wanted.parse::<f64>().ok()?)))
        }
    }
}

fn condition(
    name: &str,
    key: &str,
    wanted: &Value,
    allow: bool,
    variables: bool,
    known: &Known,
) -> bool {
    let (prefix, rest) = name.split_once(':').unwrap_or(("", name));
    let operator = rest.strip_suffix("IfExists").unwrap_or(rest);
    let if_exists = operator != rest;
    let negated = operator.contains("Not");
    let wanted = strings(wanted);
    let values = known.get(&key.to_lowercase()).cloned().unwrap_or_default();
    if operator == "Null" {
        return wanted
            .iter()
            .any(|wanted| (wanted == "true") == values.is_empty());
    }
    let null_set = !prefix.is_empty() && values.iter().all(String::is_empty);
    if values.is_empty() || null_set {
        return match prefix {
            _ if if_exists => true,
            "ForAllValues" => true,
            "ForAnyValue" => false,
            _ => negated,
        };
    }
    let results: Vec<bool> = values
        .iter()
        .map(|value| {
            let hit = wanted
                .iter()
                .any(|wanted| compares(operator, value, wanted, variables, known));
            hit != negated
        })
        .collect();
    match prefix {
        "ForAllValues" => results.iter().all(|it| *it),
        "ForAnyValue" => results.iter().any(|it| *it),
        _ if allow => results.iter().all(|it| *it),
        _ => results.iter().any(|it| *it),
    }
}

/// Who asks, as a policy of a resource sees it.
#[derive(Clone, Debug)]
pub struct Who {
    pub account: String,
    /// What `Principal` names as the caller itself.
    pub own: String,
    /// What `Principal` names as what the caller is a session of; empty: it is no session.
    pub parent: String,
    pub is_root: bool,
}

#[derive(Clone, Debug)]
pub struct Asked {
    pub who: Who,
    pub action: String,
    pub resource: String,
    pub owner: String,
    pub known: Known,
}

/// 0: not named, 1: the account, 2: the role or user behind a session, 3: the caller.
fn named(principal: &Value, who: &Who) -> u8 {
    if principal == "*" {
        return 3;
    }
    let texts = principal.get("AWS").map(strings).unwrap_or_default();
    let level = |text: &String| {
        let root = format!("arn:aws:iam::{}:root", who.account);
        if text == "*" || *text == who.own {
            3
        } else if *text == root || *text == who.account {
            if who.is_root { 3 } else { 1 }
        } else if *text == who.parent {
            2
        } else {
            0
        }
    };
    texts.iter().map(level).max().unwrap_or(0)
}

/// Whether a statement applies, and how directly it names the caller.
fn applies(statement: &Value, asked: &Asked, variables: bool) -> Option<u8> {
    let allow = statement["Effect"] == "Allow";
    let level = if let Some(principal) = statement.get("Principal") {
        named(principal, &asked.who)
    } else if let Some(principal) = statement.get("NotPrincipal") {
        if named(principal, &asked.who) == 3 {
            0
        } else {
            3
        }
    } else {
        3
    };
    if level == 0 {
        return None;
    }
    let action = |pattern: &String| {
        let lower = |text: &str| text.to_lowercase();
        like(&lower(pattern), &lower(&asked.action), false, &asked.known) == Some(true)
    };
    let actions = match statement.get("Action") {
        Some(actions) => strings(actions).iter().any(action),
        None => !strings(&statement["NotAction"]).iter().any(action),
    };
    let takes_away = allow == statement.get("NotResource").is_some();
    let resource = |pattern: &String| {
        let narrow = arn_like(pattern, &asked.resource, variables, &asked.known);
        if takes_away && narrow != Some(true) {
            return like(pattern, &asked.resource, variables, &asked.known);
        }
        narrow
    };
    let resources = if let Some(resources) = statement.get("Resource") {
        strings(resources)
            .iter()
            .any(|it| resource(it) == Some(true))
    } else if let Some(resources) = statement.get("NotResource") {
        let results: Vec<Option<bool>> = strings(resources).iter().map(resource).collect();
        let unknown = results.contains(&None);
        !(results.contains(&Some(true)) || (allow && unknown))
    } else {
        true
    };
    let conditions = statement.get("Condition").and_then(Value::as_object);
    let holds = conditions.into_iter().flatten().all(|(name, tests)| {
        tests
            .as_object()
            .unwrap()
            .iter()
            .all(|(key, wanted)| condition(name, key, wanted, allow, variables, &asked.known))
    });
    (actions && resources && holds).then_some(level)
}

/// The most direct level of a statement with that effect; 0: none applies.
fn level(policies: &[Value], effect: &str, asked: &Asked) -> u8 {
    let mut best = 0;
    for policy in policies {
        let variables = policy.get("Version") == Some(&Value::from("2012-10-17"));
        for statement in policy["Statement"].as_array().unwrap() {
            if statement["Effect"] == effect
                && let Some(level) = applies(statement, asked, variables)
            {
                best = best.max(level);
            }
        }
    }
    best
}

/// All the policies of a request.
#[derive(Clone, Debug, Default)]
pub struct All {
    pub identity: Vec<Value>,
    pub resource: Option<Value>,
    /// Whether the policy of the resource has to allow in any case.
    pub trust: bool,
    pub boundary: Option<Value>,
    pub session: Option<Vec<Value>>,
    pub control: Vec<Vec<Value>>,
}

/// `Some(true)`: allowed, `Some(false)`: not allowed, `None`: denied by a statement.
pub fn decide(asked: &Asked, all: &All) -> Option<bool> {
    let resource: Vec<Value> = all.resource.iter().cloned().collect();
    let boundary: Vec<Value> = all.boundary.iter().cloned().collect();
    let session: Vec<Value> = all.session.iter().flatten().cloned().collect();
    let control: Vec<Value> = all.control.iter().flatten().cloned().collect();
    for policies in [&resource, &boundary, &session, &control, &all.identity] {
        if level(policies, "Deny", asked) > 0 {
            return None;
        }
    }
    let allows = |policies: &[Value]| level(policies, "Allow", asked) > 0;
    let controlled = all.control.iter().all(|level| allows(level));
    let by_identity = allows(&all.identity);
    let limited = (all.boundary.is_none() || allows(&boundary))
        && (all.session.is_none() || allows(&session));
    let by_resource = level(&resource, "Allow", asked);
    let own = asked.who.account == asked.owner;
    // The columns: who the policy of the resource names, and what else is needed then.
    let granted = match (own, asked.who.is_root, by_resource) {
        (true, true, _) if !all.trust => true,
        (false, true, 0) => false,
        (false, true, _) => true,
        (false, false, 0) => false,
        (false, false, _) => by_identity && limited,
        (true, _, 3) => true,
        (true, _, 2) => limited,
        (true, _, 1) => by_identity && limited,
        (true, _, _) => by_identity && limited && !all.trust,
    };
    Some(granted && controlled)
}
