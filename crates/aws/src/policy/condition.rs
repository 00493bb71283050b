//! One test of a `Condition` element: an operator, a key, values.

use super::arn::ArnPattern;
use super::context::{Context, normal};
use super::document::Effect;
use super::operator::{Comparison, Operator, Order, Quantifier};
use super::pattern::{Matched, Pattern, Syntax};
use super::value::{Network, Number, date};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One test. All tests of a statement must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// How it compares.
    pub operator: Operator,
    /// The condition key as it is written.
    pub key: String,
    normal_key: String,
    sources: Vec<String>,
    values: Values,
}

/// The values of the policy, of which one has to match.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    Text(Vec<Pattern>),
    TextIgnoreCase(Vec<Pattern>),
    Like(Vec<Pattern>),
    Number(Order, Vec<Number>),
    Date(Order, Vec<i128>),
    Bool(Vec<Pattern>),
    Binary(Vec<Vec<u8>>),
    Address(Vec<Network>),
    Arn(Vec<ArnPattern>),
    Null(Vec<bool>),
}

impl Condition {
    pub(super) fn parse(
        operator: Operator,
        key: &str,
        sources: Vec<String>,
        variables: bool,
    ) -> Result<Condition, String> {
        let key_ok = key
            .split_once(':')
            .is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty())
            && !key.contains(['*', '?', '$']);
        if !key_ok {
            return Err(format!(
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.: {key}"
            ));
        }
        let values = Values::parse(operator.comparison, &sources, variables)?;
        Ok(Condition {
            operator,
            key: key.to_owned(),
            normal_key: normal(key),
            sources,
            values,
        })
    }

    /// The values as they are in the policy.
    pub fn values(&self) -> &[String] {
        &self.sources
    }

    /// The condition keys that its values name as variables, in lower case.
    pub fn variables(&self) -> Vec<&str> {
        match &self.values {
            Values::Text(patterns)
            | Values::TextIgnoreCase(patterns)
            | Values::Like(patterns)
            | Values::Bool(patterns) => patterns.iter().flat_map(Pattern::variables).collect(),
            Values::Arn(patterns) => patterns.iter().flat_map(ArnPattern::variables).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the test holds. Several values of a key whose operator has no prefix are read against the caller: all must
    /// satisfy an `Allow`, one is enough for a `Deny`.
    pub fn holds(&self, effect: Effect, context: &Context) -> bool {
        let found = context.get_normal(&self.normal_key);
        if let Values::Null(wanted) = &self.values {
            return wanted.contains(&found.is_none());
        }
        let quantifier = self.operator.quantifier;
        // For the prefixes, values that are all empty are a null data set.
        let found = found
            .filter(|values| quantifier.is_none() || values.iter().any(|value| !value.is_empty()));
        let Some(found) = found else {
            return self.operator.if_exists
                || match quantifier {
                    Some(Quantifier::ForAllValues) => true,
                    Some(Quantifier::ForAnyValue) => false,
                    None => self.operator.negated,
                };
        };
        let mut satisfied = found
            .iter()
            .map(|value| self.values.matches(value, context) != self.operator.negated);
        match (quantifier, effect) {
            (Some(Quantifier::ForAllValues), _) | (None, Effect::Allow) => satisfied.all(|it| it),
            (Some(Quantifier::ForAnyValue), _) | (None, Effect::Deny) => satisfied.any(|it| it),
        }
    }
}

impl Values {
    fn parse(
        comparison: Comparison,
        sources: &[String],
        variables: bool,
    ) -> Result<Values, String> {
        let patterns = |wildcards: bool| {
            let syntax = Syntax {
                wildcards,
                variables,
            };
            each(sources, |text| Pattern::parse(text, syntax))
        };
        let known = |what: &str, text: &str| format!("The value {text} is not {what}.");
        Ok(match comparison {
            Comparison::Text => Values::Text(patterns(false)?),
            Comparison::TextIgnoreCase => Values::TextIgnoreCase(patterns(false)?),
            Comparison::Like => Values::Like(patterns(true)?),
            Comparison::Number(order) => {
                let number =
                    |text: &str| Number::parse(text).ok_or_else(|| known("a number", text));
                Values::Number(order, each(sources, number)?)
            }
            Comparison::Date(order) => {
                let date = |text: &str| date(text).ok_or_else(|| known("a date", text));
                Values::Date(order, each(sources, date)?)
            }
            Comparison::Bool => {
                let patterns = patterns(false)?;
                let wrong = patterns.iter().find(|pattern| {
                    pattern.variables().next().is_none() && boolean(pattern.source()).is_none()
                });
                if let Some(pattern) = wrong {
                    return Err(known("true or false", pattern.source()));
                }
                Values::Bool(patterns)
            }
            Comparison::Binary => {
                let bytes = |text: &str| {
                    let decoded = STANDARD.decode(text);
                    decoded.map_err(|_| known("binary data in Base64", text))
                };
                Values::Binary(each(sources, bytes)?)
            }
            Comparison::Address => {
                let network = |text: &str| {
                    let network = Network::parse(text);
                    network.ok_or_else(|| known("an IP address or CIDR range", text))
                };
                Values::Address(each(sources, network)?)
            }
            Comparison::Arn => {
                let arn = |text: &str| ArnPattern::parse_condition(text, variables);
                Values::Arn(each(sources, arn)?)
            }
            Comparison::Null => {
                let wanted = |text: &str| boolean(text).ok_or_else(|| known("true or false", text));
                Values::Null(each(sources, wanted)?)
            }
        })
    }

    /// Whether one of the policy's values matches one of the request's. A variable without a value matches nothing.
    fn matches(&self, value: &str, context: &Context) -> bool {
        match self {
            Values::Text(patterns) | Values::Like(patterns) => patterns
                .iter()
                .any(|pattern| pattern.matches(value, context) == Matched::Yes),
            Values::TextIgnoreCase(patterns) => {
                let value = value.to_lowercase();
                patterns
                    .iter()
                    .filter_map(|pattern| pattern.text(context))
                    .any(|text| text.to_lowercase() == value)
            }
            Values::Number(order, numbers) => Number::parse(value)
                .is_some_and(|value| numbers.iter().any(|number| order.holds(value.cmp(number)))),
            Values::Date(order, dates) => date(value)
                .is_some_and(|value| dates.iter().any(|date| order.holds(value.cmp(date)))),
            Values::Bool(patterns) => boolean(value).is_some_and(|value| {
                patterns
                    .iter()
                    .filter_map(|pattern| pattern.text(context))
                    .any(|text| boolean(&text) == Some(value))
            }),
            Values::Binary(wanted) => STANDARD
                .decode(value)
                .is_ok_and(|value| wanted.contains(&value)),
            Values::Address(networks) => networks.iter().any(|network| network.contains(value)),
            Values::Arn(patterns) => patterns
                .iter()
                .any(|pattern| pattern.matches(value, context) == Matched::Yes),
            Values::Null(_) => false,
        }
    }
}

fn each<T>(
    sources: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    sources.iter().map(|text| parse(text)).collect()
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}
