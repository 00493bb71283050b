//! Deployments: what callers see, what the logs say, when traffic moves.

use apron_compute::simulator::Behaviour;
use apron_testkit::{Life, World};
use serde_json::json;

const V1: &str = "localhost:7400/app:v1";
const V2: &str = "localhost:7400/app:v2";

fn world() -> World {
    let world = World::new();
    world.push("app", "v1", "one");
    world
}

fn running(world: &World) -> (Life, String) {
    let life = Life::begin(world);
    let arn = life.create("demo", V1);
    assert_eq!(life.settle(&arn), "RUNNING");
    (life, arn)
}

fn events(world: &World, life: &Life, arn: &str) -> String {
    let id = life.describe(arn)["ServiceId"].as_str().unwrap().to_owned();
    world
        .messages(&format!("/aws/apprunner/demo/{id}/service"), "events")
        .join("\n")
}

fn deployment_log(world: &World, life: &Life, arn: &str) -> String {
    let id = life.describe(arn)["ServiceId"].as_str().unwrap().to_owned();
    let operation = life.newest_operation(arn)["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    world
        .messages(
            &format!("/aws/apprunner/demo/{id}/service"),
            &format!("deployment/{operation}"),
        )
        .join("\n")
}

#[test]
fn a_create_tells_its_story_in_order() {
    let world = world();
    let (life, arn) = running(&world);
    let story = events(&world, &life, &arn);
    let mut rest = story.as_str();
    for line in [
        "[AppRunner] Service creation started.",
        "Service status is set to OPERATION_IN_PROGRESS.",
        "Triggering event : SERVICE_CREATE",
        "Pulling image localhost:7400/app:v1 from ECR repository.",
        "Successfully pulled your application image from ECR.",
        "Provisioning instances and deploying image for publicly accessible service.",
        "Performing health check on protocol `TCP` [Port: '8080'].",
        "Health check is successful. Routing traffic to application.",
        "Successfully routed incoming traffic to application.",
        "Service creation completed successfully.",
        "Service status is set to RUNNING.",
    ] {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("{line} is missing or out of order in:\n{story}"));
        rest = &rest[at + line.len()..];
    }
    life.kill();
}

#[test]
fn a_name_is_taken_until_its_service_is_deleted() {
    let world = world();
    let (life, arn) = running(&world);
    let again = json!({ "ServiceName": "demo", "SourceConfiguration": { "ImageRepository": {
        "ImageIdentifier": V1, "ImageRepositoryType": "ECR" } } });
    let (code, message) = life.call("CreateService", again).unwrap_err();
    assert_eq!(code, "InvalidRequestException");
    assert_eq!(
        message,
        "Service with the provided name already exists: demo."
    );
    life.call("DeleteService", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(life.settle(&arn), "DELETED");
    let second = life.create("demo", V1);
    assert_ne!(second, arn);
    assert_eq!(life.settle(&second), "RUNNING");
    assert_eq!(life.describe(&arn)["Status"], "DELETED");
    life.kill();
}

#[test]
fn failures_say_what_failed_and_the_old_version_stays() {
    let world = world();
    let crash = world.push("app", "crash", "crash");
    world.instances.script(
        &crash,
        Behaviour::Crash {
            code: 7,
            line: "boom: no database".to_owned(),
        },
    );
    let sick = world.push("app", "sick", "sick");
    world
        .instances
        .script(&sick, Behaviour::Unhealthy("HTTP 500: oh dear".to_owned()));
    world.push_foreign("app", "arm");
    let (life, arn) = running(&world);
    let host = life.describe(&arn)["ServiceUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = world.proxy.upstreams(&host);
    for (tag, evidence) in [
        ("crash", vec!["exit code 7", "boom: no database"]),
        ("sick", vec!["HTTP 500: oh dear"]),
        ("arm", vec!["linux/arm64"]),
        ("missing", vec!["app:missing", "was not found"]),
    ] {
        life.update(&arn, &format!("localhost:7400/app:{tag}"))
            .unwrap();
        assert_eq!(life.settle(&arn), "RUNNING");
        assert_eq!(
            life.newest_operation(&arn)["Status"],
            "ROLLBACK_SUCCEEDED",
            "{tag}"
        );
        let log = deployment_log(&world, &life, &arn);
        for part in evidence {
            assert!(log.contains(part), "{tag}: {part} is missing in:\n{log}");
        }
        assert_eq!(world.proxy.upstreams(&host), before, "{tag} moved traffic");
        let image =
            &life.describe(&arn)["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"];
        assert_eq!(image, V1);
    }
    life.kill();
}

#[test]
fn a_failed_create_is_repaired_by_an_update() {
    let world = world();
    let life = Life::begin(&world);
    let arn = life.create("demo", "localhost:7400/app:absent");
    assert_eq!(life.settle(&arn), "CREATE_FAILED");
    assert_eq!(life.newest_operation(&arn)["Status"], "FAILED");
    life.update(&arn, V1).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    life.kill();
}

#[test]
fn requests_under_way_keep_the_old_instance_until_they_are_answered() {
    let world = world();
    world.push("app", "v2", "two");
    let (life, arn) = running(&world);
    let host = life.describe(&arn)["ServiceUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let old = world.proxy.upstreams(&host)[0].clone();
    world.proxy.set_outstanding(&old, 1);
    life.update(&arn, V2).unwrap();
    life.eventually("the traffic to move", || {
        (world.proxy.upstreams(&host) != [old.clone()]).then_some(())
    });
    assert!(
        life.observed_instances()
            .iter()
            .any(|id| id.as_str() == old),
        "the old instance was ended too early"
    );
    assert_eq!(life.describe(&arn)["Status"], "OPERATION_IN_PROGRESS");
    world.proxy.set_outstanding(&old, 0);
    assert_eq!(life.settle(&arn), "RUNNING");
    assert!(
        !life
            .observed_instances()
            .iter()
            .any(|id| id.as_str() == old)
    );
    life.kill();
}

#[test]
fn one_operation_at_a_time() {
    let world = world();
    let slow = world.push("app", "slow", "slow");
    world
        .instances
        .script(&slow, Behaviour::Unhealthy("starting".to_owned()));
    let (life, arn) = running(&world);
    life.update(&arn, "localhost:7400/app:slow").unwrap();
    let (code, message) = life.update(&arn, V1).unwrap_err();
    assert_eq!(code, "InvalidStateException");
    assert_eq!(
        message,
        "Service cannot be updated in the current state: OPERATION_IN_PROGRESS."
    );
    let (code, _) = life
        .call("StartDeployment", json!({ "ServiceArn": arn }))
        .unwrap_err();
    assert_eq!(code, "InvalidRequestException");
    for operation in ["PauseService", "ResumeService", "DeleteService"] {
        let (code, _) = life
            .call(operation, json!({ "ServiceArn": arn }))
            .unwrap_err();
        assert_eq!(code, "InvalidStateException", "{operation}");
    }
    life.kill();
}

#[test]
fn a_push_to_the_tracked_tag_deploys_now_or_after_the_operation() {
    let world = world();
    let (life, arn) = running(&world);
    life.pushed("app", "other");
    life.pushed("app", "v1");
    assert_eq!(
        life.describe(&arn)["Status"],
        "RUNNING",
        "an unchanged tag deployed"
    );
    let created = world.instances.created();
    world.push("app", "v1", "one and a half");
    life.pushed("app", "v1");
    assert_eq!(life.newest_operation(&arn)["Type"], "START_DEPLOYMENT");
    life.eventually("the first push to be found and started", || {
        (world.instances.created() > created).then_some(())
    });
    world.push("app", "v1", "one and three quarters");
    life.pushed("app", "v1");
    life.eventually("both pushes to be deployed", || {
        let list = life
            .call("ListOperations", json!({ "ServiceArn": arn }))
            .unwrap();
        let list = list["OperationSummaryList"].as_array().unwrap().clone();
        let done = list
            .iter()
            .filter(|o| o["Type"] == "START_DEPLOYMENT" && o["Status"] == "SUCCEEDED")
            .count();
        (done == 2).then_some(())
    });
    life.call("PauseService", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(life.settle(&arn), "PAUSED");
    world.push("app", "v1", "two");
    life.pushed("app", "v1");
    assert_eq!(life.describe(&arn)["Status"], "PAUSED");
    life.kill();
}

#[test]
fn pause_and_resume_have_their_forms_without_effect() {
    let world = world();
    let (life, arn) = running(&world);
    let answer = life
        .call("ResumeService", json!({ "ServiceArn": arn }))
        .unwrap();
    assert!(answer.get("OperationId").is_none());
    life.call("PauseService", json!({ "ServiceArn": arn }))
        .unwrap();
    assert_eq!(life.settle(&arn), "PAUSED");
    let answer = life
        .call("PauseService", json!({ "ServiceArn": arn }))
        .unwrap();
    assert!(answer.get("OperationId").is_none());
    life.kill();
}

#[test]
fn the_operator_rolls_back_to_what_ran_before() {
    let world = world();
    world.push("app", "v2", "two");
    let (life, arn) = running(&world);
    let by_arn = json!({ "ServiceArn": arn });
    let refused = life.operate("RollbackService", by_arn.clone()).unwrap_err();
    assert_eq!(refused.0, "InvalidStateException");
    life.update(&arn, V2).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    // The repository may lose the image meanwhile: what ran before is kept.
    life.operate("RollbackService", by_arn.clone()).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    let shown = &life.describe(&arn)["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"];
    assert_eq!(shown, V1);
    life.operate("RollbackService", by_arn).unwrap();
    assert_eq!(life.settle(&arn), "RUNNING");
    let shown = &life.describe(&arn)["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"];
    assert_eq!(shown, V2);
    life.kill();
}

#[test]
fn the_operator_cancels_a_deployment_also_across_a_restart() {
    let world = world();
    let slow = world.push("app", "slow", "slow");
    let script = Behaviour::Unhealthy("starting".to_owned());
    world.instances.script(&slow, script);
    let (life, arn) = running(&world);
    let by_arn = json!({ "ServiceArn": arn });
    let refused = life.operate("CancelOperation", by_arn.clone()).unwrap_err();
    assert_eq!(refused.0, "InvalidStateException");
    life.update(&arn, "localhost:7400/app:slow").unwrap();
    life.operate("CancelOperation", by_arn.clone()).unwrap();
    life.kill();
    let life = Life::begin(&world);
    assert_eq!(life.settle(&arn), "RUNNING");
    assert_eq!(life.newest_operation(&arn)["Status"], "ROLLBACK_SUCCEEDED");
    let told = life.operate("DescribeOperation", by_arn).unwrap()["Operation"].clone();
    assert!(
        told["Reason"].as_str().unwrap().contains("cancelled"),
        "{told}"
    );
    assert!(!told["Journal"].as_array().unwrap().is_empty());
    life.kill();
}
