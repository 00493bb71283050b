use super::*;
use serde_json::json;

fn settings() -> Settings {
    Settings {
        account: "111122223333".to_owned(),
        region: "us-east-1".to_owned(),
        domain: "apron.localhost".to_owned(),
        registry_host: "localhost:7400".to_owned(),
        patience: Default::default(),
        stop_grace: std::time::Duration::from_secs(30),
        services_max: 30,
        instance_disk_bytes: 3 << 30,
        instance_pids_max: 1024,
        deleted_kept: std::time::Duration::from_secs(3600),
    }
}

fn scalings() -> Vec<Revision<AutoScaling>> {
    let content = AutoScaling {
        max_concurrency: 100,
        min_size: 1,
        max_size: 25,
        is_default: true,
    };
    vec![Revision {
        name: "DefaultConfiguration".to_owned(),
        number: 1,
        id: "00000000000000000000000000000001".to_owned(),
        created_at: apron_domain::Millis(0),
        deleted_at: None,
        tags: BTreeMap::new(),
        content,
    }]
}

fn create(input: serde_json::Value) -> Result<ServiceConfig, String> {
    let configuration: Configuration = serde_json::from_value(input).unwrap();
    configuration
        .create(&settings(), &scalings())
        .map_err(|error| error.message)
}

fn image(configuration: serde_json::Value) -> serde_json::Value {
    json!({ "SourceConfiguration": { "ImageRepository": {
        "ImageIdentifier": "localhost:7400/app:v1",
        "ImageRepositoryType": "ECR",
        "ImageConfiguration": configuration,
    } } })
}

#[test]
fn defaults_are_app_runners() {
    let config = create(image(json!({}))).unwrap();
    assert_eq!(
        config.size,
        InstanceSize {
            cpu_units: 1024,
            memory_mb: 2048
        }
    );
    assert_eq!((config.image.port, config.auto_deployments), (8080, true));
    assert_eq!(config.health, HealthCheck::default());
    assert!(
        config
            .scaling
            .arn
            .ends_with("/DefaultConfiguration/1/00000000000000000000000000000001")
    );
}

#[test]
fn sizes_are_given_either_way_and_checked_as_a_pair() {
    for (cpu, memory, expected) in [
        ("0.25 vCPU", "0.5 GB", Some((256, 512))),
        ("256", "1024", Some((256, 1024))),
        ("4 vCPU", "12 GB", Some((4096, 12288))),
        ("256", "4 GB", None),
        ("0.5 vCPU", "2048", None),
    ] {
        let mut input = image(json!({}));
        input["InstanceConfiguration"] = json!({ "Cpu": cpu, "Memory": memory });
        let found = create(input).map(|c| (c.size.cpu_units, c.size.memory_mb));
        match expected {
            Some(size) => assert_eq!(found.unwrap(), size),
            None => assert!(found.unwrap_err().contains("InstanceConfiguration")),
        }
    }
}

#[test]
fn bad_ports_variables_and_paths_are_refused_by_name() {
    for port in ["", "0", "65536", "-1", "+80", "08", "http"] {
        assert!(
            create(image(json!({ "Port": port })))
                .unwrap_err()
                .contains("Port")
        );
    }
    for name in ["PORT", "AWSAPPRUNNER_X", "A=B"] {
        let input = image(json!({ "RuntimeEnvironmentVariables": { name: "1" } }));
        assert!(create(input).unwrap_err().contains(name));
    }
    let mut input = image(json!({}));
    input["HealthCheckConfiguration"] = json!({ "Path": "health" });
    assert!(
        create(input)
            .unwrap_err()
            .contains("HealthCheckConfiguration.Path")
    );
}

#[test]
fn an_update_keeps_what_it_does_not_name() {
    let config = create(image(
        json!({ "Port": "9000", "RuntimeEnvironmentVariables": { "A": "1" } }),
    ))
    .unwrap();
    let update = |input| {
        let configuration: Configuration = serde_json::from_value(input).unwrap();
        configuration
            .apply(config.clone(), &settings(), &scalings())
            .unwrap()
    };
    let mut source = json!({ "SourceConfiguration": { "ImageRepository": {
        "ImageIdentifier": "localhost:7400/app:v2", "ImageRepositoryType": "ECR" } } });
    let after = update(source.clone());
    assert_eq!(
        (after.image.port, after.image.identifier.as_str()),
        (9000, "localhost:7400/app:v2")
    );
    assert_eq!(after.image.environment, config.image.environment);
    source["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"] =
        json!({ "Port": "9001" });
    let after = update(source);
    assert_eq!((after.image.port, after.image.environment.len()), (9001, 0));
    let after = update(json!({ "HealthCheckConfiguration": { "Interval": 7 } }));
    assert_eq!((after.health.interval, after.health.timeout), (7, 2));
}

#[test]
fn what_has_no_engine_is_refused() {
    for (member, value) in [
        (
            "NetworkConfiguration",
            json!({ "IpAddressType": "DUAL_STACK" }),
        ),
        (
            "NetworkConfiguration",
            json!({ "IngressConfiguration": { "IsPubliclyAccessible": false } }),
        ),
        (
            "ObservabilityConfiguration",
            json!({ "ObservabilityEnabled": true }),
        ),
    ] {
        let mut input = image(json!({}));
        input[member] = value;
        assert!(
            create(input).unwrap_err().contains("not available"),
            "{member}"
        );
    }
    let code = json!({ "SourceConfiguration": { "CodeRepository": {} } });
    assert!(
        create(code)
            .unwrap_err()
            .contains("CodeRepository is not available")
    );
    assert!(
        create(json!({ "SourceConfiguration": {} }))
            .unwrap_err()
            .contains("Exactly one")
    );
}
