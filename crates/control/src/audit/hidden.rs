//! Inputs and outputs as records have them: names in lower camel case, as CloudTrail writes them, and without what must not be
//! seen.

use apron_aws::Model;
use apron_aws::model::Shape;
use serde_json::{Map, Value};

/// What stands in place of a value that must not be seen, as App Runner has it in CloudTrail.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";
/// Members that the models do not call sensitive although they let somebody in.
const SECRET_MEMBERS: [&str; 8] = [
    "SessionToken",
    "authorizationToken",
    "Password",
    "password",
    "Token",
    "token",
    "WebIdentityToken",
    "SecretAccessKey",
];
/// Members that are left out: data, not management.
const DATA_MEMBERS: [&str; 2] = ["logEvents", "events"];
/// Characters of a record's input or output. Longer ones are left out and told.
const CHARS_MAX: usize = 32 << 10;

/// A value of a shape as a record has it.
pub(super) fn hidden(model: &Model, shape: &str, value: &Value) -> Value {
    let shown = walk(model, shape, value);
    let chars = shown.to_string().len();
    if chars > CHARS_MAX {
        return Value::from(format!("left out: {chars} characters"));
    }
    shown
}

fn walk(model: &Model, shape: &str, value: &Value) -> Value {
    match (model.shape(shape), value) {
        (Shape::Structure(structure), Value::Object(given)) => {
            let mut shown = Map::new();
            for (name, value) in given {
                let Some(member) = structure.members.get(name) else {
                    continue;
                };
                if DATA_MEMBERS.contains(&name.as_str()) || value.is_null() {
                    continue;
                }
                let value = match SECRET_MEMBERS.contains(&name.as_str()) && value.is_string() {
                    true => Value::from(HIDDEN),
                    false => walk(model, &member.shape, value),
                };
                shown.insert(lower_first(name), value);
            }
            Value::Object(shown)
        }
        (Shape::List { member, .. }, Value::Array(items)) => items
            .iter()
            .map(|item| walk(model, &member.shape, item))
            .collect(),
        (Shape::Map { value: of, .. }, Value::Object(entries)) => entries
            .iter()
            .map(|(key, value)| (key.clone(), walk(model, &of.shape, value)))
            .collect(),
        (Shape::String(text), _) if text.sensitive => Value::from(HIDDEN),
        // Bytes are what is kept secret or large, never what a record is looked up for.
        (Shape::Blob(_), _) => Value::from(HIDDEN),
        _ => value.clone(),
    }
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_aws::model;
    use serde_json::json;

    #[test]
    fn what_is_sensitive_is_not_shown() {
        let image =
            json!({"RuntimeEnvironmentVariables": {"KEY": "marker"}, "StartCommand": "marker"});
        let input = json!({
            "ServiceName": "app",
            "SourceConfiguration": {"ImageRepository": {"ImageIdentifier": "i", "ImageConfiguration": image}},
        });
        let shown = hidden(model::apprunner(), "CreateServiceRequest", &input);
        assert_eq!(shown["serviceName"], "app");
        let image = &shown["sourceConfiguration"]["imageRepository"]["imageConfiguration"];
        assert_eq!(image["runtimeEnvironmentVariables"]["KEY"], HIDDEN);
        assert!(!shown.to_string().contains("marker"));
        let key = json!({"AccessKey": {"AccessKeyId": "AKIA", "SecretAccessKey": "marker"}});
        let shown = hidden(model::iam(), "CreateAccessKeyResponse", &key);
        assert_eq!(shown["accessKey"]["accessKeyId"], "AKIA");
        assert!(!shown.to_string().contains("marker"));
        let session =
            json!({"Credentials": {"SessionToken": "marker", "SecretAccessKey": "marker"}});
        let shown = hidden(model::sts(), "AssumeRoleResponse", &session);
        assert!(!shown.to_string().contains("marker"));
    }
}
