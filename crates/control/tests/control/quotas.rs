//! Every quota, as a table that is held against the published model: as many as may exist can be made, one more is
//! `ServiceQuotaExceededException` and changes nothing, and there is room again when one is gone.

use apron_testkit::{Life, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const QUOTA: &str = "ServiceQuotaExceededException";

/// Services that may exist here; an installation has its own number.
const SERVICES_MAX: u32 = 3;

struct Quota {
    create: &'static str,
    limit: u32,
    /// The input of the creation of this number.
    input: fn(u32) -> Value,
    /// Where the answer has the ARN.
    arn: &'static str,
    delete: &'static str,
    /// The member of the deletion that takes it.
    member: &'static str,
    list: &'static str,
}

const QUOTAS: [Quota; 7] = [
    Quota {
        create: "CreateService",
        limit: SERVICES_MAX,
        input: |number| {
            json!({ "ServiceName": format!("demo{number}"), "SourceConfiguration": {
                "ImageRepository": { "ImageIdentifier": "localhost:7400/app:v1",
                    "ImageRepositoryType": "ECR" } } })
        },
        arn: "/Service/ServiceArn",
        delete: "DeleteService",
        member: "ServiceArn",
        list: "ListServices",
    },
    // Service quotas L-1D8C5BDD: names of auto scaling configurations.
    Quota {
        create: "CreateAutoScalingConfiguration",
        limit: 10,
        input: |number| json!({ "AutoScalingConfigurationName": format!("name{number}") }),
        arn: "/AutoScalingConfiguration/AutoScalingConfigurationArn",
        delete: "DeleteAutoScalingConfiguration",
        member: "AutoScalingConfigurationArn",
        list: "ListAutoScalingConfigurations",
    },
    // Developer guide, auto scaling: active revisions of a name.
    Quota {
        create: "CreateAutoScalingConfiguration",
        limit: 5,
        input: |_| json!({ "AutoScalingConfigurationName": "name" }),
        arn: "/AutoScalingConfiguration/AutoScalingConfigurationArn",
        delete: "DeleteAutoScalingConfiguration",
        member: "AutoScalingConfigurationArn",
        list: "ListAutoScalingConfigurations",
    },
    // Service quotas L-A0B46A0C: names of observability configurations.
    Quota {
        create: "CreateObservabilityConfiguration",
        limit: 10,
        input: |number| json!({ "ObservabilityConfigurationName": format!("name{number}") }),
        arn: "/ObservabilityConfiguration/ObservabilityConfigurationArn",
        delete: "DeleteObservabilityConfiguration",
        member: "ObservabilityConfigurationArn",
        list: "ListObservabilityConfigurations",
    },
    // Developer guide, observability: active revisions of a name.
    Quota {
        create: "CreateObservabilityConfiguration",
        limit: 10,
        input: |_| json!({ "ObservabilityConfigurationName": "name" }),
        arn: "/ObservabilityConfiguration/ObservabilityConfigurationArn",
        delete: "DeleteObservabilityConfiguration",
        member: "ObservabilityConfigurationArn",
        list: "ListObservabilityConfigurations",
    },
    // Service quotas L-1BDBAAB6.
    Quota {
        create: "CreateConnection",
        limit: 10,
        input: |number| json!({ "ConnectionName": format!("name{number}"), "ProviderType": "GITHUB" }),
        arn: "/Connection/ConnectionArn",
        delete: "DeleteConnection",
        member: "ConnectionArn",
        list: "ListConnections",
    },
    // Service quotas L-F7ADEB8C.
    Quota {
        create: "CreateVpcConnector",
        limit: 10,
        input: |number| json!({ "VpcConnectorName": format!("name{number}"), "Subnets": ["subnet-1"] }),
        arn: "/VpcConnector/VpcConnectorArn",
        delete: "DeleteVpcConnector",
        member: "VpcConnectorArn",
        list: "ListVpcConnectors",
    },
];

/// Creations that list the error and have no quota, because nothing can be made: there are no private services.
const WITHOUT: [&str; 1] = ["CreateVpcIngressConnection"];

fn names(life: &Life, quota: &Quota) -> Value {
    let everything = match quota.list {
        "ListServices" | "ListConnections" | "ListVpcConnectors" => json!({}),
        _ => json!({ "LatestOnly": false }),
    };
    let mut list = life.call(quota.list, everything).unwrap();
    if let Some(services) = list["ServiceSummaryList"].as_array_mut() {
        // Their operations go on meanwhile.
        services
            .iter_mut()
            .for_each(|one| *one = one["ServiceArn"].take());
    }
    list
}

fn is_exact(quota: &Quota) {
    let mut world = World::new();
    world.settings.services_max = SERVICES_MAX;
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let made: Vec<String> = (0..quota.limit)
        .map(|number| {
            let answer = life.call(quota.create, (quota.input)(number)).unwrap();
            let arn = answer.pointer(quota.arn).unwrap();
            arn.as_str().unwrap().to_owned()
        })
        .collect();
    let full = names(&life, quota);
    let create = |number| life.call(quota.create, (quota.input)(number));
    let (code, message) = create(quota.limit).unwrap_err();
    assert_eq!(code, QUOTA, "{}: {message}", quota.create);
    assert!(message.contains(&quota.limit.to_string()), "{message}");
    assert_eq!(names(&life, quota), full);
    let services = quota.create == "CreateService";
    if services {
        life.settle(&made[0]);
    }
    let delete = json!({ quota.member: made[0] });
    life.call(quota.delete, delete).unwrap();
    if services {
        // It counts until it is gone.
        assert_eq!(life.settle(&made[0]), "DELETED");
    }
    create(quota.limit).unwrap();
    assert_eq!(create(quota.limit + 1).unwrap_err().0, QUOTA);
    life.kill();
}

#[test]
fn as_many_as_a_quota_says_can_be_made_and_not_one_more() {
    for quota in &QUOTAS {
        println!("{} {}", quota.create, quota.limit);
        is_exact(quota);
    }
}

#[test]
fn every_operation_with_a_quota_is_in_the_table() {
    let operations = &apron_aws::model::apprunner().operations;
    let limited = operations
        .iter()
        .filter(|(_, operation)| operation.errors.iter().any(|error| error == QUOTA));
    let wanted: BTreeSet<&str> = limited.map(|(name, _)| name.as_str()).collect();
    let listed = QUOTAS.iter().map(|quota| quota.create).chain(WITHOUT);
    assert_eq!(listed.collect::<BTreeSet<_>>(), wanted);
}
