//! Every operation is killed before and after each of its steps. Killed after a step, the step runs again: nothing of it
//! was written down. The end must be the same as without.

use crate::source;
use apron_compute::simulator::Behaviour;
use apron_control::engine::Point;
use apron_domain::{InstanceRole, Stage};
use apron_testkit::{Life, Stop, StopAt, World};
use serde_json::json;

const V1: &str = "localhost:7400/app:v1";
const V2: &str = "localhost:7400/app:v2";
const BROKEN: &str = "localhost:7400/app:broken";

const DEPLOY: [Stage; 8] = [
    Stage::Resolve,
    Stage::Prepare,
    Stage::Launch,
    Stage::Settle,
    Stage::Route,
    Stage::Drain,
    Stage::Retire,
    Stage::Finish,
];
const BUILD: [Stage; 4] = [Stage::Resolve, Stage::Build, Stage::Prepare, Stage::Launch];
const FAILED_BUILD: [Stage; 4] = [Stage::Resolve, Stage::Build, Stage::Discard, Stage::Finish];
const ROLLBACK: [Stage; 6] = [
    Stage::Resolve,
    Stage::Prepare,
    Stage::Launch,
    Stage::Settle,
    Stage::Discard,
    Stage::Finish,
];
const END: [Stage; 4] = [Stage::Route, Stage::Drain, Stage::Retire, Stage::Finish];

fn world() -> World {
    let world = World::new();
    world.push("app", "v1", "one");
    world.push("app", "v2", "two");
    let broken = world.push("app", "broken", "three");
    world.instances.script(
        &broken,
        Behaviour::Crash {
            code: 3,
            line: "no".to_owned(),
        },
    );
    world
}

/// Runs `begin` on a service made by `prepare`, kills the control plane at the stop, starts it again and lets `check` see
/// the end. `check` gets the second life and the service's ARN.
fn killed(
    stop: Stop,
    prepare: impl Fn(&Life) -> Option<String>,
    begin: impl Fn(&Life, Option<&str>) -> String,
    check: impl Fn(&World, &Life, &str),
) {
    let world = world();
    source::repository(&world, "demo");
    let first = Life::begin(&world);
    let prepared = prepare(&first);
    first.kill();
    let life = Life::begin_watched(&world, StopAt::new(stop));
    let arn = begin(&life, prepared.as_deref());
    life.wait_for_stop();
    life.kill();
    let life = Life::begin(&world);
    life.settle(&arn);
    check(&world, &life, &arn);
    life.kill();
}

fn each_point(stages: &[Stage], run: impl Fn(Stop)) {
    for stage in stages {
        for point in [Point::BeforeStep, Point::AfterStep] {
            println!("killed at {stage:?} {point:?}");
            run(Stop {
                stage: *stage,
                point,
            });
        }
    }
}

/// One instance of the newest revision runs, is routed, and nothing else is left.
fn serves_one(world: &World, life: &Life, arn: &str, image: &str) {
    let service = life.describe(arn);
    assert_eq!(service["Status"], "RUNNING");
    let source = &service["SourceConfiguration"]["ImageRepository"];
    assert_eq!(source["ImageIdentifier"], image);
    runs_one(world, life, arn);
}

/// One instance runs, is routed, and nothing else is left.
fn runs_one(world: &World, life: &Life, arn: &str) {
    let service = life.describe(arn);
    assert_eq!(service["Status"], "RUNNING");
    let host = service["ServiceUrl"].as_str().unwrap();
    life.eventually("exactly one instance, routed", || {
        let observed = life.observed_instances();
        let stored = life.stored_instances();
        let routed = world.proxy.upstreams(host);
        let one = observed.len() == 1 && stored.len() == 1 && routed == [observed[0].as_str()];
        (one && stored[0].role == InstanceRole::Active && stored[0].id == observed[0]).then_some(())
    });
}

fn create(life: &Life) -> String {
    let arn = life.create("demo", V1);
    assert_eq!(life.settle(&arn), "RUNNING");
    arn
}

#[test]
fn a_create_killed_anywhere_ends_running() {
    each_point(&DEPLOY, |stop| {
        killed(
            stop,
            |_| None,
            |life, _| life.create("demo", V1),
            |world, life, arn| {
                assert_eq!(life.newest_operation(arn)["Status"], "SUCCEEDED");
                serves_one(world, life, arn, V1);
            },
        );
    });
}

#[test]
fn an_update_killed_anywhere_ends_on_the_new_version() {
    each_point(&DEPLOY, |stop| {
        killed(
            stop,
            |life| Some(create(life)),
            |life, arn| {
                life.update(arn.unwrap(), V2).unwrap();
                arn.unwrap().to_owned()
            },
            |world, life, arn| {
                assert_eq!(life.newest_operation(arn)["Status"], "SUCCEEDED");
                serves_one(world, life, arn, V2);
            },
        );
    });
}

#[test]
fn a_rollback_killed_anywhere_leaves_the_old_version_serving() {
    each_point(&ROLLBACK, |stop| {
        killed(
            stop,
            |life| Some(create(life)),
            |life, arn| {
                life.update(arn.unwrap(), BROKEN).unwrap();
                arn.unwrap().to_owned()
            },
            |world, life, arn| {
                assert_eq!(life.newest_operation(arn)["Status"], "ROLLBACK_SUCCEEDED");
                serves_one(world, life, arn, V1);
            },
        );
    });
}

#[test]
fn a_pause_and_a_delete_killed_anywhere_leave_no_instance() {
    for (operation, status) in [("PauseService", "PAUSED"), ("DeleteService", "DELETED")] {
        each_point(&END, |stop| {
            killed(
                stop,
                |life| Some(create(life)),
                |life, arn| {
                    life.call(operation, json!({ "ServiceArn": arn.unwrap() }))
                        .unwrap();
                    arn.unwrap().to_owned()
                },
                |world, life, arn| {
                    let service = life.describe(arn);
                    assert_eq!(service["Status"], status);
                    life.eventually("no instance", || {
                        let none = life.observed_instances().is_empty()
                            && life.stored_instances().is_empty();
                        none.then_some(())
                    });
                    assert!(
                        world
                            .proxy
                            .upstreams(service["ServiceUrl"].as_str().unwrap())
                            .is_empty()
                    );
                },
            );
        });
    }
}

#[test]
fn a_resume_killed_anywhere_serves_the_same_image_again() {
    each_point(&DEPLOY[1..], |stop| {
        killed(
            stop,
            |life| {
                let arn = create(life);
                life.call("PauseService", json!({ "ServiceArn": arn }))
                    .unwrap();
                assert_eq!(life.settle(&arn), "PAUSED");
                Some(arn)
            },
            |life, arn| {
                life.call("ResumeService", json!({ "ServiceArn": arn.unwrap() }))
                    .unwrap();
                arn.unwrap().to_owned()
            },
            |world, life, arn| {
                assert_eq!(life.newest_operation(arn)["Status"], "SUCCEEDED");
                serves_one(world, life, arn, V1);
            },
        );
    });
}

#[test]
fn a_build_killed_anywhere_ends_running() {
    each_point(&BUILD, |stop| {
        killed(
            stop,
            |_| None,
            |life, _| source::create(life, "demo", &json!({})),
            |world, life, arn| {
                assert_eq!(life.newest_operation(arn)["Status"], "SUCCEEDED");
                runs_one(world, life, arn);
                life.eventually("the commit's files to go", || {
                    source::work(world).is_empty().then_some(())
                });
            },
        );
    });
}

#[test]
fn a_failed_build_killed_anywhere_leaves_the_old_version_serving() {
    each_point(&FAILED_BUILD, |stop| {
        killed(
            stop,
            |life| {
                let arn = source::create(life, "demo", &json!({}));
                assert_eq!(life.settle(&arn), "RUNNING");
                Some(arn)
            },
            |life, arn| {
                life.commit("demo", "plan", "fail");
                life.call("StartDeployment", json!({ "ServiceArn": arn.unwrap() }))
                    .unwrap();
                arn.unwrap().to_owned()
            },
            |world, life, arn| {
                assert_eq!(life.newest_operation(arn)["Status"], "ROLLBACK_SUCCEEDED");
                runs_one(world, life, arn);
                life.eventually("the commit's files to go", || {
                    source::work(world).is_empty().then_some(())
                });
            },
        );
    });
}
