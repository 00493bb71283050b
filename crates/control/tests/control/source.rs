//! Services from source code: what is built when, what of it runs, and what callers see.

use apron_domain::service::ServiceStatus;
use apron_testkit::{Life, World};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The URL of one of the platform's own repositories.
fn url(repository: &str) -> String {
    format!("https://localhost:7400/git/{repository}.git")
}

/// A repository of the platform with a first commit.
pub fn repository(world: &World, name: &str) {
    world.commit(name, "app/main.py", "one");
}

/// The directories of commits that are being built.
pub fn work(world: &World) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(world.source_settings().work);
    let entries = listing.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn input(name: &str, change: &Value) -> Value {
    let mut repository = json!({
        "RepositoryUrl": url(name),
        "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
        "CodeConfiguration": { "ConfigurationSource": "REPOSITORY" },
    });
    for (member, value) in change.as_object().unwrap() {
        repository[member] = value.clone();
    }
    json!({ "CodeRepository": repository, "AutoDeploymentsEnabled": false })
}

/// Creates a service from the platform's own repository of that name; answers its ARN.
pub fn create(life: &Life, name: &str, change: &Value) -> String {
    create_with(life, name, change, &json!({}))
}

/// The same with further members of the input.
pub fn create_with(life: &Life, name: &str, change: &Value, more: &Value) -> String {
    let mut input = json!({ "ServiceName": name, "SourceConfiguration": input(name, change) });
    for (member, value) in more.as_object().unwrap() {
        input[member] = value.clone();
    }
    let answer = life.call("CreateService", input).unwrap();
    answer["Service"]["ServiceArn"].as_str().unwrap().to_owned()
}

fn update(life: &Life, arn: &str, change: Value) -> Value {
    let mut input = change;
    input["ServiceArn"] = json!(arn);
    life.call("UpdateService", input).unwrap()
}

fn api(values: Value) -> Value {
    let mut values = values;
    values["Runtime"] = json!("PYTHON_311");
    json!({ "CodeConfiguration": {
        "ConfigurationSource": "API", "CodeConfigurationValues": values } })
}

/// The spec of the one instance there is.
pub fn spec(world: &World, life: &Life) -> apron_compute::InstanceSpec {
    let id = &life.observed_instances()[0];
    world.instances.spec(id).unwrap()
}

pub fn log(world: &World, life: &Life, arn: &str, stream: &str) -> String {
    let id = life.describe(arn)["ServiceId"].as_str().unwrap().to_owned();
    let operation = life.newest_operation(arn)["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    let stream = stream.replace("<id>", &operation);
    let group = format!("/aws/apprunner/demo/{id}/service");
    world.messages(&group, &stream).join("\n")
}

fn in_order(story: &str, lines: &[&str]) {
    let mut rest = story;
    for line in lines {
        let at = rest.find(line);
        let at = at.unwrap_or_else(|| panic!("{line} is missing or out of order in:\n{story}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn a_service_from_source_code_is_built_and_runs_as_its_file_says() {
    let world = World::new();
    repository(&world, "demo");
    let head = world.commit("demo", "app/plan", "9000");
    let life = Life::begin(&world);
    let arn = create(&life, "demo", &json!({ "SourceDirectory": "/app" }));
    assert_eq!(life.settle(&arn), "RUNNING");
    let request = world.builder.requests().pop().unwrap();
    assert_eq!(
        (request.origin.commit.as_str(), request.directory.as_str()),
        (head.as_str(), "/app")
    );
    let spec = spec(&world, &life);
    assert_eq!(
        (spec.port, spec.start_command.as_deref()),
        (9000, Some("serve"))
    );
    assert_eq!(spec.env["FROM"], "the file");
    let source = life.describe(&arn)["SourceConfiguration"].clone();
    assert_eq!(
        source,
        json!({
            "CodeRepository": {
                "RepositoryUrl": url("demo"),
                "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
                "SourceDirectory": "/app",
                "CodeConfiguration": { "ConfigurationSource": "REPOSITORY" },
            },
            "AutoDeploymentsEnabled": false,
        })
    );
    in_order(
        &log(&world, &life, &arn, "events"),
        &[
            "Service creation started.",
            "Deployment Artifact: [Repo Type: Source], [Repository: https://localhost:7400/git/demo.git], [Branch: main], \
         [SourceDirectory: /app]",
            "Pulling source code from APRON Repository ( https://localhost:7400/git/demo.git ).",
            "Successfully pulled your application source code.",
            "Reading apprunner.yaml config file.",
            "Successfully built your application source code.",
            "Performing health check on protocol `TCP` [Port: '9000'].",
            "Service status is set to RUNNING.",
        ],
    );
    in_order(
        &log(&world, &life, &arn, "deployment/<id>"),
        &[
            &format!("[AppRunner] Commit: {head}"),
            "[AppRunner] Starting to build your application source code.",
            "[Build] make",
            "[AppRunner] Successfully built your application source code.",
            "[AppRunner] Successfully deployed your application image.",
        ],
    );
    life.kill();
}

#[test]
fn only_what_a_build_sees_builds_again() {
    let world = World::new();
    repository(&world, "demo");
    let life = Life::begin(&world);
    let arn = create(&life, "demo", &api(json!({ "BuildCommand": "make" })));
    assert_eq!(life.settle(&arn), "RUNNING");
    let builds = || world.builder.requests().len();
    let first = spec(&world, &life).image;
    // Everything that only the running container needs, and a commit that nobody asked to have deployed.
    life.commit("demo", "app/main.py", "two");
    let values = json!({ "BuildCommand": "make", "StartCommand": "./other", "Port": "9001",
        "RuntimeEnvironmentVariables": { "A": "1" } });
    update(
        &life,
        &arn,
        json!({ "SourceConfiguration": input("demo", &api(values)) }),
    );
    assert_eq!(life.settle(&arn), "RUNNING");
    update(
        &life,
        &arn,
        json!({ "HealthCheckConfiguration": { "Interval": 7 } }),
    );
    assert_eq!(life.settle(&arn), "RUNNING");
    let changed = spec(&world, &life);
    assert_eq!((builds(), &changed.image), (1, &first));
    assert_eq!(
        (changed.port, changed.start_command.as_deref()),
        (9001, Some("./other"))
    );
    assert_eq!(changed.env["A"], "1");
    for operation in ["PauseService", "ResumeService"] {
        life.call(operation, json!({ "ServiceArn": arn })).unwrap();
        life.settle(&arn);
    }
    assert_eq!((builds(), spec(&world, &life).image), (1, first));
    // Another build command, another way to build, and the branch's head on demand.
    let values = api(json!({ "BuildCommand": "make all" }));
    update(
        &life,
        &arn,
        json!({ "SourceConfiguration": input("demo", &values) }),
    );
    assert_eq!((life.settle(&arn).as_str(), builds()), ("RUNNING", 2));
    let tag =
        json!({ "ResourceArn": arn, "Tags": [{ "Key": "apron:build", "Value": "dockerfile" }] });
    life.call("TagResource", tag).unwrap();
    update(
        &life,
        &arn,
        json!({ "HealthCheckConfiguration": { "Interval": 5 } }),
    );
    assert_eq!((life.settle(&arn).as_str(), builds()), ("RUNNING", 3));
    let configuration = &world.builder.requests()[2].configuration;
    assert_eq!(*configuration, apron_builder::Configuration::Dockerfile);
    life.call("StartDeployment", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!((life.settle(&arn).as_str(), builds()), ("RUNNING", 4));
    life.kill();
}

#[test]
fn a_failed_build_says_why_and_the_running_version_stays() {
    let world = World::new();
    repository(&world, "demo");
    let life = Life::begin(&world);
    let arn = create(&life, "demo", &json!({}));
    assert_eq!(life.settle(&arn), "RUNNING");
    let before = life.observed_instances();
    life.commit("demo", "plan", "fail");
    life.call("StartDeployment", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    assert_eq!(life.newest_operation(&arn)["Status"], "ROLLBACK_SUCCEEDED");
    assert_eq!(life.observed_instances(), before);
    let why = "command `make` ended with exit code 2";
    let failed = format!("Failed to build your application source code. Reason: {why}");
    assert!(log(&world, &life, &arn, "events").contains(&failed));
    let told = log(&world, &life, &arn, "deployment/<id>");
    in_order(&told, &[&failed, "no rule to make target"]);
    let detail = life
        .operate("DescribeOperation", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(
        detail["Operation"]["Evidence"],
        json!(["no rule to make target"])
    );
    // A service whose first build failed is repaired by the next.
    let broken = create(&life, "demo-two", &json!({ "RepositoryUrl": url("demo") }));
    assert_eq!(life.settle(&broken), ServiceStatus::CreateFailed.as_str());
    life.commit("demo", "plan", "8080");
    update(&life, &broken, json!({}));
    assert_eq!(life.settle(&broken), "RUNNING");
    life.kill();
}

#[test]
fn what_cannot_be_fetched_fails_with_its_reason() {
    let world = World::new();
    repository(&world, "demo");
    let life = Life::begin(&world);
    let version =
        |branch: &str| json!({ "SourceCodeVersion": { "Type": "BRANCH", "Value": branch } });
    for (name, change, reason) in [
        ("demo", version("absent"), "has no branch absent"),
        (
            "demo",
            json!({ "SourceDirectory": "/nowhere" }),
            "branch main has no directory /nowhere",
        ),
        ("none", json!({}), "was not found"),
    ] {
        let mut source = input(name, &change);
        source["AutoDeploymentsEnabled"] = json!(true);
        let input = json!({ "ServiceName": "demo", "SourceConfiguration": source });
        let arn = life.call("CreateService", input).unwrap();
        let arn = arn["Service"]["ServiceArn"].as_str().unwrap().to_owned();
        assert_eq!(life.settle(&arn), "CREATE_FAILED");
        let told = log(&world, &life, &arn, "events");
        in_order(
            &told,
            &[
                "Failed to pull your application source code. Reason: ",
                reason,
            ],
        );
        life.call("DeleteService", json!({ "ServiceArn": arn }))
            .unwrap();
        life.settle(&arn);
    }
    life.kill();
}

#[test]
fn a_build_is_cancelled_while_it_runs() {
    let world = World::new();
    repository(&world, "demo");
    let life = Life::begin(&world);
    let arn = create(&life, "demo", &json!({}));
    assert_eq!(life.settle(&arn), "RUNNING");
    life.commit("demo", "plan", "hang");
    life.call("StartDeployment", json!({ "ServiceArn": arn }))
        .unwrap();
    life.eventually("the build to run", || {
        (world.builder.requests().len() == 2).then_some(())
    });
    life.operate("CancelOperation", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    assert!(log(&world, &life, &arn, "events").contains("The operation was cancelled"));
    life.eventually("its files to go", || work(&world).is_empty().then_some(()));
    life.kill();
}

#[test]
fn the_operator_rolls_back_to_what_was_built_before() {
    let world = World::new();
    repository(&world, "demo");
    let life = Life::begin(&world);
    let arn = create(&life, "demo", &json!({}));
    assert_eq!(life.settle(&arn), "RUNNING");
    let first = spec(&world, &life).image;
    life.commit("demo", "plan", "9000");
    life.call("StartDeployment", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    assert_eq!(spec(&world, &life).port, 9000);
    life.operate("RollbackService", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    let back = spec(&world, &life);
    assert_eq!(
        (back.image, back.port, world.builder.requests().len()),
        (first, 8080, 2)
    );
    life.kill();
}

#[test]
fn sources_do_not_change_their_kind_and_connections_in_use_stay() {
    let world = World::new();
    repository(&world, "demo");
    world.push("app", "v1", "one");
    let life = Life::begin(&world);
    let arn = create(&life, "demo", &json!({}));
    let image = life.create("image", "localhost:7400/app:v1");
    assert_eq!(
        (life.settle(&arn), life.settle(&image)),
        ("RUNNING".to_owned(), "RUNNING".to_owned())
    );
    let (_, message) = life.update(&arn, "localhost:7400/app:v1").unwrap_err();
    assert!(
        message.contains("from a code repository to an image"),
        "{message}"
    );
    let change = json!({ "ServiceArn": image, "SourceConfiguration": input("demo", &json!({})) });
    let (_, message) = life.call("UpdateService", change).unwrap_err();
    assert!(
        message.contains("from an image to a code repository"),
        "{message}"
    );

    let made = json!({ "ConnectionName": "code", "ProviderType": "GITHUB" });
    let made = life.call("CreateConnection", made).unwrap();
    let connection = made["Connection"]["ConnectionArn"].clone();
    let mut source = input(
        "demo",
        &json!({ "RepositoryUrl": "https://github.invalid/a/b" }),
    );
    source["AuthenticationConfiguration"] = json!({ "ConnectionArn": connection });
    let user = json!({ "ServiceName": "user", "SourceConfiguration": source });
    let (_, message) = life.call("CreateService", user.clone()).unwrap_err();
    assert!(message.contains("PENDING_HANDSHAKE"), "{message}");
    let complete = json!({ "ConnectionArn": connection, "Token": "tok", "Host": "github.invalid" });
    let told = life.operate("CompleteConnection", complete).unwrap();
    assert_eq!(told["WebhookSecret"].as_str().unwrap().len(), 48);
    let user = life.call("CreateService", user).unwrap()["Service"]["ServiceArn"].clone();
    let deletion = json!({ "ConnectionArn": connection });
    let (_, message) = life.call("DeleteConnection", deletion.clone()).unwrap_err();
    assert!(message.contains("used by the service user"), "{message}");
    life.settle(user.as_str().unwrap());
    life.call("DeleteService", json!({ "ServiceArn": user }))
        .unwrap();
    life.settle(user.as_str().unwrap());
    life.call("DeleteConnection", deletion).unwrap();
    life.kill();
}
