//! Clients: what they know, what they try, and the record of it.

use super::call::{Answer, Call, PREFIX};
use super::order::Event;
use apron_testkit::Line;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

/// The largest `MinSize` that is tried.
pub const MIN_SIZE_MAX: u32 = 2;

/// Numbers from a seed (splitmix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Dice of their own for somebody else.
    pub fn split(&mut self) -> Dice {
        Dice(self.next())
    }
}

/// The ARNs a client knows.
#[derive(Clone, Debug, Default)]
pub struct Known(pub BTreeSet<String>);

impl Known {
    /// One of this kind, or now and then one that does not exist.
    fn arn(&self, dice: &mut Dice, kind: &str) -> String {
        let of_kind = format!(":{kind}/");
        let known: Vec<&String> = self.0.iter().filter(|arn| arn.contains(&of_kind)).collect();
        match known.is_empty() || dice.once_in(25) {
            true => format!("{PREFIX}:{kind}/ghost/1/{}", "0".repeat(32)),
            false => known[dice.below(known.len())].clone(),
        }
    }

    /// Every ARN in an answer.
    pub fn learn(&mut self, answer: &Answer) {
        if let Ok(seen) = answer {
            self.learn_from(seen);
        }
    }

    fn learn_from(&mut self, seen: &Value) {
        match seen {
            Value::String(text) if text.starts_with("arn:") => {
                self.0.insert(text.clone());
            }
            Value::Array(list) => list.iter().for_each(|one| self.learn_from(one)),
            _ => {}
        }
    }
}

/// The next call.
pub fn call(dice: &mut Dice, known: &Known) -> Call {
    let kind = match known.0.iter().any(|arn| arn.contains(":service/")) {
        true => dice.below(100),
        // Without a service there is little to try.
        false => 0,
    };
    match kind {
        0..12 => create_service(dice, known),
        12..26 => update_service(dice, known),
        26..60 => on_service(dice, known),
        60..80 => on_scalings(dice, known),
        80..90 => on_others(dice, known),
        _ => on_tags(dice, known),
    }
}

fn service(dice: &mut Dice, known: &Known) -> String {
    known.arn(dice, "service")
}

fn scaling(dice: &mut Dice, known: &Known) -> String {
    known.arn(dice, "autoscalingconfiguration")
}

fn tag(dice: &mut Dice) -> (String, String) {
    let key = dice.one_of(&["team", "cost", "apron:request-timeout"]);
    (key.to_owned(), dice.one_of(&["30s", "blue"]).to_owned())
}

fn image(dice: &mut Dice) -> usize {
    dice.one_of(&[0, 0, 1, 1, 2])
}

fn create_service(dice: &mut Dice, known: &Known) -> Call {
    Call::CreateService {
        name: dice.one_of(&["svc0", "svc1", "svc2", "svc3"]).to_owned(),
        image: image(dice),
        scaling: dice.once_in(2).then(|| scaling(dice, known)),
        tag: dice.once_in(3).then(|| tag(dice)),
    }
}

fn update_service(dice: &mut Dice, known: &Known) -> Call {
    Call::UpdateService {
        arn: service(dice, known),
        image: (!dice.once_in(4)).then(|| image(dice)),
        scaling: dice.once_in(3).then(|| scaling(dice, known)),
    }
}

fn on_service(dice: &mut Dice, known: &Known) -> Call {
    let arn = service(dice, known);
    let operation = dice.one_of(&[
        "DescribeService",
        "DescribeService",
        "PauseService",
        "PauseService",
        "ResumeService",
        "ResumeService",
        "DeleteService",
        "StartDeployment",
        "RollbackService",
        "RollbackService",
        "CancelOperation",
        "CancelOperation",
        "ListOperations",
        "DescribeOperation",
        "DescribeCustomDomains",
        "ListServices",
        "AssociateCustomDomain",
        "DisassociateCustomDomain",
        "CreateVpcIngressConnection",
        "DescribeVpcIngressConnection",
        "UpdateVpcIngressConnection",
        "DeleteVpcIngressConnection",
        "ListVpcIngressConnections",
    ]);
    match operation {
        "ListServices" => Call::ListServices,
        "AssociateCustomDomain" => Call::AssociateDomain(arn),
        "DisassociateCustomDomain" => Call::DisassociateDomain(arn),
        "CreateVpcIngressConnection" => Call::CreateIngress(arn),
        "ListVpcIngressConnections" => Call::ListIngress,
        ingress if ingress.ends_with("VpcIngressConnection") => Call::OnIngress(ingress),
        operation => Call::OnService(operation, arn),
    }
}

fn on_scalings(dice: &mut Dice, known: &Known) -> Call {
    let name = dice.one_of(&["slow", "fast"]).to_owned();
    match dice.below(10) {
        0..3 => Call::CreateScaling {
            name,
            min: dice.one_of(&[1, 1, MIN_SIZE_MAX]),
            max: dice.one_of(&[1, 4, 4]),
        },
        3 => Call::DeleteScalings(name),
        4 => Call::ListScalings {
            latest_only: dice.once_in(2),
        },
        _ => {
            let operation = dice.one_of(&[
                "DescribeAutoScalingConfiguration",
                "DeleteAutoScalingConfiguration",
                "DeleteAutoScalingConfiguration",
                "UpdateDefaultAutoScalingConfiguration",
                "ListServicesForAutoScalingConfiguration",
            ]);
            Call::OnScaling(operation, scaling(dice, known))
        }
    }
}

fn on_others(dice: &mut Dice, known: &Known) -> Call {
    let name = dice.one_of(&["left", "right"]).to_owned();
    let observability = known.arn(dice, "observabilityconfiguration");
    let connection = known.arn(dice, "connection");
    let connector = known.arn(dice, "vpcconnector");
    match dice.below(12) {
        0 => Call::CreateObservability(name),
        1 => Call::CreateObservability("DefaultConfiguration".to_owned()),
        2 => Call::OnObservability("DescribeObservabilityConfiguration", observability),
        3 => Call::OnObservability("DeleteObservabilityConfiguration", observability),
        4 => Call::ListObservabilities {
            latest_only: dice.once_in(2),
        },
        5 => Call::CreateConnection(name),
        6 => Call::OnConnection("DeleteConnection", connection),
        7 => Call::OnConnection("CompleteConnection", connection),
        8 => Call::ListConnections,
        9 => Call::CreateConnector(name),
        10 => Call::OnConnector(
            dice.one_of(&["DescribeVpcConnector", "DeleteVpcConnector"]),
            connector,
        ),
        _ => Call::ListConnectors,
    }
}

fn on_tags(dice: &mut Dice, known: &Known) -> Call {
    let kind = dice.one_of(&[
        "service",
        "autoscalingconfiguration",
        "observabilityconfiguration",
        "connection",
        "vpcconnector",
    ]);
    let arn = known.arn(dice, kind);
    let (key, value) = tag(dice);
    match dice.below(3) {
        0 => Call::Tag { arn, key, value },
        1 => Call::Untag { arn, key },
        _ => Call::ListTags(arn),
    }
}

/// One clock of all clients: every reading is another.
#[derive(Default)]
pub struct Ticks(AtomicU64);

impl Ticks {
    fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// Makes a call and records it.
pub fn make(line: &Line, ticks: &Ticks, call: Call) -> Event {
    let (operation, input) = call.wire();
    let made = ticks.now();
    let answer = line.call(operation, input);
    let answered = answer.map(|answer| (ticks.now(), call.seen(answer)));
    Event {
        call,
        made,
        answered,
    }
}

/// A client makes its calls, one after the other, until an answer stays out. Each is announced before it is made.
pub fn run(
    line: &Line,
    ticks: &Ticks,
    mut dice: Dice,
    mut known: Known,
    calls: usize,
    announce: &Sender<()>,
) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..calls {
        let call = call(&mut dice, &known);
        // Nobody listens where the control plane is not to be killed.
        let _ = announce.send(());
        let event = make(line, ticks, call);
        let answer = event.answered.as_ref().map(|(_, answer)| answer.clone());
        events.push(event);
        match answer {
            Some(answer) => known.learn(&answer),
            None => break,
        }
    }
    events
}
