//! What every operation that names a service answers in every state of the service, as a table that is held against the
//! published model: no operation is left out, and no error is answered that the model does not list for it.

use apron_aws::model::{Operation, Shape};
use apron_compute::simulator::Behaviour;
use apron_control::engine::Point;
use apron_domain::Stage;
use apron_testkit::{Life, Stop, StopAt, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OK: &str = "";
const REQUEST: &str = "InvalidRequestException";
const STATE: &str = "InvalidStateException";
const MISSING: &str = "ResourceNotFoundException";

/// The states, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    CreateFailed,
    /// An operation of this name is under way.
    Busy(&'static str),
    Deleted,
    Absent,
}

const STATES: [State; 11] = [
    State::Running,
    State::Paused,
    State::CreateFailed,
    State::Busy("CreateService"),
    State::Busy("UpdateService"),
    State::Busy("StartDeployment"),
    State::Busy("PauseService"),
    State::Busy("ResumeService"),
    State::Busy("DeleteService"),
    State::Deleted,
    State::Absent,
];

impl State {
    fn column(self) -> usize {
        match self {
            State::Running => 0,
            State::Paused => 1,
            State::CreateFailed => 2,
            State::Busy(_) => 3,
            State::Deleted => 4,
            State::Absent => 5,
        }
    }
}

/// The error's code, or that there is none, in the states running, paused, creation failed, busy, deleted, absent.
const TABLE: [(&str, [&str; 6]); 14] = [
    (
        "AssociateCustomDomain",
        [REQUEST, STATE, STATE, STATE, REQUEST, REQUEST],
    ),
    (
        "CreateVpcIngressConnection",
        [REQUEST, STATE, STATE, STATE, REQUEST, REQUEST],
    ),
    ("DeleteService", [OK, OK, OK, STATE, MISSING, MISSING]),
    ("DescribeCustomDomains", [OK, OK, OK, OK, OK, MISSING]),
    ("DescribeService", [OK, OK, OK, OK, OK, MISSING]),
    (
        "DisassociateCustomDomain",
        [MISSING, STATE, STATE, STATE, MISSING, MISSING],
    ),
    ("ListOperations", [OK, OK, OK, OK, OK, MISSING]),
    ("ListTagsForResource", [OK, OK, OK, OK, MISSING, MISSING]),
    ("PauseService", [OK, OK, STATE, STATE, MISSING, MISSING]),
    ("ResumeService", [OK, OK, STATE, STATE, MISSING, MISSING]),
    (
        "StartDeployment",
        [OK, REQUEST, REQUEST, REQUEST, MISSING, MISSING],
    ),
    ("TagResource", [OK, OK, OK, OK, MISSING, MISSING]),
    ("UntagResource", [OK, OK, OK, OK, MISSING, MISSING]),
    ("UpdateService", [OK, STATE, OK, STATE, MISSING, MISSING]),
];

/// Whether an operation's input names a service at its top.
fn names_a_service(operation: &Operation) -> bool {
    let model = apron_aws::model::apprunner();
    let input = operation.input.as_ref().map(|name| model.shape(name));
    let Some(Shape::Structure(input)) = input else {
        return false;
    };
    let names = |member: &str| input.members.contains_key(member);
    names("ServiceArn") || names("ResourceArn")
}

fn input(operation: &str, arn: &str) -> Value {
    match operation {
        "TagResource" => json!({ "ResourceArn": arn, "Tags": [{ "Key": "a", "Value": "b" }] }),
        "UntagResource" => json!({ "ResourceArn": arn, "TagKeys": ["a"] }),
        "ListTagsForResource" => json!({ "ResourceArn": arn }),
        "UpdateService" => json!({ "ServiceArn": arn, "SourceConfiguration": { "ImageRepository": {
            "ImageIdentifier": "localhost:7400/app:v1", "ImageRepositoryType": "ECR" } } }),
        _ => json!({ "ServiceArn": arn, "DomainName": "www.example.com",
            "VpcIngressConnectionName": "inner", "IngressVpcConfiguration": {} }),
    }
}

/// Operations after which a service is another.
fn changes(operation: &str) -> bool {
    let changing = [
        "DeleteService",
        "PauseService",
        "ResumeService",
        "StartDeployment",
        "UpdateService",
    ];
    changing.contains(&operation)
}

/// A service in a state, with the control plane that keeps it there.
fn prepared(world: &World, state: State) -> (Life, String) {
    world.push("app", "v1", "one");
    let broken = world.push("app", "broken", "two");
    let crash = Behaviour::Crash {
        code: 1,
        line: "no".to_owned(),
    };
    world.instances.script(&broken, crash);
    let life = Life::begin(world);
    let make = |tag: &str| {
        let arn = life.create("demo", &format!("localhost:7400/app:{tag}"));
        life.settle(&arn);
        arn
    };
    let end = |arn: &str, operation: &str| {
        life.call(operation, input(operation, arn)).unwrap();
        life.settle(arn);
    };
    let arn = match state {
        State::Absent => {
            let nobody = "0".repeat(32);
            format!("arn:aws:apprunner:us-east-1:111122223333:service/demo/{nobody}")
        }
        State::Busy("CreateService") => String::new(),
        State::CreateFailed => make("broken"),
        _ => make("v1"),
    };
    match state {
        State::Paused | State::Busy("ResumeService") => end(&arn, "PauseService"),
        State::Deleted => end(&arn, "DeleteService"),
        _ => {}
    }
    match state {
        State::Busy(operation) => {
            life.kill();
            held(world, operation, arn)
        }
        _ => (life, arn),
    }
}

/// Begins an operation and holds it before its end.
fn held(world: &World, operation: &str, arn: String) -> (Life, String) {
    let stop = StopAt::new(Stop {
        stage: Stage::Finish,
        point: Point::BeforeStep,
    });
    let life = Life::begin_watched(world, stop);
    let arn = match operation {
        "CreateService" => life.create("demo", "localhost:7400/app:v1"),
        _ => {
            life.call(operation, input(operation, &arn)).unwrap();
            arn
        }
    };
    life.wait_for_stop();
    (life, arn)
}

/// What the service is, for the eyes of a test that nothing changes it.
fn everything(life: &Life, arn: &str) -> Value {
    let reads = ["DescribeService", "ListOperations", "ListTagsForResource"];
    let read = |operation: &&str| life.call(operation, input(operation, arn)).ok();
    json!(reads.iter().map(read).collect::<Vec<_>>())
}

fn answered(life: &Life, state: State, operation: &str, arn: &str, expected: &str) {
    let answer = life.call(operation, input(operation, arn));
    let code = answer.map_or_else(|(code, _)| code, |_| OK.to_owned());
    assert_eq!(code, expected, "{operation} in the state {state:?}");
}

#[test]
fn every_operation_on_a_service_answers_as_its_state_allows() {
    for state in STATES {
        let world = World::new();
        let (life, arn) = prepared(&world, state);
        let (changing, harmless): (Vec<_>, Vec<_>) = TABLE
            .iter()
            .map(|(operation, codes)| (*operation, codes[state.column()]))
            .partition(|(operation, code)| *code == OK && changes(operation));
        let before = everything(&life, &arn);
        for (operation, code) in harmless {
            answered(&life, state, operation, &arn, code);
        }
        // The tag that was added is taken away by the row after it.
        assert_eq!(everything(&life, &arn), before, "{state:?}");
        life.kill();
        for (operation, code) in changing {
            let world = World::new();
            let (life, arn) = prepared(&world, state);
            answered(&life, state, operation, &arn, code);
            life.settle(&arn);
            life.kill();
        }
    }
}

#[test]
fn the_table_has_every_operation_and_only_errors_that_the_model_lists() {
    let operations = &apron_aws::model::apprunner().operations;
    let of_services = operations
        .iter()
        .filter(|(_, operation)| names_a_service(operation));
    let wanted: BTreeSet<&str> = of_services.map(|(name, _)| name.as_str()).collect();
    let listed: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, wanted);
    for (name, codes) in TABLE {
        let errors = &operations[name].errors;
        for code in codes.iter().filter(|code| **code != OK) {
            assert!(
                errors.iter().any(|e| e == code),
                "{name} does not list {code}"
            );
        }
    }
}
