//! Resource names in policies, compared part by part.
//!
//! The first five parts of an ARN have no colons, so a `*` in them stays within its part; the sixth is everything after the
//! fifth colon, colons included, and so a `*` in it spans them. A pattern of fewer parts must end in `*`, which then stands for
//! all that follows. What takes access away is compared more widely, see [`ArnPattern::matches_widely`]
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>).

use super::context::Context;
use super::pattern::{Matched, Pattern, Syntax};

/// Parts of an ARN, counted with the word `arn`.
const PARTS: usize = 6;

/// Digits of an account.
const ACCOUNT_DIGITS: usize = 12;

/// An ARN with wildcards and variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArnPattern {
    /// The pattern as a text, in which colons are characters like others.
    whole: Pattern,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// `*`: anything, also what is no ARN.
    Any,
    /// One variable, whose value is the whole ARN.
    Variable,
    /// The parts; the last one stands for all that follows when there are fewer than six.
    Parts(Vec<Pattern>),
}

impl ArnPattern {
    /// A value of a condition with an ARN operator: wildcards and variables anywhere.
    pub(super) fn parse_condition(source: &str, variables: bool) -> Result<ArnPattern, String> {
        ArnPattern::parse(source, variables, |source| {
            format!("The value {source} is not an ARN of six parts or \"*\".")
        })
    }

    /// An entry of `Resource` or `NotResource`: partition and service are no variables.
    pub(super) fn parse_resource(source: &str, variables: bool) -> Result<ArnPattern, String> {
        let pattern = ArnPattern::parse(source, variables, not_arn)?;
        match &pattern.form {
            Form::Any => {}
            Form::Variable => return Err(not_arn(source)),
            Form::Parts(parts) => check_resource(source, parts)?,
        }
        Ok(pattern)
    }

    fn parse(
        source: &str,
        variables: bool,
        not_arn: fn(&str) -> String,
    ) -> Result<ArnPattern, String> {
        let syntax = Syntax {
            wildcards: true,
            variables,
        };
        let whole = Pattern::parse(source, syntax)?;
        let form = if source == "*" {
            Form::Any
        } else if whole.is_one_variable() {
            Form::Variable
        } else {
            let parts = split(source, variables);
            let open = parts.len() > 1 && whole.ends_open();
            if parts.first() != Some(&"arn") || (parts.len() < PARTS && !open) {
                return Err(not_arn(source));
            }
            let parts = parts.into_iter().map(|part| Pattern::parse(part, syntax));
            Form::Parts(parts.collect::<Result<_, _>>()?)
        };
        Ok(ArnPattern { whole, form })
    }

    /// The text as it is in the policy.
    pub fn source(&self) -> &str {
        self.whole.source()
    }

    /// The condition keys of its variables, in lower case.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.whole.variables()
    }

    /// Compares an ARN. `*`, the resource of actions that have none, is matched by `*` alone.
    pub fn matches(&self, arn: &str, context: &Context) -> Matched {
        let parts = match &self.form {
            Form::Any => return Matched::Yes,
            Form::Variable => return self.whole.matches(arn, context),
            Form::Parts(parts) => parts,
        };
        if arn.splitn(PARTS, ':').count() < PARTS {
            return Matched::No;
        }
        let mut result = Matched::Yes;
        for (pattern, part) in parts.iter().zip(arn.splitn(parts.len(), ':')) {
            match pattern.matches(part, context) {
                Matched::Yes => {}
                // Certain, whatever the variables of other parts are.
                Matched::No => return Matched::No,
                Matched::Unresolved => result = Matched::Unresolved,
            }
        }
        result
    }

    /// Compares an ARN so that a `*` may span any colon. The documentation lets a `*` at the end of a part do so; for what takes
    /// access away this wider reading counts, too.
    pub fn matches_widely(&self, arn: &str, context: &Context) -> Matched {
        match self.matches(arn, context) {
            Matched::Yes => Matched::Yes,
            Matched::No | Matched::Unresolved => self.whole.matches(arn, context),
        }
    }
}

fn not_arn(source: &str) -> String {
    format!("Resource {source} must be in ARN format or \"*\".")
}

/// Splits at the first five colons that are not inside `${…}`.
fn split(source: &str, variables: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while parts.len() + 1 < PARTS && at < source.len() {
        let rest = &source[at..];
        if variables && rest.starts_with("${") {
            at += rest.find('}').map_or(rest.len(), |end| end + 1);
        } else if rest.starts_with(':') {
            parts.push(&source[from..at]);
            at += 1;
            from = at;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    parts.push(&source[from..]);
    parts
}

/// What IAM says of the parts of a `Resource`. Region and account are held to their alphabets, because a text such as
/// `arn:aws:logs:*:log-group:x`, with parts left out, would match nothing here and a `Deny` with it would be without effect.
fn check_resource(source: &str, parts: &[Pattern]) -> Result<(), String> {
    let text = |at: usize| parts.get(at).map_or("", Pattern::source);
    let of = |text: &str, more: &str| {
        text.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
    };
    let (partition, service, region, account) = (text(1), text(2), text(3), text(4));
    let variable = |at: usize| {
        let part: Option<&Pattern> = parts.get(at);
        part.is_some_and(|part| part.variables().next().is_some())
    };
    let wild = |text: &str| text.contains(['*', '?']);
    if !of(partition, "-*?") || !(partition.starts_with("aws") || wild(partition)) {
        return Err(format!(
            "Partition \"{partition}\" is not valid for resource \"{source}\"."
        ));
    }
    if service.is_empty() || !of(service, "-") {
        return Err(format!(
            "Resource vendor must be fully qualified and cannot contain regexes: {source}"
        ));
    }
    if !variable(3) && !of(region, "-*?") {
        return Err(format!(
            "Region \"{region}\" is not valid for resource \"{source}\"."
        ));
    }
    let digits = account.bytes().all(|b| b.is_ascii_digit());
    let account_ok = account.is_empty()
        || variable(4)
        || matches!(account, "aws" | "cloudfront")
        || (digits && account.len() == ACCOUNT_DIGITS)
        || (wild(account)
            && account
                .chars()
                .all(|c| c.is_ascii_digit() || wild(&c.to_string())));
    if !account_ok {
        return Err(format!(
            "Account \"{account}\" is not valid for resource \"{source}\"."
        ));
    }
    if parts.len() == PARTS && text(PARTS - 1).is_empty() {
        return Err(not_arn(source));
    }
    Ok(())
}
