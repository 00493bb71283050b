//! Auto scaling and observability configurations, connections, connectors, and their tags.

use apron_testkit::{Life, World};
use serde_json::{Value, json};

const PREFIX: &str = "arn:aws:apprunner:us-east-1:111122223333";

fn scaling(life: &Life, input: Value) -> Result<Value, (String, String)> {
    let answer = life.call("CreateAutoScalingConfiguration", input)?;
    Ok(answer["AutoScalingConfiguration"].clone())
}

fn describe(life: &Life, arn: &str) -> Result<Value, (String, String)> {
    let answer = life.call(
        "DescribeAutoScalingConfiguration",
        json!({ "AutoScalingConfigurationArn": arn }),
    )?;
    Ok(answer["AutoScalingConfiguration"].clone())
}

fn delete(life: &Life, arn: &str) -> Result<Value, (String, String)> {
    life.call(
        "DeleteAutoScalingConfiguration",
        json!({ "AutoScalingConfigurationArn": arn }),
    )
}

fn arn(value: &Value) -> String {
    value["AutoScalingConfigurationArn"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn revisions_are_numbered_and_partial_arns_mean_the_latest() {
    let world = World::new();
    let life = Life::begin(&world);
    let first = scaling(
        &life,
        json!({ "AutoScalingConfigurationName": "web", "MinSize": 2, "MaxSize": 4 }),
    )
    .unwrap();
    assert_eq!(
        (&first["AutoScalingConfigurationRevision"], &first["Latest"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(
        (&first["MaxConcurrency"], &first["Status"]),
        (&json!(100), &json!("active"))
    );
    let second = scaling(
        &life,
        json!({ "AutoScalingConfigurationName": "web", "MaxConcurrency": 7 }),
    )
    .unwrap();
    assert_eq!(second["AutoScalingConfigurationRevision"], 2);
    let by_name = format!("{PREFIX}:autoscalingconfiguration/web");
    assert_eq!(describe(&life, &by_name).unwrap()["MaxConcurrency"], 7);
    assert_eq!(
        describe(&life, &format!("{by_name}/1")).unwrap()["Latest"],
        false
    );
    delete(&life, &arn(&second)).unwrap();
    let gone = describe(&life, &arn(&second)).unwrap();
    assert_eq!(
        (&gone["Status"], &gone["Latest"]),
        (&json!("inactive"), &json!(false))
    );
    assert_eq!(
        delete(&life, &arn(&second)).unwrap_err().0,
        "InvalidRequestException"
    );
    assert_eq!(
        describe(&life, &by_name).unwrap()["AutoScalingConfigurationRevision"],
        1
    );
    let third = scaling(&life, json!({ "AutoScalingConfigurationName": "web" })).unwrap();
    assert_eq!(third["AutoScalingConfigurationRevision"], 3);
    let missing = describe(&life, &format!("{PREFIX}:autoscalingconfiguration/none")).unwrap_err();
    assert_eq!(missing.0, "ResourceNotFoundException");
    life.kill();
}

#[test]
fn quotas_and_sizes_are_enforced() {
    let world = World::new();
    let life = Life::begin(&world);
    let bad = scaling(
        &life,
        json!({ "AutoScalingConfigurationName": "bad1", "MinSize": 5, "MaxSize": 2 }),
    );
    assert_eq!(bad.unwrap_err().0, "InvalidRequestException");
    for number in 0..10 {
        scaling(
            &life,
            json!({ "AutoScalingConfigurationName": format!("name{number}") }),
        )
        .unwrap();
    }
    let full = scaling(&life, json!({ "AutoScalingConfigurationName": "eleventh" })).unwrap_err();
    assert_eq!(full.0, "ServiceQuotaExceededException");
    for _ in 1..5 {
        scaling(&life, json!({ "AutoScalingConfigurationName": "name0" })).unwrap();
    }
    let full = scaling(&life, json!({ "AutoScalingConfigurationName": "name0" })).unwrap_err();
    assert_eq!(full.0, "ServiceQuotaExceededException");
    life.kill();
}

#[test]
fn a_service_runs_as_many_instances_as_its_configuration_says() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let two = arn(&scaling(
        &life,
        json!({ "AutoScalingConfigurationName": "two", "MinSize": 2 }),
    )
    .unwrap());
    let service = life.create("demo", "localhost:7400/app:v1");
    assert_eq!(life.settle(&service), "RUNNING");
    assert_eq!(life.observed_instances().len(), 1);
    let by_name = two.rsplitn(3, '/').nth(2).unwrap().to_owned();
    let update = json!({ "ServiceArn": service, "AutoScalingConfigurationArn": by_name });
    life.call("UpdateService", update).unwrap();
    assert_eq!(life.settle(&service), "RUNNING");
    assert_eq!(life.observed_instances().len(), 2);
    let shown = life.describe(&service)["AutoScalingConfigurationSummary"].clone();
    assert_eq!(
        shown["AutoScalingConfigurationArn"].as_str(),
        Some(two.as_str())
    );
    let users = life.call(
        "ListServicesForAutoScalingConfiguration",
        json!({ "AutoScalingConfigurationArn": two }),
    );
    assert_eq!(users.unwrap()["ServiceArnList"], json!([service]));
    assert_eq!(describe(&life, &two).unwrap()["HasAssociatedService"], true);
    assert_eq!(
        delete(&life, &two).unwrap_err().0,
        "InvalidRequestException"
    );
    let unknown =
        json!({ "ServiceArn": service, "AutoScalingConfigurationArn": format!("{by_name}x") });
    assert_eq!(
        life.call("UpdateService", unknown).unwrap_err().0,
        "InvalidRequestException"
    );
    life.kill();
}

#[test]
fn the_default_is_what_new_services_get_and_cannot_be_deleted() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let built_in = format!(
        "{PREFIX}:autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001"
    );
    assert_eq!(describe(&life, &built_in).unwrap()["IsDefault"], true);
    assert_eq!(
        delete(&life, &built_in).unwrap_err().0,
        "InvalidRequestException"
    );
    let mine = arn(&scaling(
        &life,
        json!({ "AutoScalingConfigurationName": "mine", "MinSize": 3 }),
    )
    .unwrap());
    life.call(
        "UpdateDefaultAutoScalingConfiguration",
        json!({ "AutoScalingConfigurationArn": mine }),
    )
    .unwrap();
    assert_eq!(describe(&life, &built_in).unwrap()["IsDefault"], false);
    let service = life.create("demo", "localhost:7400/app:v1");
    assert_eq!(life.settle(&service), "RUNNING");
    assert_eq!(life.observed_instances().len(), 3);
    delete(&life, &built_in).unwrap();
    let list = life
        .call("ListAutoScalingConfigurations", json!({}))
        .unwrap();
    assert_eq!(
        list["AutoScalingConfigurationSummaryList"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    life.kill();
}

#[test]
fn lists_have_pages_and_show_the_latest_unless_asked_for_all() {
    let world = World::new();
    let life = Life::begin(&world);
    for name in ["aaaa", "bbbb", "bbbb"] {
        scaling(&life, json!({ "AutoScalingConfigurationName": name })).unwrap();
    }
    let list = |input: Value| life.call("ListAutoScalingConfigurations", input).unwrap();
    let count = |answer: &Value| {
        answer["AutoScalingConfigurationSummaryList"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count(&list(json!({}))), 3);
    assert_eq!(count(&list(json!({ "LatestOnly": false }))), 4);
    assert_eq!(
        count(&list(
            json!({ "LatestOnly": false, "AutoScalingConfigurationName": "bbbb" })
        )),
        2
    );
    let first = list(json!({ "LatestOnly": false, "MaxResults": 3 }));
    let rest =
        list(json!({ "LatestOnly": false, "MaxResults": 3, "NextToken": first["NextToken"] }));
    assert_eq!((count(&first), count(&rest)), (3, 1));
    assert!(rest["NextToken"].is_null());
    life.kill();
}

#[test]
fn the_other_configurations_are_kept_across_restarts() {
    let world = World::new();
    let life = Life::begin(&world);
    let input = json!({ "ConnectionName": "code", "ProviderType": "GITHUB" });
    let made = life.call("CreateConnection", input.clone()).unwrap()["Connection"].clone();
    assert_eq!(made["Status"], "PENDING_HANDSHAKE");
    assert_eq!(
        life.call("CreateConnection", input).unwrap_err().0,
        "InvalidRequestException"
    );
    let input =
        json!({ "VpcConnectorName": "inner", "Subnets": ["subnet-1"], "SecurityGroups": ["sg-1"] });
    let connector = life.call("CreateVpcConnector", input).unwrap()["VpcConnector"].clone();
    assert_eq!(
        (&connector["Status"], &connector["VpcConnectorRevision"]),
        (&json!("ACTIVE"), &json!(1))
    );
    let tracing = json!({ "ObservabilityConfigurationName": "trace", "TraceConfiguration": { "Vendor": "AWSXRAY" } });
    life.call("CreateObservabilityConfiguration", tracing)
        .unwrap();
    let reserved = json!({ "ObservabilityConfigurationName": "DefaultConfiguration" });
    assert_eq!(
        life.call("CreateObservabilityConfiguration", reserved)
            .unwrap_err()
            .0,
        "InvalidRequestException"
    );
    life.kill();
    let life = Life::begin(&world);
    let count = |operation: &str, member: &str| {
        life.call(operation, json!({})).unwrap()[member]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count("ListConnections", "ConnectionSummaryList"), 1);
    assert_eq!(count("ListVpcConnectors", "VpcConnectors"), 1);
    assert_eq!(
        count(
            "ListObservabilityConfigurations",
            "ObservabilityConfigurationSummaryList"
        ),
        2
    );
    assert_eq!(
        count(
            "ListVpcIngressConnections",
            "VpcIngressConnectionSummaryList"
        ),
        0
    );
    let gone = life
        .call(
            "DeleteConnection",
            json!({ "ConnectionArn": made["ConnectionArn"] }),
        )
        .unwrap();
    assert_eq!(gone["Connection"]["Status"], "DELETED");
    assert_eq!(count("ListConnections", "ConnectionSummaryList"), 0);
    let by_arn = json!({ "VpcConnectorArn": connector["VpcConnectorArn"] });
    life.call("DeleteVpcConnector", by_arn.clone()).unwrap();
    assert_eq!(
        life.call("DescribeVpcConnector", by_arn).unwrap()["VpcConnector"]["Status"],
        "INACTIVE"
    );
    assert_eq!(count("ListVpcConnectors", "VpcConnectors"), 0);
    life.kill();
}

#[test]
fn every_kind_of_resource_has_tags() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let service = life.create("demo", "localhost:7400/app:v1");
    let scaling = arn(&scaling(&life, json!({ "AutoScalingConfigurationName": "web" })).unwrap());
    for resource in [service, scaling] {
        let tag =
            |key: &str| json!({ "ResourceArn": resource, "Tags": [{ "Key": key, "Value": "1" }] });
        life.call("TagResource", tag("team")).unwrap();
        life.call("TagResource", tag("cost")).unwrap();
        let refused = life.call("TagResource", tag("apron:unknown")).unwrap_err();
        assert!(refused.1.contains("apron:unknown"));
        life.call(
            "UntagResource",
            json!({ "ResourceArn": resource, "TagKeys": ["team"] }),
        )
        .unwrap();
        let tags = life
            .call("ListTagsForResource", json!({ "ResourceArn": resource }))
            .unwrap();
        assert_eq!(tags["Tags"], json!([{ "Key": "cost", "Value": "1" }]));
    }
    let missing = json!({ "ResourceArn": format!("{PREFIX}:service/none/{}", "0".repeat(32)) });
    assert_eq!(
        life.call("ListTagsForResource", missing).unwrap_err().0,
        "ResourceNotFoundException"
    );
    life.kill();
}

#[test]
fn a_tag_without_a_key_is_named_and_refused() {
    let world = World::new();
    let life = Life::begin(&world);
    let input = json!({ "AutoScalingConfigurationName": "tagged", "Tags": [{ "Key": "a" }, { "Value": "1" }] });
    let refused = scaling(&life, input).unwrap_err();
    assert_eq!(refused.0, "InvalidRequestException");
    assert!(refused.1.contains("'tags.2.member.key'"), "{}", refused.1);
    life.kill();
}

#[test]
fn a_token_is_refused_where_none_was_given_out() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let service = life.create("demo", "localhost:7400/app:v1");
    assert_eq!(life.settle(&service), "RUNNING");
    let refused = life.call("ListVpcIngressConnections", json!({ "NextToken": "x" }));
    assert_eq!(refused.unwrap_err().0, "InvalidRequestException");
    let domains = json!({ "ServiceArn": service, "NextToken": "x" });
    let refused = life.call("DescribeCustomDomains", domains);
    assert_eq!(refused.unwrap_err().0, "InvalidRequestException");
    life.kill();
}

#[test]
fn what_needs_an_engine_that_does_not_exist_is_refused() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let service = life.create("demo", "localhost:7400/app:v1");
    assert_eq!(life.settle(&service), "RUNNING");
    let domain = json!({ "ServiceArn": service, "DomainName": "www.example.com" });
    let refused = life
        .call("AssociateCustomDomain", domain.clone())
        .unwrap_err();
    assert!(refused.0 == "InvalidRequestException" && refused.1.contains("not available"));
    assert_eq!(
        life.call("DisassociateCustomDomain", domain).unwrap_err().0,
        "ResourceNotFoundException"
    );
    let domains = life
        .call("DescribeCustomDomains", json!({ "ServiceArn": service }))
        .unwrap();
    assert_eq!(domains["CustomDomains"], json!([]));
    let ingress = json!({ "ServiceArn": service, "VpcIngressConnectionName": "inner", "IngressVpcConfiguration": {} });
    let refused = life
        .call("CreateVpcIngressConnection", ingress)
        .unwrap_err();
    assert!(refused.0 == "InvalidRequestException" && refused.1.contains("private service"));
    life.kill();
}

/// Calls that tag something new or something that is there: with this tag each must be answered alike.
fn tagging(life: &Life, resource: &str, tag: &Value) -> Result<Value, (String, String)> {
    life.call(
        "TagResource",
        json!({ "ResourceArn": resource, "Tags": [tag] }),
    )
}

fn tags_of(life: &Life, resource: &str) -> Value {
    let answer = life.call("ListTagsForResource", json!({ "ResourceArn": resource }));
    answer.unwrap()["Tags"].clone()
}

#[test]
fn services_and_scaling_configurations_take_extension_tags_and_refuse_bad_ones() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let create_service = |name: &str, tag: &Value| {
        let input = json!({
            "ServiceName": name,
            "SourceConfiguration": { "ImageRepository": {
                "ImageIdentifier": "localhost:7400/app:v1", "ImageRepositoryType": "ECR" } },
            "Tags": [tag],
        });
        life.call("CreateService", input)
    };
    let create_scaling = |name: &str, tag: &Value| {
        scaling(
            &life,
            json!({ "AutoScalingConfigurationName": name, "Tags": [tag] }),
        )
    };
    let good = json!({ "Key": "apron:request-timeout", "Value": "30s" });
    let service = create_service("good", &good).unwrap()["Service"]["ServiceArn"].clone();
    let service = service.as_str().unwrap().to_owned();
    let scaling = arn(&create_scaling("good", &good).unwrap());
    assert_eq!(tags_of(&life, &service), json!([good]));
    assert_eq!(tags_of(&life, &scaling), json!([good]));
    for (key, value, form) in [
        ("apron:request-timeout", "30", "a time such as 30s"),
        ("apron:sticky", "yes", "cookie or none"),
        ("apron:colour", "blue", "apron:access-log"),
        ("apron:", "", "apron:access-log"),
    ] {
        let bad = json!({ "Key": key, "Value": value });
        for refused in [
            create_service("bad0", &bad),
            create_scaling("bad0", &bad),
            tagging(&life, &service, &bad),
            tagging(&life, &scaling, &bad),
        ] {
            let (code, message) = refused.unwrap_err();
            assert_eq!(code, "InvalidRequestException", "{key}");
            assert!(message.contains(key) && message.contains(form), "{message}");
        }
    }
    assert_eq!(tags_of(&life, &service), json!([good]));
    assert_eq!(tags_of(&life, &scaling), json!([good]));
    let listed = life.call("ListServices", json!({})).unwrap();
    assert_eq!(listed["ServiceSummaryList"].as_array().unwrap().len(), 1);
    life.kill();
}

#[test]
fn other_resources_refuse_every_extension_tag() {
    let world = World::new();
    let life = Life::begin(&world);
    let tag = json!({ "Key": "apron:sticky", "Value": "cookie" });
    let makers = [
        (
            "CreateConnection",
            json!({ "ConnectionName": "code", "ProviderType": "GITHUB" }),
            "/Connection/ConnectionArn",
            "a connection",
        ),
        (
            "CreateVpcConnector",
            json!({ "VpcConnectorName": "inner", "Subnets": ["subnet-1"] }),
            "/VpcConnector/VpcConnectorArn",
            "a VPC connector",
        ),
        (
            "CreateObservabilityConfiguration",
            json!({ "ObservabilityConfigurationName": "seen" }),
            "/ObservabilityConfiguration/ObservabilityConfigurationArn",
            "an observability configuration",
        ),
    ];
    for (operation, mut input, arn, what) in makers {
        let made = life.call(operation, input.clone()).unwrap();
        let arn = made.pointer(arn).unwrap().as_str().unwrap();
        input["Tags"] = json!([tag]);
        for refused in [life.call(operation, input), tagging(&life, arn, &tag)] {
            let (code, message) = refused.unwrap_err();
            assert_eq!(code, "InvalidRequestException");
            assert!(
                message.contains("apron:sticky") && message.contains(what),
                "{message}"
            );
        }
        assert_eq!(tags_of(&life, arn), json!([]));
    }
    life.kill();
}

#[test]
fn extension_tags_are_in_the_routes_when_the_call_is_answered() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let service = life.create("demo", "localhost:7400/app:v1");
    assert_eq!(life.settle(&service), "RUNNING");
    let timeout = || world.proxy.table().routes[0].request_timeout_ms;
    assert_eq!(timeout(), 120_000);
    let tag = json!({ "Key": "apron:request-timeout", "Value": "30s" });
    tagging(&life, &service, &tag).unwrap();
    assert_eq!(timeout(), 30_000);
    let keys = json!({ "ResourceArn": service, "TagKeys": ["apron:request-timeout"] });
    life.call("UntagResource", keys).unwrap();
    assert_eq!(timeout(), 120_000);
    life.kill();
}
