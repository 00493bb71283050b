//! Several clients fire random calls of every operation at several services and configurations at once, and the control
//! plane is killed at random points. What each client was answered must be explained by a sequential reference; after a
//! restart every acknowledged change is there and every operation ends.
//!
//! `APRON_MACHINE_SEED` plays one seed again. What clients try is then the same; how their calls interleave is not.

#[path = "machine/call.rs"]
mod call;
#[path = "machine/clients.rs"]
mod clients;
#[path = "machine/configurations.rs"]
mod configurations;
#[path = "machine/model.rs"]
mod model;
#[path = "machine/order.rs"]
mod order;

use apron_compute::simulator::Behaviour;
use apron_control::clock::{Chance, Machine};
use apron_control::engine::Point;
use apron_domain::{InstanceRole, Stage};
use apron_testkit::{Life, Stop, StopAt, World};
use call::{Call, IMAGES};
use clients::{Dice, Known, MIN_SIZE_MAX, Ticks};
use model::{Model, SERVICES_MAX};
use order::{Event, explain};
use std::collections::{BTreeSet, HashSet};
use std::sync::mpsc;

/// Seeds that are played when none is given.
const SEEDS: usize = 5;

/// Rounds of a seed: concurrent calls, perhaps an end of the control plane, then rest.
const ROUNDS: usize = 20;

const CLIENTS: usize = 3;

/// Calls of a client in a round.
const CALLS_MAX: usize = 5;

const SEED: &str = "APRON_MACHINE_SEED";

/// How a round ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With all operations.
    Rest,
    /// Killed once so many calls were made.
    KilledAfter(usize),
    /// With operations held at a step, and then killed.
    KilledAt(Stop),
}

fn end(dice: &mut Dice) -> End {
    let stages = [
        Stage::Resolve,
        Stage::Prepare,
        Stage::Launch,
        Stage::Settle,
        Stage::Route,
        Stage::Drain,
        Stage::Retire,
        Stage::Discard,
        Stage::Finish,
    ];
    match dice.below(3) {
        0 => End::Rest,
        1 => End::KilledAfter(1 + dice.below(CLIENTS * 2)),
        _ => End::KilledAt(Stop {
            stage: dice.one_of(&stages),
            point: dice.one_of(&[Point::BeforeStep, Point::AfterStep]),
        }),
    }
}

fn world() -> World {
    let mut world = World::new();
    world.settings.services_max = SERVICES_MAX;
    // A busy machine must not fail a deployment that the reference sees succeed.
    world.settings.patience.settle_ms = 60_000;
    for image in IMAGES {
        let digest = world.push("app", image, image);
        if image == "broken" {
            let crash = Behaviour::Crash {
                code: 1,
                line: "no".to_owned(),
            };
            world.instances.script(&digest, crash);
        }
    }
    world
}

/// An account under test: what survives, what it can be, and what clients know of it.
struct Play {
    world: World,
    life: Life,
    models: HashSet<Model>,
    known: Known,
    ticks: Ticks,
    dice: Dice,
}

impl Play {
    fn begin(seed: u64) -> Play {
        let world = world();
        let life = Life::begin(&world);
        let model = Model::new();
        let built_in = model.scalings.keys().chain(model.observabilities.keys());
        Play {
            known: Known(built_in.map(|arn| arn.to_string()).collect()),
            life,
            world,
            models: HashSet::from([model]),
            ticks: Ticks::default(),
            dice: Dice::new(seed),
        }
    }

    /// Ends the control plane and begins another.
    fn again(self, stop: StopAt) -> Play {
        self.life.kill();
        let life = Life::begin_watched(&self.world, stop);
        Play { life, ..self }
    }

    fn round(mut self) -> Play {
        let end = end(&mut self.dice);
        if let End::KilledAt(stop) = end {
            self = self.again(StopAt::new(stop));
        }
        let (mut play, clients) = self.calls(end);
        if let End::KilledAt(_) = end {
            play = play.again(StopAt::default());
        }
        play.settle();
        play.compare(clients, end);
        play
    }

    /// All clients at once; the control plane ends meanwhile if the round says so, and another begins.
    fn calls(mut self, end: End) -> (Play, Vec<Vec<Event>>) {
        let (announce, announced) = mpsc::channel();
        let line = self.life.line();
        let dice: Vec<(Dice, usize)> = (0..CLIENTS)
            .map(|_| (self.dice.split(), 1 + self.dice.below(CALLS_MAX)))
            .collect();
        let mut life = Some(self.life);
        let (ticks, known) = (&self.ticks, &self.known);
        let clients = std::thread::scope(|scope| {
            let run = |(dice, calls): (Dice, usize)| {
                let (line, announce) = (line.clone(), announce.clone());
                scope.spawn(move || {
                    clients::run(&line, ticks, dice, known.clone(), calls, &announce)
                })
            };
            let threads: Vec<_> = dice.into_iter().map(run).collect();
            drop(announce);
            if let End::KilledAfter(calls) = end {
                // Fewer are made when the clients have no more.
                announced.iter().take(calls).for_each(drop);
                life.take().unwrap().kill();
            }
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().unwrap();
            threads.into_iter().map(join).collect()
        });
        drop(line);
        let life = life.unwrap_or_else(|| Life::begin(&self.world));
        (Play { life, ..self }, clients)
    }

    /// Waits for the end of every operation.
    fn settle(&self) {
        self.life.eventually("every operation to end", || {
            let list = self.life.call("ListServices", serde_json::json!({}));
            let list = list.unwrap()["ServiceSummaryList"].clone();
            let busy = |one: &serde_json::Value| one["Status"] == "OPERATION_IN_PROGRESS";
            (!list.as_array().unwrap().iter().any(busy)).then_some(())
        });
    }

    /// Holds what the clients were answered, and what is there at rest, against the reference.
    fn compare(&mut self, clients: Vec<Vec<Event>>, end: End) {
        let lists = self.read(&[
            Call::ListServices,
            Call::ListScalings { latest_only: false },
            Call::ListObservabilities { latest_only: false },
            Call::ListConnections,
            Call::ListConnectors,
        ]);
        let answered = clients.iter().flatten().chain(&lists);
        let unexplained = unexplained(&self.known, answered.clone());
        for event in answered {
            if let Some((_, answer)) = &event.answered {
                self.known.learn(answer);
            }
        }
        let explained = explain(&self.models, &clients, &unexplained);
        self.models = explained.unwrap_or_else(|refusals| {
            panic!("nothing explains the answers of a round ({end:?}):\n{refusals}\n{clients:#?}")
        });
        self.models
            .retain(|model| model.services.values().all(model::Service::is_at_rest));
        let details: Vec<Call> = self.known.0.iter().flat_map(|arn| details(arn)).collect();
        let mut seen = lists;
        seen.extend(self.read(&details));
        let explained = explain(&self.models, std::slice::from_ref(&seen), &unexplained);
        self.models = explained.unwrap_or_else(|refusals| {
            panic!(
                "nothing explains what is there after a round ({end:?}):\n{refusals}\n{clients:#?}\n{seen:#?}\n{:#?}",
                self.reports()
            )
        });
        self.operations_have_ended();
        self.instances_fit();
    }

    fn read(&self, calls: &[Call]) -> Vec<Event> {
        let line = self.life.line();
        let make = |call: &Call| clients::make(&line, &self.ticks, call.clone());
        calls.iter().map(make).collect()
    }

    /// What became of the newest operation of each service, for people.
    fn reports(&self) -> Vec<serde_json::Value> {
        let services = self.known.0.iter().filter(|arn| arn.contains(":service/"));
        let report = |arn: &String| {
            let newest = serde_json::json!({ "ServiceArn": arn });
            let report = self.life.operate("DescribeOperation", newest);
            serde_json::json!([arn, report.unwrap_or_default()])
        };
        services.map(report).collect()
    }

    fn operations_have_ended(&self) {
        for arn in self.known.0.iter().filter(|arn| arn.contains(":service/")) {
            let list = self
                .life
                .call("ListOperations", serde_json::json!({ "ServiceArn": arn }));
            for one in list.unwrap()["OperationSummaryList"].as_array().unwrap() {
                let status = one["Status"].as_str().unwrap();
                assert!(!status.ends_with("IN_PROGRESS"), "{arn}: {one}");
                assert!(one["EndedAt"].is_number(), "{arn}: {one}");
            }
        }
    }

    /// Running services have the instances they call for, all of them in the routes, and nothing else exists.
    fn instances_fit(&self) {
        let model = self.models.iter().next().unwrap();
        let mut seen = String::new();
        self.life.eventually("the instances to fit", || {
            let stored = self.life.stored_instances();
            let active = stored.iter().filter(|i| i.role == InstanceRole::Active);
            let routes = self.world.proxy.table().routes;
            let routed: usize = routes.iter().map(|route| route.upstreams.len()).sum();
            let observed = self.life.observed_instances().len();
            let counts = [active.count(), routed, observed];
            let of = |arn: &str| {
                let id = arn.rsplit('/').next();
                let own = stored.iter().filter(|i| Some(i.service.as_str()) == id);
                own.count() as u32
            };
            let unfit = model.services.iter().find(|(arn, service)| {
                let count = of(arn);
                match (service.status, &service.deployed) {
                    // What the widest configuration kept before is not given up until the load is known.
                    ("RUNNING", Some(deployed)) => {
                        let min = model.scalings[&deployed.scaling].min;
                        !(min..=MIN_SIZE_MAX).contains(&count)
                    }
                    _ => count != 0,
                }
            });
            let now = format!("{counts:?} of {} instances, {unfit:?}", stored.len());
            if now != seen {
                println!("{now}");
                seen = now;
            }
            (counts == [stored.len(); 3] && unfit.is_none()).then_some(())
        });
    }
}

/// ARNs in the answers that were not known and that no answer of a creation gives: what calls without an answer made.
fn unexplained<'a>(known: &Known, events: impl Iterator<Item = &'a Event>) -> Vec<String> {
    let (mut seen, mut explained) = (Known::default(), known.0.clone());
    for event in events {
        let Some((_, Ok(answer))) = &event.answered else {
            continue;
        };
        seen.learn(&Ok(answer.clone()));
        let (operation, _) = event.call.wire();
        if operation.starts_with("Create") {
            explained.extend(answer[0].as_str().map(str::to_owned));
        }
    }
    seen.0.difference(&explained).cloned().collect::<Vec<_>>()
}

/// The calls that read everything of one resource.
fn details(arn: &str) -> Vec<Call> {
    let kind = arn.split(':').nth(5).unwrap().split('/').next().unwrap();
    let arn = || arn.to_owned();
    let own = match kind {
        "service" => vec![
            Call::OnService("DescribeService", arn()),
            Call::OnService("ListOperations", arn()),
        ],
        "autoscalingconfiguration" => vec![
            Call::OnScaling("DescribeAutoScalingConfiguration", arn()),
            Call::OnScaling("ListServicesForAutoScalingConfiguration", arn()),
        ],
        "observabilityconfiguration" => {
            vec![Call::OnObservability(
                "DescribeObservabilityConfiguration",
                arn(),
            )]
        }
        "vpcconnector" => vec![Call::OnConnector("DescribeVpcConnector", arn())],
        _ => Vec::new(),
    };
    own.into_iter().chain([Call::ListTags(arn())]).collect()
}

/// Says which seed was played when a test fails.
struct Said(u64);

impl Drop for Said {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to play this again: {SEED}={}", self.0);
        }
    }
}

fn play(seed: u64) {
    println!("{SEED}={seed}");
    let _said = Said(seed);
    let mut play = Play::begin(seed);
    let mut most = 0;
    for _ in 0..ROUNDS {
        play = play.round();
        most = most.max(play.models.len());
    }
    let tried: BTreeSet<&str> = play.known.0.iter().map(String::as_str).collect();
    println!(
        "{} resources known at the end, at most {most} explanations",
        tried.len()
    );
    play.life.kill();
}

#[test]
fn what_clients_are_answered_at_once_is_explained_and_survives_kills() {
    let seeds = match std::env::var(SEED) {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..SEEDS).map(|_| random()).collect(),
    };
    for seed in seeds {
        play(seed);
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    Machine.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
