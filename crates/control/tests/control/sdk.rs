//! A service's whole life with the AWS SDK for Rust, which signs, serialises and parses as in any program: the socket
//! alone is left out.

use apron_testkit::{ACCESS_KEY_ID, Life, SDK_ENDPOINT_URL, SECRET_ACCESS_KEY, World};
use aws_sdk_apprunner::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_apprunner::error::ProvideErrorMetadata;
use aws_sdk_apprunner::operation::create_service::CreateServiceOutput;
use aws_sdk_apprunner::types::{
    ImageConfiguration, ImageRepository, ImageRepositoryType, InstanceConfiguration, OperationType,
    Service, ServiceStatus, SourceConfiguration, Tag,
};
use aws_sdk_apprunner::{Client, Config};

fn client(life: &Life) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(SDK_ENDPOINT_URL)
        .credentials_provider(Credentials::new(
            ACCESS_KEY_ID,
            SECRET_ACCESS_KEY,
            None,
            None,
            "test",
        ))
        .http_client(life.sdk_connector())
        .build();
    Client::from_conf(config)
}

fn source(image: &str) -> SourceConfiguration {
    let configuration = ImageConfiguration::builder()
        .port("8080")
        .runtime_environment_variables("MODE", "sdk")
        .build();
    let repository = ImageRepository::builder()
        .image_identifier(format!("localhost:7400/app:{image}"))
        .image_repository_type(ImageRepositoryType::Ecr)
        .image_configuration(configuration)
        .build()
        .unwrap();
    SourceConfiguration::builder()
        .image_repository(repository)
        .auto_deployments_enabled(false)
        .build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

async fn described(client: &Client, arn: &str) -> Service {
    let answer = client.describe_service().service_arn(arn).send().await;
    answer.unwrap().service.unwrap()
}

/// Waits for the end of the operation under way.
fn settle(life: &Life, client: &Client, arn: &str, expected: ServiceStatus) -> Service {
    let ended = life.eventually("the operation to end", || {
        let service = life.wait_for(described(client, arn));
        (service.status != ServiceStatus::OperationInProgress).then_some(service)
    });
    assert_eq!(ended.status, expected);
    ended
}

async fn create(client: &Client) -> (CreateServiceOutput, String) {
    let scaling = client
        .create_auto_scaling_configuration()
        .auto_scaling_configuration_name("two-of-it")
        .min_size(2)
        .max_concurrency(20)
        .send()
        .await
        .unwrap();
    let scaling = scaling.auto_scaling_configuration.unwrap();
    assert_eq!(scaling.auto_scaling_configuration_revision, Some(1));
    let scaling = scaling.auto_scaling_configuration_arn.unwrap();
    let created = client
        .create_service()
        .service_name("sdk-life")
        .source_configuration(source("v1"))
        .auto_scaling_configuration_arn(&scaling)
        .tags(tag("team", "blue"))
        .tags(tag("apron:request-timeout", "30s"))
        .send()
        .await
        .unwrap();
    (created, scaling)
}

async fn update(client: &Client, arn: &str) {
    let size = InstanceConfiguration::builder()
        .cpu("0.5 vCPU")
        .memory("1 GB")
        .build();
    let answer = client
        .update_service()
        .service_arn(arn)
        .source_configuration(source("v2"))
        .instance_configuration(size)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.operation_id.len(), 32);
    // A second change meets the first.
    let refused = client.pause_service().service_arn(arn).send().await;
    let refused = refused.unwrap_err().into_service_error();
    assert!(refused.is_invalid_state_exception(), "{refused:?}");
}

async fn change_tags(client: &Client, arn: &str) {
    let added = client.tag_resource().resource_arn(arn);
    added.tags(tag("cost", "7")).send().await.unwrap();
    let removed = client.untag_resource().resource_arn(arn);
    removed.tag_keys("team").send().await.unwrap();
    let listed = client.list_tags_for_resource().resource_arn(arn);
    let tags = listed.send().await.unwrap().tags.unwrap();
    let keys: Vec<_> = tags.iter().filter_map(Tag::key).collect();
    assert_eq!(keys, ["apron:request-timeout", "cost"]);
    let refused = client.tag_resource().resource_arn(arn);
    let refused = refused.tags(tag("apron:sticky", "glue")).send().await;
    let refused = refused.unwrap_err().into_service_error();
    assert!(refused.is_invalid_request_exception(), "{refused:?}");
    assert!(refused.message().unwrap().contains("cookie or none"));
}

async fn operations(client: &Client, arn: &str) -> Vec<OperationType> {
    let list = client.list_operations().service_arn(arn);
    let pages = list.into_paginator().page_size(2).send();
    let pages = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(pages.len(), 3);
    let all = pages
        .into_iter()
        .flat_map(|page| page.operation_summary_list.unwrap_or_default());
    all.filter_map(|one| one.r#type).collect()
}

async fn delete(client: &Client, arn: &str) {
    let answer = client.delete_service().service_arn(arn).send().await;
    let service = answer.unwrap().service.unwrap();
    assert_eq!(service.status, ServiceStatus::OperationInProgress);
}

#[test]
fn the_rust_sdk_drives_a_service_through_its_life() {
    let world = World::new();
    world.push("app", "v1", "one");
    world.push("app", "v2", "two");
    let life = Life::begin(&world);
    let client = client(&life);
    let (created, scaling) = life.wait_for(create(&client));
    let service = created.service.unwrap();
    assert_eq!(created.operation_id.len(), 32);
    assert_eq!(service.status, ServiceStatus::OperationInProgress);
    let arn = service.service_arn;
    let running = settle(&life, &client, &arn, ServiceStatus::Running);
    let bound = running.auto_scaling_configuration_summary.unwrap();
    assert_eq!(
        bound.auto_scaling_configuration_arn,
        Some(scaling.to_owned())
    );
    let host = running.service_url.unwrap();
    assert_eq!(world.proxy.upstreams(&host).len(), 2);

    life.wait_for(update(&client, &arn));
    let updated = settle(&life, &client, &arn, ServiceStatus::Running);
    let size = updated.instance_configuration.unwrap();
    assert_eq!(
        (size.cpu.as_deref(), size.memory.as_deref()),
        (Some("512"), Some("1024"))
    );
    life.wait_for(async { client.pause_service().service_arn(&arn).send().await })
        .unwrap();
    settle(&life, &client, &arn, ServiceStatus::Paused);
    assert!(world.proxy.upstreams(&host).is_empty());
    life.wait_for(async { client.resume_service().service_arn(&arn).send().await })
        .unwrap();
    settle(&life, &client, &arn, ServiceStatus::Running);
    life.wait_for(async { client.start_deployment().service_arn(&arn).send().await })
        .unwrap();
    settle(&life, &client, &arn, ServiceStatus::Running);
    assert_eq!(
        life.wait_for(operations(&client, &arn)),
        [
            OperationType::StartDeployment,
            OperationType::ResumeService,
            OperationType::PauseService,
            OperationType::UpdateService,
            OperationType::CreateService,
        ]
    );
    life.wait_for(change_tags(&client, &arn));
    life.wait_for(delete(&client, &arn));
    let deleted = settle(&life, &client, &arn, ServiceStatus::Deleted);
    assert!(deleted.deleted_at.is_some());
    let left = life.wait_for(async { client.list_services().send().await });
    assert!(left.unwrap().service_summary_list.is_empty());
    life.kill();
}
