//! What the tags with the prefix `apron:` do to a service's route and to its deployments.

use apron_link::proxy::{Route, UpstreamProtocol};
use apron_testkit::{Life, World};
use serde_json::{Value, json};

const V1: &str = "localhost:7400/app:v1";
const V2: &str = "localhost:7400/app:v2";

fn create(life: &Life, tags: &[(&str, &str)], more: Value) -> String {
    let tag = |(key, value): &(&str, &str)| json!({ "Key": key, "Value": value });
    let mut input = json!({
        "ServiceName": "demo",
        "SourceConfiguration": { "ImageRepository": {
            "ImageIdentifier": V1, "ImageRepositoryType": "ECR" } },
        "Tags": tags.iter().map(tag).collect::<Vec<_>>(),
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        input[key] = value.clone();
    }
    let answer = life.call("CreateService", input).unwrap();
    let arn = answer["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    assert_eq!(life.settle(&arn), "RUNNING");
    arn
}

fn route(world: &World) -> Route {
    world.proxy.table().routes[0].clone()
}

#[test]
fn tags_are_in_the_route() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    create(&life, &[], json!({}));
    let plain = route(&world);
    assert_eq!(plain.request_timeout_ms, 120_000);
    assert!(plain.access_log && !plain.sticky);
    assert_eq!(plain.protocol, UpstreamProtocol::Http1);
    life.kill();
}

#[test]
fn the_scaling_configurations_tags_count_and_the_services_win() {
    let world = World::new();
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let input = json!({
        "AutoScalingConfigurationName": "wide",
        "Tags": [
            { "Key": "apron:request-timeout", "Value": "1h" },
            { "Key": "apron:idle-timeout", "Value": "5s" },
            { "Key": "apron:upstream-protocol", "Value": "h2c" },
        ],
    });
    let scaling = life.call("CreateAutoScalingConfiguration", input).unwrap();
    let scaling = &scaling["AutoScalingConfiguration"]["AutoScalingConfigurationArn"];
    let tags = [
        ("apron:request-timeout", "none"),
        ("apron:sticky", "cookie"),
        ("apron:access-log", "off"),
    ];
    create(
        &life,
        &tags,
        json!({ "AutoScalingConfigurationArn": scaling }),
    );
    let route = route(&world);
    assert_eq!(
        (route.request_timeout_ms, route.idle_timeout_ms),
        (0, 5_000)
    );
    assert_eq!(route.protocol, UpstreamProtocol::H2c);
    assert!(route.sticky && !route.access_log);
    life.kill();
}

#[test]
fn a_service_may_drain_shorter_than_the_operators_limit() {
    let mut world = World::new();
    // Longer than the test waits for anything.
    world.settings.patience.drain_ms = 3_600_000;
    world.push("app", "v1", "one");
    world.push("app", "v2", "two");
    let life = Life::begin(&world);
    let arn = create(&life, &[("apron:drain-timeout", "1s")], json!({}));
    let old = life.observed_instances()[0].clone();
    world.proxy.set_outstanding(old.as_str(), 1);
    life.update(&arn, V2).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    assert!(!life.observed_instances().contains(&old));
    life.kill();
}
