//! The number of instances follows the load, within the bounds, and comes through everything that happens meanwhile.

use apron_compute::simulator::Behaviour;
use apron_control::clock::Manual;
use apron_domain::scaling::{SLOT_MS, STABLE_MS};
use apron_domain::{Digest, InstanceRole};
use apron_testkit::{Life, World};
use serde_json::{Value, json};
use std::sync::Arc;

const V1: &str = "localhost:7400/app:v1";
const V2: &str = "localhost:7400/app:v2";

/// A service that is given 10 requests per instance and has at most 12 instances.
struct Scene {
    world: World,
    clock: Arc<Manual>,
    life: Life,
    image: Digest,
    arn: String,
    id: String,
    host: String,
}

impl Scene {
    fn begin(tags: Value) -> Scene {
        Scene::begin_with(1, tags)
    }

    fn begin_with(min_size: u32, tags: Value) -> Scene {
        let (world, clock) = World::by_hand();
        let image = world.push("app", "v1", "one");
        world.push("app", "v2", "two");
        let life = Life::begin(&world);
        let scaling = json!({ "AutoScalingConfigurationName": "tens",
            "MaxConcurrency": 10, "MinSize": min_size, "MaxSize": 12 });
        let scaling = life
            .call("CreateAutoScalingConfiguration", scaling)
            .unwrap();
        let scaling = &scaling["AutoScalingConfiguration"]["AutoScalingConfigurationArn"];
        let input = json!({
            "ServiceName": "demo",
            "SourceConfiguration": { "ImageRepository": {
                "ImageIdentifier": V1, "ImageRepositoryType": "ECR" } },
            "AutoScalingConfigurationArn": scaling,
            "Tags": tags,
        });
        let service = life.call("CreateService", input).unwrap()["Service"].clone();
        let text = |name: &str| service[name].as_str().unwrap().to_owned();
        let (arn, id, host) = (text("ServiceArn"), text("ServiceId"), text("ServiceUrl"));
        assert_eq!(life.settle(&arn), "RUNNING");
        let scene = Scene {
            world,
            clock,
            life,
            image,
            arn,
            id,
            host,
        };
        scene.runs(usize::try_from(min_size).unwrap());
        scene
    }

    fn sleeping() -> Scene {
        Scene::begin(json!([{ "Key": "apron:scale-to-zero-after", "Value": "30s" }]))
    }

    /// Kills the control plane and starts it again.
    fn restart(mut self) -> Scene {
        self.life.kill();
        self.life = Life::begin(&self.world);
        self.heard();
        self
    }

    fn report(&self, outstanding: u32) {
        self.world.proxy.report(&self.id, outstanding, outstanding);
    }

    fn routed(&self) -> usize {
        self.world.proxy.upstreams(&self.host).len()
    }

    /// Waits until exactly so many instances exist, all routed.
    fn runs(&self, count: usize) {
        self.life.eventually(&format!("{count} instances"), || {
            let observed = self.life.observed_instances().len();
            let stored = self.life.stored_instances();
            let active = stored.iter().filter(|i| i.role == InstanceRole::Active);
            let fits = observed == count && self.routed() == count && active.count() == count;
            (fits && stored.len() == count).then_some(())
        });
    }

    /// Lets time pass second by second while the proxy tells the same; the control plane hears each word.
    fn pass_with(&self, seconds: u64, outstanding: u32) {
        for _ in 0..seconds {
            self.clock.pass(1_000);
            self.report(outstanding);
            self.heard();
        }
    }

    /// Waits until the control plane has read what the proxy told.
    fn heard(&self) {
        self.life.eventually("the news to be read", || {
            self.world.proxy.is_heard().then_some(())
        });
    }

    fn trouble(&self) -> Option<String> {
        self.world.proxy.route(&self.host).unwrap().trouble
    }
}

#[test]
fn a_burst_starts_exactly_what_is_missing_and_never_more_than_allowed() {
    let scene = Scene::begin(json!([]));
    let created = scene.world.instances.created();
    assert!(scene.world.proxy.route(&scene.host).unwrap().can_grow);
    // The proxy repeats itself while the instances start.
    for _ in 0..20 {
        scene.world.proxy.want(&scene.id, 10, 61);
    }
    scene.runs(8);
    assert_eq!(scene.world.instances.created(), created + 7);
    scene.world.proxy.want(&scene.id, 80, 10_000);
    scene.runs(12);
    assert_eq!(scene.world.instances.created(), created + 11);
    assert!(!scene.world.proxy.route(&scene.host).unwrap().can_grow);
    scene.life.kill();
}

#[test]
fn what_was_not_needed_for_a_window_goes_when_it_has_answered_what_it_had() {
    let scene = Scene::begin_with(2, json!([]));
    scene.world.proxy.want(&scene.id, 20, 30);
    scene.runs(5);
    scene.report(0);
    let busy = scene.world.proxy.upstreams(&scene.host);
    for instance in &busy {
        scene.world.proxy.set_outstanding(instance, 1);
    }
    scene.pass_with(STABLE_MS / 1_000 - 1, 0);
    assert_eq!(scene.routed(), 5, "fell within the window");
    scene.pass_with(1 + SLOT_MS / 1_000, 0);
    scene
        .life
        .eventually("three instances to leave the routes", || {
            (scene.routed() == 2).then_some(())
        });
    assert_eq!(
        scene.life.observed_instances().len(),
        5,
        "ended with requests"
    );
    for instance in &busy {
        scene.world.proxy.set_outstanding(instance, 0);
    }
    scene.runs(2);
    scene.life.kill();
}

#[test]
fn a_noisy_load_starts_and_ends_nothing() {
    let scene = Scene::begin(json!([]));
    scene.world.proxy.want(&scene.id, 10, 40);
    scene.runs(5);
    let created = scene.world.instances.created();
    let routed = scene.world.proxy.upstreams(&scene.host);
    for _ in 0..12 {
        for outstanding in [50, 3, 0, 41, 17] {
            scene.pass_with(2, outstanding);
        }
    }
    assert_eq!(scene.world.instances.created(), created);
    assert_eq!(scene.world.proxy.upstreams(&scene.host), routed);
    scene.life.kill();
}

#[test]
fn a_restart_keeps_the_number_for_a_window() {
    let scene = Scene::begin(json!([]));
    scene.world.proxy.want(&scene.id, 10, 50);
    scene.runs(6);
    let before = scene.world.proxy.upstreams(&scene.host);
    let scene = scene.restart();
    scene.pass_with(STABLE_MS / 1_000 - 1, 0);
    assert_eq!(scene.world.proxy.upstreams(&scene.host), before);
    scene.pass_with(2, 0);
    scene.runs(1);
    scene.life.kill();
}

#[test]
fn nothing_goes_while_the_proxy_is_silent() {
    let scene = Scene::sleeping();
    scene.world.proxy.want(&scene.id, 10, 20);
    scene.runs(3);
    scene.heard();
    scene.world.proxy.disconnect();
    scene.heard();
    scene.clock.pass(100 * STABLE_MS);
    // Were something to go, the reconciler would have decided on it before this crash is repaired.
    let crashed = scene.life.observed_instances()[0].clone();
    scene.world.instances.kill(&crashed, 1);
    scene
        .life
        .eventually("the crashed instance to be replaced", || {
            let observed = scene.life.observed_instances();
            (!observed.contains(&crashed) && observed.len() == 3).then_some(())
        });
    scene.runs(3);
    scene.life.kill();
}

#[test]
fn a_service_sleeps_without_requests_and_the_first_ones_wake_one_instance() {
    let scene = Scene::sleeping();
    let created = scene.world.instances.created();
    // A WebSocket holds it.
    scene.pass_with(120, 1);
    assert_eq!(scene.routed(), 1);
    scene.pass_with(31, 0);
    scene.runs(0);
    let route = scene.world.proxy.route(&scene.host).unwrap();
    assert!(route.can_grow && route.trouble.is_none(), "{route:?}");
    scene.clock.pass(1_000_000);
    for waiting in 1..8 {
        scene.world.proxy.want(&scene.id, 0, waiting);
    }
    scene.runs(1);
    assert_eq!(scene.world.instances.created(), created + 1);
    scene.life.kill();
}

#[test]
fn a_sleeping_service_sleeps_on_across_a_restart_and_wakes_after_it() {
    let scene = Scene::sleeping();
    scene.pass_with(31, 0);
    scene.runs(0);
    let created = scene.world.instances.created();
    let scene = scene.restart();
    scene.pass_with(5, 0);
    assert_eq!(scene.world.instances.created(), created);
    scene.world.proxy.want(&scene.id, 0, 1);
    scene.runs(1);
    scene.life.kill();
}

#[test]
fn a_tag_lets_a_service_sleep_and_its_removal_wakes_it() {
    let scene = Scene::begin(json!([]));
    scene.pass_with(100, 0);
    assert_eq!(scene.routed(), 1);
    let tag = json!({ "ResourceArn": scene.arn,
        "Tags": [{ "Key": "apron:scale-to-zero-after", "Value": "10s" }] });
    scene.life.call("TagResource", tag).unwrap();
    scene.runs(0);
    let keys = json!({ "ResourceArn": scene.arn, "TagKeys": ["apron:scale-to-zero-after"] });
    scene.life.call("UntagResource", keys).unwrap();
    scene.runs(1);
    scene.life.kill();
}

#[test]
fn a_service_that_cannot_start_says_why_until_it_can() {
    let scene = Scene::sleeping();
    scene.pass_with(31, 0);
    scene.runs(0);
    let crash = Behaviour::Crash {
        code: 9,
        line: "no licence found".to_owned(),
    };
    scene.world.instances.script(&scene.image, crash);
    scene.world.proxy.want(&scene.id, 0, 1);
    let trouble = scene
        .life
        .eventually("the trouble to be routed", || scene.trouble());
    assert!(trouble.contains("exit code 9"), "{trouble}");
    // What the application prints is its owner's, not every visitor's.
    assert!(!trouble.contains("no licence found"), "{trouble}");
    assert!(!scene.world.proxy.route(&scene.host).unwrap().can_grow);
    scene
        .world
        .instances
        .script(&scene.image, Behaviour::Healthy);
    scene.life.eventually("an instance", || {
        scene.clock.pass(1_000);
        scene.world.proxy.want(&scene.id, 0, 1);
        (scene.routed() == 1).then_some(())
    });
    assert_eq!(scene.trouble(), None);
    scene.life.kill();
}

#[test]
fn a_trouble_ends_with_the_wish_for_an_instance() {
    let scene = Scene::sleeping();
    scene.pass_with(31, 0);
    scene.runs(0);
    let crash = Behaviour::Crash {
        code: 9,
        line: "no licence found".to_owned(),
    };
    scene.world.instances.script(&scene.image, crash);
    scene.world.proxy.want(&scene.id, 0, 1);
    scene
        .life
        .eventually("the trouble to be routed", || scene.trouble());
    scene.life.eventually("the service to sleep again", || {
        scene.pass_with(1, 0);
        scene.trouble().is_none().then_some(())
    });
    scene.runs(0);
    scene.life.kill();
}

#[test]
fn an_image_that_cannot_be_prepared_is_trouble_too_and_is_not_tried_without_pause() {
    let scene = Scene::sleeping();
    scene.pass_with(31, 0);
    scene.runs(0);
    let unusable = Behaviour::Unusable("the disk is full".to_owned());
    scene.world.instances.script(&scene.image, unusable);
    scene.world.proxy.want(&scene.id, 0, 1);
    scene.life.eventually("the trouble to be routed", || {
        scene
            .trouble()
            .filter(|t| t.contains("could not be started"))
    });
    let group = format!("/aws/apprunner/demo/{}/service", scene.id);
    let told = || {
        let events = scene.world.messages(&group, "events");
        let tells =
            |e: &&String| e.contains("could not be started") && e.contains("the disk is full");
        events.iter().filter(tells).count()
    };
    scene
        .life
        .eventually("the third attempt", || (told() == 3).then_some(()));
    // The clock stands still, and so do the attempts.
    for _ in 0..20 {
        scene.world.proxy.want(&scene.id, 0, 1);
    }
    scene.heard();
    assert_eq!(told(), 3);
    scene.life.kill();
}

#[test]
fn a_deployment_under_load_begins_with_what_runs_and_takes_over_with_what_is_needed() {
    let scene = Scene::begin(json!([]));
    let slow = scene.world.push("app", "v2", "slow");
    let starting = Behaviour::Unhealthy("starting".to_owned());
    scene.world.instances.script(&slow, starting);
    scene.world.proxy.want(&scene.id, 10, 20);
    scene.runs(3);
    scene.life.update(&scene.arn, V2).unwrap();
    scene
        .life
        .eventually("as many candidates as instances", || {
            (scene.life.observed_instances().len() == 6).then_some(())
        });
    // More load comes while the new version starts: the old one takes it, and the new one has to be as many.
    scene.world.proxy.want(&scene.id, 30, 20);
    scene.life.eventually("two more of the old version", || {
        (scene.routed() == 5).then_some(())
    });
    let old = scene.world.proxy.upstreams(&scene.host);
    scene.world.instances.script(&slow, Behaviour::Healthy);
    scene.life.eventually("the traffic to move", || {
        scene.clock.pass(1);
        let routed = scene.world.proxy.upstreams(&scene.host);
        let moved = routed.iter().all(|id| !old.contains(id));
        assert!(
            !moved || routed.len() == 5,
            "{} took over from 5",
            routed.len()
        );
        moved.then_some(())
    });
    assert_eq!(scene.life.settle(&scene.arn), "RUNNING");
    scene.runs(5);
    scene.life.kill();
}

#[test]
fn a_sleeping_service_proves_a_new_version_by_one_instance_and_sleeps_again() {
    let scene = Scene::sleeping();
    scene.pass_with(31, 0);
    scene.runs(0);
    let created = scene.world.instances.created();
    scene.life.update(&scene.arn, V2).unwrap();
    assert_eq!(scene.life.settle(&scene.arn), "RUNNING");
    assert_eq!(
        scene.life.newest_operation(&scene.arn)["Status"],
        "SUCCEEDED"
    );
    scene.runs(1);
    assert_eq!(scene.world.instances.created(), created + 1);
    scene.pass_with(31, 0);
    scene.runs(0);
    scene.life.kill();
}

#[test]
fn a_paused_service_is_not_woken_by_requests() {
    let scene = Scene::begin(json!([]));
    let by_arn = json!({ "ServiceArn": scene.arn });
    scene.life.call("PauseService", by_arn.clone()).unwrap();
    assert_eq!(scene.life.settle(&scene.arn), "PAUSED");
    scene.world.proxy.want(&scene.id, 0, 5);
    scene.heard();
    scene.runs(0);
    scene.life.call("ResumeService", by_arn).unwrap();
    assert_eq!(scene.life.settle(&scene.arn), "RUNNING");
    scene.runs(1);
    scene.life.kill();
}

#[test]
fn killed_at_any_moment_of_a_burst_and_of_its_end_it_comes_to_the_same() {
    let mut scene = Scene::begin(json!([]));
    for round in 0..12_usize {
        scene.world.proxy.want(&scene.id, 10, 40);
        // Each round kills a little later: after so many instances were asked for.
        let enough = scene.world.instances.created() + (round as u64 % 5);
        scene.life.eventually("the burst to have begun", || {
            (scene.world.instances.created() >= enough).then_some(())
        });
        scene = scene.restart();
        scene.world.proxy.want(&scene.id, 10, 40);
        scene.runs(5);
        scene.report(0);
        scene.pass_with(STABLE_MS / 1_000 + SLOT_MS / 1_000 + 1, 0);
        let mut left = round;
        scene
            .life
            .eventually("the end of the burst to have begun", || {
                left = left.saturating_sub(1);
                (left == 0 || scene.routed() < 5).then_some(())
            });
        scene = scene.restart();
        scene.pass_with(STABLE_MS / 1_000 + 1, 0);
        scene.runs(1);
    }
    scene.life.kill();
}
