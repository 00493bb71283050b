//! The service of a directory: made, or brought to what the directory says, and deployed.

use super::watch::{Begun, settled};
use super::{BRANCH, Project};
use crate::client;
use anyhow::{Context, Result, bail};
use apron_aws::model::apprunner;
use serde_json::{Value, json};

/// Settings of the configuration that a build sees; the rest only the running container does.
const OF_THE_BUILD: [&str; 2] = ["Runtime", "BuildCommand"];

/// Begins the deployment.
pub(super) fn begin(project: &Project<'_>) -> Result<Begun> {
    let Some(arn) = find(project)? else {
        return create(project);
    };
    let service = settled(project, &arn)?;
    let repository = &service["SourceConfiguration"]["CodeRepository"];
    if repository["RepositoryUrl"] != project.repository().as_str() {
        bail!(
            "the service {} is not deployed from a directory; choose another name with --name",
            project.name
        );
    }
    let status = service["Status"].as_str().unwrap_or_default();
    if status == "PAUSED" {
        bail!("the service {} is paused: resume it first", project.name);
    }
    tag(project, &arn)?;
    let present = &repository["CodeConfiguration"];
    let wanted = &project.choice.configuration();
    let same = same_configuration(present, wanted);
    if same && status == "RUNNING" {
        return start(project, &arn);
    }
    let begun = update(project, &arn)?;
    if status == "RUNNING" && !builds_anew(present, wanted) {
        // An update of what only the container needs keeps the image, and the new files want another.
        settled(project, &arn)?;
        return start(project, &arn);
    }
    Ok(begun)
}

fn find(project: &Project<'_>) -> Result<Option<String>> {
    let mut input = json!({});
    loop {
        let page = client::call(project.paths, apprunner(), "ListServices", &input)?;
        let mut services = page["ServiceSummaryList"].as_array().into_iter().flatten();
        let name = project.name.as_str();
        if let Some(found) = services.find(|service| service["ServiceName"] == name) {
            return Ok(found["ServiceArn"].as_str().map(str::to_owned));
        }
        match &page["NextToken"] {
            Value::String(token) => input = json!({ "NextToken": token }),
            _ => return Ok(None),
        }
    }
}

fn source(project: &Project<'_>) -> Value {
    json!({ "CodeRepository": {
        "RepositoryUrl": project.repository(),
        "SourceCodeVersion": { "Type": "BRANCH", "Value": BRANCH },
        "CodeConfiguration": project.choice.configuration(),
    } })
}

fn create(project: &Project<'_>) -> Result<Begun> {
    let mut input = json!({ "ServiceName": project.name, "SourceConfiguration": source(project) });
    if project.choice.dockerfile {
        input["Tags"] = json!([{ "Key": "apron:build", "Value": "dockerfile" }]);
    }
    let answer = client::call(project.paths, apprunner(), "CreateService", &input)?;
    Begun::of(&answer["Service"], &answer)
}

fn update(project: &Project<'_>, arn: &str) -> Result<Begun> {
    let input = json!({ "ServiceArn": arn, "SourceConfiguration": source(project) });
    let answer = client::call(project.paths, apprunner(), "UpdateService", &input)?;
    Begun::of(&answer["Service"], &answer)
}

fn start(project: &Project<'_>, arn: &str) -> Result<Begun> {
    let by_arn = json!({ "ServiceArn": arn });
    let answer = client::call(project.paths, apprunner(), "StartDeployment", &by_arn)?;
    let service = client::call(project.paths, apprunner(), "DescribeService", &by_arn)?;
    Begun::of(&service["Service"], &answer)
}

/// Sets or removes the tag that says that the Dockerfile is built, where it is not so.
fn tag(project: &Project<'_>, arn: &str) -> Result<()> {
    let by_arn = json!({ "ResourceArn": arn });
    let tags = client::call(project.paths, apprunner(), "ListTagsForResource", &by_arn)?;
    let mut tags = tags["Tags"].as_array().into_iter().flatten();
    let tagged = tags.any(|t| t["Key"] == "apron:build" && t["Value"] == "dockerfile");
    let (operation, mut input) = match (tagged, project.choice.dockerfile) {
        (false, true) => {
            let tag = json!([{ "Key": "apron:build", "Value": "dockerfile" }]);
            ("TagResource", json!({ "Tags": tag }))
        }
        (true, false) => ("UntagResource", json!({ "TagKeys": ["apron:build"] })),
        _ => return Ok(()),
    };
    input["ResourceArn"] = json!(arn);
    client::call(project.paths, apprunner(), operation, &input)
        .map(drop)
        .context("cannot say how the service is built")
}

/// Whether the service is configured as wanted; members that are not wanted are defaults.
fn same_configuration(present: &Value, wanted: &Value) -> bool {
    let values = |configuration: &Value, member: &str| {
        configuration["CodeConfigurationValues"][member].clone()
    };
    let members = ["Runtime", "BuildCommand", "StartCommand", "Port"];
    present["ConfigurationSource"] == wanted["ConfigurationSource"]
        && members.iter().all(|member| {
            let wanted = values(wanted, member);
            values(present, member) == wanted || (wanted.is_null() && *member == "Port")
        })
}

/// Whether an update to what is wanted builds by itself.
fn builds_anew(present: &Value, wanted: &Value) -> bool {
    present["ConfigurationSource"] != wanted["ConfigurationSource"]
        || OF_THE_BUILD.iter().any(|member| {
            present["CodeConfigurationValues"][member] != wanted["CodeConfigurationValues"][member]
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_compared_with_what_is() {
        let api = |command: &str, port: &str| {
            json!({ "ConfigurationSource": "API", "CodeConfigurationValues": {
                "Runtime": "PYTHON_311", "BuildCommand": command, "StartCommand": "s", "Port": port } })
        };
        let (present, file) = (
            api("make", "80"),
            json!({ "ConfigurationSource": "REPOSITORY" }),
        );
        assert!(same_configuration(&present, &present) && same_configuration(&file, &file));
        assert!(!same_configuration(&present, &api("make", "81")));
        assert!(!builds_anew(&present, &api("make", "81")));
        assert!(builds_anew(&present, &api("make all", "80")));
        assert!(builds_anew(&present, &file) && !same_configuration(&present, &file));
    }
}
