//! Conditions on messages that are JSON: `{ ($.status >= 500 || $.level = "err*") && $.user.id EXISTS }`.

use super::InvalidPattern;
use super::scan::Scanner;
use serde_json::Value;

/// Parentheses inside each other.
const DEPTH_MAX: usize = 16;

/// A condition on one JSON message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Is(Vec<Step>, Test),
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Member(String),
    Element(usize),
}

/// What is asked of a selected value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Text { glob: String, equal: bool },
    Number(Order, f64),
    Null,
    True,
    False,
    Exists(bool),
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

/// The signs, longer ones first.
const ORDERS: [(&str, Order); 6] = [
    ("!=", Order::NotEqual),
    (">=", Order::MoreOrEqual),
    ("<=", Order::LessOrEqual),
    ("=", Order::Equal),
    (">", Order::More),
    ("<", Order::Less),
];

/// Reads `{ condition }`.
pub(super) fn parse(text: &str) -> Result<Condition, InvalidPattern> {
    let mut scanner = Scanner::new(text);
    scanner.expect("{")?;
    let condition = any(&mut scanner, 0)?;
    scanner.expect("}")?;
    match scanner.at_end() {
        true => Ok(condition),
        false => Err(InvalidPattern::new(
            "there is something after the closing brace",
        )),
    }
}

fn any(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, InvalidPattern> {
    if depth > DEPTH_MAX {
        return Err(InvalidPattern::new(format!(
            "parentheses are nested more than {DEPTH_MAX} deep"
        )));
    }
    let mut parts = vec![all(scanner, depth)?];
    while scanner.take("||") {
        parts.push(all(scanner, depth)?);
    }
    Ok(Condition::Any(parts))
}

fn all(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, InvalidPattern> {
    let mut parts = vec![one(scanner, depth)?];
    while scanner.take("&&") {
        parts.push(one(scanner, depth)?);
    }
    Ok(Condition::All(parts))
}

fn one(scanner: &mut Scanner<'_>, depth: usize) -> Result<Condition, InvalidPattern> {
    if scanner.take("(") {
        let inner = any(scanner, depth + 1)?;
        scanner.expect(")")?;
        return Ok(inner);
    }
    let path = selector(scanner)?;
    Ok(Condition::Is(path, test(scanner)?))
}

fn selector(scanner: &mut Scanner<'_>) -> Result<Vec<Step>, InvalidPattern> {
    scanner.expect("$")?;
    let mut path = Vec::new();
    loop {
        if scanner.take(".") {
            let name = scanner.word("a member", |c| c.is_alphanumeric() || c == '_' || c == '-')?;
            path.push(Step::Member(name.to_owned()));
        } else if scanner.take("[") {
            let index = scanner.word("an index", |c| c.is_ascii_digit())?;
            let index = index
                .parse()
                .map_err(|_| InvalidPattern::new(format!("{index} is no index")))?;
            path.push(Step::Element(index));
            scanner.expect("]")?;
        } else if path.is_empty() {
            return Err(InvalidPattern::new(
                "a selector must name a member, as in $.level",
            ));
        } else {
            return Ok(path);
        }
    }
}

fn test(scanner: &mut Scanner<'_>) -> Result<Test, InvalidPattern> {
    if let Some(order) = ORDERS
        .iter()
        .find(|(sign, _)| scanner.take(sign))
        .map(|(_, order)| *order)
    {
        return comparison(scanner, order);
    }
    match keyword(scanner)?.as_str() {
        "EXISTS" => Ok(Test::Exists(true)),
        "NOT" if keyword(scanner)? == "EXISTS" => Ok(Test::Exists(false)),
        "IS" => match keyword(scanner)?.as_str() {
            "NULL" => Ok(Test::Null),
            "TRUE" => Ok(Test::True),
            "FALSE" => Ok(Test::False),
            other => Err(InvalidPattern::new(format!(
                "IS {other} is not a test, use IS NULL, IS TRUE or IS FALSE"
            ))),
        },
        other => Err(InvalidPattern::new(format!("{other} is not a comparison"))),
    }
}

/// Keywords are read in any case.
fn keyword(scanner: &mut Scanner<'_>) -> Result<String, InvalidPattern> {
    scanner
        .word("a comparison", |c| c.is_ascii_alphabetic())
        .map(str::to_ascii_uppercase)
}

fn comparison(scanner: &mut Scanner<'_>, order: Order) -> Result<Test, InvalidPattern> {
    let quoted = scanner.peek() == Some('"');
    let value = match quoted {
        true => scanner.quoted()?,
        false => {
            let part = |c: char| c.is_alphanumeric() || "_-+.*/:@".contains(c);
            scanner
                .word("a value (regular expressions are not supported)", part)?
                .to_owned()
        }
    };
    match (
        value
            .parse::<f64>()
            .ok()
            .filter(|number| !quoted && number.is_finite()),
        order,
    ) {
        (Some(number), _) => Ok(Test::Number(order, number)),
        (None, Order::Equal) => Ok(Test::Text {
            glob: value,
            equal: true,
        }),
        (None, Order::NotEqual) => Ok(Test::Text {
            glob: value,
            equal: false,
        }),
        (None, _) => Err(InvalidPattern::new(format!(
            "'{value}' is no number, texts can only be compared by = and !="
        ))),
    }
}

impl Condition {
    /// Whether the condition holds for a message.
    pub(super) fn holds(&self, message: &Value) -> bool {
        match self {
            Condition::All(parts) => parts.iter().all(|part| part.holds(message)),
            Condition::Any(parts) => parts.iter().any(|part| part.holds(message)),
            // Only objects are JSON events; in anything else nothing is selected and nothing holds.
            Condition::Is(_, _) if !message.is_object() => false,
            Condition::Is(path, test) => {
                let selected = path.iter().try_fold(message, |value, step| match step {
                    Step::Member(name) => value.get(name),
                    Step::Element(index) => value.get(index),
                });
                test.holds(selected)
            }
        }
    }
}

impl Test {
    fn holds(&self, selected: Option<&Value>) -> bool {
        let Some(value) = selected else {
            return *self == Test::Exists(false);
        };
        match self {
            Test::Exists(wanted) => *wanted,
            Test::Null => value.is_null(),
            Test::True => *value == Value::Bool(true),
            Test::False => *value == Value::Bool(false),
            Test::Number(order, number) => value
                .as_f64()
                .is_some_and(|given| order.holds(given, *number)),
            Test::Text { glob, equal } => match value {
                Value::String(text) => matches_glob(text, glob) == *equal,
                Value::Number(number) => matches_glob(&number.to_string(), glob) == *equal,
                _ => false,
            },
        }
    }
}

impl Order {
    fn holds(self, given: f64, number: f64) -> bool {
        match self {
            Order::Equal => given == number,
            Order::NotEqual => given != number,
            Order::Less => given < number,
            Order::LessOrEqual => given <= number,
            Order::More => given > number,
            Order::MoreOrEqual => given >= number,
        }
    }
}

/// Whether a text matches a pattern in which `*` stands for any characters. Linear in the text for each star.
fn matches_glob(text: &str, glob: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches_glob;

    #[test]
    fn stars() {
        let cases = [
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("abc", "a*", true),
            ("abc", "*c", true),
            ("abc", "*", true),
            ("", "*", true),
            ("abc", "a*b*c", true),
            ("aba", "ab*ba", false),
            ("abcbc", "a*bc", true),
            ("abc", "a*x*c", false),
            ("abc", "**", true),
        ];
        for (text, glob, expect) in cases {
            assert_eq!(matches_glob(text, glob), expect, "{text} {glob}");
        }
    }
}
