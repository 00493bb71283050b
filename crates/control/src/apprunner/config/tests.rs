use super::*;
use serde_json::json;

fn settings() -> Settings {
    Settings {
        account: "111122223333".to_owned(),
        region: "us-east-1".to_owned(),
        domain: "apron.localhost".to_owned(),
        https_port: 7443,
        registry_host: "localhost:7400".to_owned(),
        instance_endpoint: None,
        issuer: "https://localhost:7400".to_owned(),
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

fn connections() -> Vec<Revision<Connection>> {
    let connection = |name: &str, id: char, available, host: Option<&str>| Revision {
        name: name.to_owned(),
        number: 1,
        id: id.to_string().repeat(32),
        created_at: apron_domain::Millis(0),
        deleted_at: None,
        tags: BTreeMap::new(),
        content: Connection {
            provider: "GITHUB".to_owned(),
            available,
            host: host.map(str::to_owned),
        },
    };
    vec![
        connection("code", 'a', true, None),
        connection("pending", 'b', false, None),
        connection("gitlab", 'c', true, Some("gitlab.example.com:8443")),
    ]
}

fn apply(configuration: Configuration, config: ServiceConfig) -> Result<ServiceConfig, ApiError> {
    let (settings, scalings, connections) = (settings(), scalings(), connections());
    let known = Known {
        settings: &settings,
        scalings: &scalings,
        connections: &connections,
        supported_at: None,
    };
    configuration.apply(config, &known)
}

fn create(input: serde_json::Value) -> Result<ServiceConfig, String> {
    let configuration: Configuration = serde_json::from_value(input).unwrap();
    let (settings, scalings, connections) = (settings(), scalings(), connections());
    let known = Known {
        settings: &settings,
        scalings: &scalings,
        connections: &connections,
        // In 2026, after the end of support of the older runtimes.
        supported_at: Some(Millis(1_780_000_000_000)),
    };
    configuration.create(&known).map_err(|error| error.message)
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
        apply(configuration, config.clone()).unwrap()
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
    assert!(
        create(json!({ "SourceConfiguration": {} }))
            .unwrap_err()
            .contains("Exactly one")
    );
}

fn arn(name: &str, id: char) -> String {
    let id = id.to_string().repeat(32);
    format!("arn:aws:apprunner:us-east-1:111122223333:connection/{name}/{id}")
}

fn code(url: &str, change: impl Fn(&mut serde_json::Value)) -> serde_json::Value {
    let mut source = json!({ "CodeRepository": {
        "RepositoryUrl": url,
        "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
        "CodeConfiguration": { "ConfigurationSource": "API", "CodeConfigurationValues": {
            "Runtime": "PYTHON_311", "BuildCommand": "make", "StartCommand": "./serve" } },
    } });
    change(&mut source);
    json!({ "SourceConfiguration": source })
}

#[test]
fn source_code_has_app_runners_defaults() {
    let config = create(code("https://github.com/a/b", |_| {})).unwrap();
    let source = config.code.unwrap();
    assert_eq!((source.directory.as_str(), config.image.port), ("/", 8080));
    assert_eq!(source.provider, "GITHUB");
    assert!(config.auto_deployments && config.image.identifier.is_empty());
    assert_eq!(config.image.start_command.as_deref(), Some("./serve"));
}

fn refused(input: serde_json::Value, part: &str) {
    let message = create(input).unwrap_err();
    assert!(message.contains(part), "{part}: {message}");
}

const GITHUB: &str = "https://github.com/a/b";

#[test]
fn mistakes_in_source_code_are_named() {
    let with = |member: &'static str, value: serde_json::Value| {
        code(GITHUB, |source| {
            source["CodeRepository"][member] = value.clone()
        })
    };
    refused(
        code("https://u:p@github.com/a/b", |_| {}),
        "use a connection",
    );
    refused(code("file:///etc", |_| {}), "RepositoryUrl");
    refused(
        with("SourceDirectory", json!("../x")),
        "SourceDirectory '../x'",
    );
    refused(
        with("CodeConfiguration", json!(null)),
        "CodeConfiguration must be",
    );
    let api = json!({ "ConfigurationSource": "API" });
    refused(
        with("CodeConfiguration", api),
        "CodeConfigurationValues must be",
    );
    let version = json!({ "Type": "BRANCH", "Value": "-x" });
    refused(
        with("SourceCodeVersion", version),
        "SourceCodeVersion.Value '-x'",
    );
    let image = json!({ "ImageIdentifier": "a", "ImageRepositoryType": "ECR" });
    let two = code(GITHUB, |source| source["ImageRepository"] = image.clone());
    refused(two, "Exactly one");
    let hidden = create(code("https://u:hidden@github.com/a", |_| {}));
    assert!(!hidden.unwrap_err().contains("hidden"));
}

#[test]
fn a_connection_is_there_available_and_for_the_host() {
    let by = |url: &str, name: &str, id: char| {
        let arn = json!({ "ConnectionArn": arn(name, id) });
        code(url, |source| {
            source["AuthenticationConfiguration"] = arn.clone()
        })
    };
    refused(by(GITHUB, "pending", 'b'), "PENDING_HANDSHAKE");
    refused(by(GITHUB, "none", 'd'), "isn't valid");
    refused(
        by(GITHUB, "gitlab", 'c'),
        "is for gitlab.example.com:8443, not for github.com",
    );
    refused(
        by("https://localhost:7400/git/demo", "code", 'a'),
        "isn't needed",
    );
    let config = create(by(GITHUB, "code", 'a')).unwrap();
    assert_eq!(config.code.unwrap().connection_arn, Some(arn("code", 'a')));
}

#[test]
fn an_update_of_source_code_keeps_what_it_does_not_name() {
    let base = create(code("https://github.com/a/b", |s| {
        s["CodeRepository"]["SourceDirectory"] = json!("app");
        s["AuthenticationConfiguration"] = json!({ "ConnectionArn": arn("code", 'a') });
    }));
    let base = base.unwrap();
    let update = |input: serde_json::Value| {
        apply(serde_json::from_value(input).unwrap(), base.clone()).unwrap()
    };
    let after = update(json!({ "SourceConfiguration": { "AutoDeploymentsEnabled": false } }));
    assert_eq!(
        (after.code.as_ref(), after.auto_deployments),
        (base.code.as_ref(), false)
    );
    let after = update(json!({ "SourceConfiguration": { "CodeRepository": {
        "RepositoryUrl": "https://github.com/a/b",
        "SourceCodeVersion": { "Type": "BRANCH", "Value": "next" } } } }));
    let (before, after) = (base.code.as_ref().unwrap(), after.code.unwrap());
    assert_eq!(
        (after.branch.as_str(), after.directory.as_str()),
        ("next", "/app")
    );
    assert_eq!(
        (&after.values, &after.connection_arn),
        (&before.values, &before.connection_arn)
    );
}

#[test]
fn a_runtime_past_its_end_is_refused_on_create_and_kept_on_update() {
    let old = |s: &mut serde_json::Value| {
        s["CodeRepository"]["CodeConfiguration"]["CodeConfigurationValues"]["Runtime"] =
            json!("NODEJS_16")
    };
    let input = code("https://github.com/a/b", old);
    let message = create(input.clone()).unwrap_err();
    assert!(
        message.contains("NODEJS_16 is past its end of support"),
        "{message}"
    );
    let base = create(code("https://github.com/a/b", |_| {})).unwrap();
    apply(serde_json::from_value(input).unwrap(), base).unwrap();
}
