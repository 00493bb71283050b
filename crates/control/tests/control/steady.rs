//! Running services are kept running.

use apron_compute::simulator::Behaviour;
use apron_testkit::{Life, World};
use serde_json::json;

const V1: &str = "localhost:7400/app:v1";

fn running() -> (World, Life, String, String) {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let arn = life.create("demo", V1);
    assert_eq!(life.settle(&arn), "RUNNING");
    let host = life.describe(&arn)["ServiceUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    (world, life, arn, host)
}

#[test]
fn an_instance_that_ends_is_replaced_and_the_events_say_why() {
    let (world, life, arn, host) = running();
    let first = life.observed_instances()[0].clone();
    world.instances.kill(&first, 137);
    life.eventually("another instance to be routed", || {
        let routed = world.proxy.upstreams(&host);
        (routed.len() == 1 && routed[0] != first.as_str()).then_some(())
    });
    life.eventually("the first to be removed", || {
        (!life.observed_instances().contains(&first)).then_some(())
    });
    let id = life.describe(&arn)["ServiceId"]
        .as_str()
        .unwrap()
        .to_owned();
    let events = world
        .messages(&format!("/aws/apprunner/demo/{id}/service"), "events")
        .join("\n");
    assert!(
        events.contains("is replaced. Reason: the application ended with exit code 137"),
        "{events}"
    );
    life.kill();
}

#[test]
fn instances_lost_while_the_control_plane_was_away_are_replaced() {
    let (world, life, _, host) = running();
    let first = life.observed_instances()[0].clone();
    life.kill();
    world.instances.kill(&first, 1);
    let life = Life::begin(&world);
    life.eventually("another instance to be routed", || {
        let routed = world.proxy.upstreams(&host);
        (routed.len() == 1 && routed[0] != first.as_str()).then_some(())
    });
    life.kill();
}

#[test]
fn instances_go_on_while_the_control_plane_is_away() {
    let (world, life, arn, host) = running();
    let before = world.proxy.upstreams(&host);
    let created = world.instances.created();
    life.kill();
    let life = Life::begin(&world);
    life.eventually("the routes to be published again", || {
        (world.proxy.upstreams(&host) == before).then_some(())
    });
    assert_eq!(life.describe(&arn)["Status"], "RUNNING");
    assert_eq!(world.instances.created(), created);
    life.kill();
}

#[test]
fn an_unhealthy_instance_answers_what_it_has_before_it_is_ended() {
    let world = World::new();
    let image = world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let input = json!({
        "ServiceName": "demo",
        "SourceConfiguration": { "ImageRepository": {
            "ImageIdentifier": V1, "ImageRepositoryType": "ECR" } },
        "HealthCheckConfiguration": { "Interval": 1, "UnhealthyThreshold": 1 },
    });
    let arn = life.call("CreateService", input).unwrap()["Service"]["ServiceArn"].clone();
    let arn = arn.as_str().unwrap();
    assert_eq!(life.settle(arn), "RUNNING");
    let host = life.describe(arn)["ServiceUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let first = life.observed_instances()[0].clone();
    world.proxy.set_outstanding(first.as_str(), 1);
    world
        .instances
        .script(&image, Behaviour::Unhealthy("HTTP 500".to_owned()));
    life.eventually("the instance to leave the routes", || {
        world.proxy.upstreams(&host).is_empty().then_some(())
    });
    world.instances.script(&image, Behaviour::Healthy);
    life.eventually("another instance to be routed", || {
        (world.proxy.upstreams(&host).len() == 1).then_some(())
    });
    assert!(
        life.observed_instances().contains(&first),
        "it was ended with a request under way"
    );
    world.proxy.set_outstanding(first.as_str(), 0);
    life.eventually("the first to be removed", || {
        (!life.observed_instances().contains(&first)).then_some(())
    });
    life.kill();
}
