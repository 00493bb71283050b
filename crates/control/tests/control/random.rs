//! Random sequences of calls by two clients, with the control plane killed in between, against a reference of what a
//! service can be: no sequence ends in a state that the calls do not explain.

use apron_compute::simulator::Behaviour;
use apron_testkit::{Life, World};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Update to this image; the last one crashes.
    Update(usize),
    Deploy,
    Pause,
    Resume,
    Delete,
}

const IMAGES: [&str; 3] = ["one", "two", "broken"];

/// One turn: a call, perhaps a second one at once by another client, perhaps a killed control plane, then rest.
#[derive(Clone, Copy, Debug)]
struct Turn {
    first: Action,
    second: Option<Action>,
    kill: bool,
}

/// What the service is while nothing happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    status: &'static str,
    image: usize,
}

impl Reference {
    /// Whether a call begins an operation, and what the service is when that has ended.
    fn after(&self, action: Action) -> Option<Reference> {
        let (status, image) = match (self.status, action) {
            ("RUNNING", Action::Update(image)) if IMAGES[image] != "broken" => ("RUNNING", image),
            ("RUNNING", Action::Update(_) | Action::Deploy) => ("RUNNING", self.image),
            ("RUNNING", Action::Pause) => ("PAUSED", self.image),
            ("PAUSED", Action::Resume) => ("RUNNING", self.image),
            ("RUNNING" | "PAUSED", Action::Delete) => ("DELETED", self.image),
            _ => return None,
        };
        Some(Reference { status, image })
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..IMAGES.len()).prop_map(Action::Update),
        1 => Just(Action::Deploy),
        2 => Just(Action::Pause),
        2 => Just(Action::Resume),
        1 => Just(Action::Delete),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    (
        action(),
        proptest::option::of(action()),
        proptest::bool::weighted(0.4),
    )
        .prop_map(|(first, second, kill)| Turn {
            first,
            second,
            kill,
        })
}

fn identifier(image: usize) -> String {
    format!("localhost:7400/app:{}", IMAGES[image])
}

/// Makes the call; whether it began an operation.
fn act(life: &Life, arn: &str, action: Action) -> bool {
    let by_arn = json!({ "ServiceArn": arn });
    let answer = match action {
        Action::Update(image) => life.update(arn, &identifier(image)),
        Action::Deploy => life.call("StartDeployment", by_arn),
        Action::Pause => life.call("PauseService", by_arn),
        Action::Resume => life.call("ResumeService", by_arn),
        Action::Delete => life.call("DeleteService", by_arn),
    };
    match answer {
        Ok(answer) => answer
            .get("OperationId")
            .is_some_and(|id| id != &Value::Null),
        Err((code, message)) => {
            let refusals = [
                "InvalidStateException",
                "InvalidRequestException",
                "ResourceNotFoundException",
            ];
            assert!(
                refusals.contains(&code.as_str()),
                "{action:?}: {code}: {message}"
            );
            false
        }
    }
}

/// What is seen of the service at rest.
fn seen(life: &Life, arn: &str) -> (String, String) {
    let status = life.settle(arn);
    let shown =
        life.describe(arn)["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"].clone();
    (status, shown.as_str().unwrap().to_owned())
}

/// At rest exactly the instances that the state calls for exist, and exactly those are routed.
fn instances_fit(world: &World, life: &Life, arn: &str, status: &str) {
    let wanted = usize::from(status == "RUNNING");
    let host = life.describe(arn)["ServiceUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    life.eventually("the instances to fit the state", || {
        let observed = life.observed_instances().len();
        let routed = world.proxy.upstreams(&host).len();
        (observed == wanted && routed == wanted && life.stored_instances().len() == wanted)
            .then_some(())
    });
}

fn play(turns: &[Turn]) {
    let world = World::new();
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
    let mut life = Life::begin(&world);
    let arn = life.create("demo", &identifier(0));
    let mut now = Reference {
        status: "RUNNING",
        image: 0,
    };
    assert_eq!(seen(&life, &arn), ("RUNNING".to_owned(), identifier(0)));
    for turn in turns {
        let mut possible = vec![now.clone()];
        for (order, action) in [Some(turn.first), turn.second]
            .into_iter()
            .flatten()
            .enumerate()
        {
            let accepted = act(&life, &arn, action);
            if order == 0 {
                assert_eq!(
                    accepted,
                    now.after(action).is_some(),
                    "{action:?} in {now:?}"
                );
            }
            if accepted {
                // The second call may come before the first one's operation has ended, or after.
                let next: Vec<_> = possible
                    .iter()
                    .filter_map(|state| state.after(action))
                    .collect();
                assert!(!next.is_empty(), "{action:?} was accepted in {now:?}");
                possible = next;
            }
        }
        if turn.kill {
            life.kill();
            life = Life::begin(&world);
        }
        let (status, image) = seen(&life, &arn);
        let fits = |state: &&Reference| state.status == status && identifier(state.image) == image;
        let Some(found) = possible.iter().find(fits) else {
            panic!(
                "after {turn:?} the service is {status} with {image}, expected one of {possible:?}"
            );
        };
        now = found.clone();
        instances_fit(&world, &life, &arn, &status);
    }
    life.kill();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 32, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_calls_and_kills_ends_in_a_broken_state(turns in proptest::collection::vec(turn(), 1..7)) {
        play(&turns);
    }
}
