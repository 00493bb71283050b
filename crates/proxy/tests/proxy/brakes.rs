//! Instances without requests have their processor taken away, and have it back before they get one.

use crate::rig::origin::{Origin, respond};
use crate::rig::{HOST, Rig, eventually, route};
use apron_link::proxy::{FromProxy, Route, ToProxy};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};

/// A file in the place of a control group's.
struct Brake {
    path: PathBuf,
}

impl Brake {
    fn new(rig: &Rig, name: &str) -> Brake {
        let path = rig.directory.path().join(name);
        std::fs::write(&path, "????").unwrap();
        Brake { path }
    }

    fn hand_over(&self, rig: &mut Rig, instance: &str) {
        let file = File::options().write(true).open(&self.path).unwrap();
        let brake = ToProxy::Brake {
            instance: instance.into(),
            idle: "idle".into(),
            busy: "busy".into(),
        };
        rig.control.send_with_file(&brake, &file);
    }

    fn says(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    fn comes_to_say(&self, what: &str) {
        eventually(&format!("the brake says {what}"), || self.says() == what);
    }
}

fn throttled(origin: &Origin) -> Route {
    Route {
        throttle_idle: true,
        ..route(&[("one", origin.address)])
    }
}

/// An application that answers with what its brake says.
fn telling(path: PathBuf) -> Origin {
    Origin::http(move |_, stream| respond(stream, &std::fs::read(&path).unwrap()))
}

fn start(name: &str) -> (Rig, Brake, Origin) {
    let mut rig = Rig::start();
    let brake = Brake::new(&rig, name);
    let origin = telling(brake.path.clone());
    let table = rig.table(1, vec![throttled(&origin)]);
    rig.publish(table);
    (rig, brake, origin)
}

#[test]
fn an_idle_instance_is_braked_and_wakes_before_its_request() {
    let (mut rig, brake, _origin) = start("brake");
    brake.hand_over(&mut rig, "one");
    // What it was before nobody knows.
    brake.comes_to_say("busy");
    for _ in 0..3 {
        brake.comes_to_say("idle");
        assert_eq!(rig.plain().get(HOST, "/").text(), "busy");
    }
    brake.comes_to_say("idle");
    // The service's instances keep their processor from now on.
    let origin = telling(brake.path.clone());
    let table = rig.table(2, vec![route(&[("one", origin.address)])]);
    rig.publish(table);
    brake.comes_to_say("busy");
}

#[test]
fn no_request_meets_a_braked_instance() {
    let (mut rig, brake, _origin) = start("brake");
    brake.hand_over(&mut rig, "one");
    let (dial, barrier) = (rig.dial(), Barrier::new(5));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut wire = dial.plain();
                for _ in 0..3 {
                    barrier.wait();
                    for _ in 0..50 {
                        assert_eq!(wire.get(HOST, "/").text(), "busy");
                    }
                }
            });
        }
        for _ in 0..3 {
            brake.comes_to_say("idle");
            barrier.wait();
        }
    });
}

#[test]
fn a_long_request_holds_the_brake_off() {
    let release = Arc::new(AtomicUsize::new(0));
    let held = Arc::clone(&release);
    let origin = Origin::http(move |_, stream| {
        eventually("it may go on", || held.load(SeqCst) > 0);
        respond(stream, b"ok")
    });
    let mut rig = Rig::start();
    let brake = Brake::new(&rig, "brake");
    let other = Brake::new(&rig, "other");
    let route = Route {
        upstreams: [
            &route(&[("one", origin.address)]).upstreams[..],
            &route(&[("two", origin.address)]).upstreams[..],
        ]
        .concat(),
        ..throttled(&origin)
    };
    let table = rig.table(1, vec![route]);
    rig.publish(table);
    let mut wires = [rig.plain(), rig.plain()];
    wires[0].send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    eventually("it is under way", || origin.busy.load(SeqCst) == 1);
    brake.hand_over(&mut rig, "one");
    other.hand_over(&mut rig, "two");
    // One of them has the request; only the other one's brake is put on.
    eventually("one is braked", || {
        brake.says() == "idle" || other.says() == "idle"
    });
    let (busy, idle) = match brake.says().as_str() {
        "busy" => (&brake, &other),
        _ => (&other, &brake),
    };
    assert_eq!(
        (busy.says().as_str(), idle.says().as_str()),
        ("busy", "idle")
    );
    // The next request goes to the one without requests, which wakes.
    wires[1].send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    idle.comes_to_say("busy");
    release.store(1, SeqCst);
    for wire in &mut wires {
        assert_eq!(wire.response().text(), "ok");
    }
    brake.comes_to_say("idle");
    other.comes_to_say("idle");
}

#[test]
fn brakes_are_given_up_when_the_link_ends_or_the_instance_leaves_or_the_process_retires() {
    let (mut rig, brake, origin) = start("brake");
    brake.hand_over(&mut rig, "one");
    brake.comes_to_say("idle");
    rig.control.unlink();
    brake.comes_to_say("busy");
    rig.control.link();
    brake.hand_over(&mut rig, "one");
    brake.comes_to_say("idle");
    rig.change(1, vec![route(&[])]);
    assert_eq!(brake.says(), "busy");
    // A brake that comes before its instance does.
    let early = Brake::new(&rig, "early");
    early.hand_over(&mut rig, "one");
    early.comes_to_say("busy");
    rig.change(2, vec![throttled(&origin)]);
    early.comes_to_say("idle");
    rig.control.send(&ToProxy::Retire { within_ms: 10_000 });
    assert!(rig.process().wait().unwrap().success());
    assert_eq!(early.says(), "busy");
}

#[test]
fn a_brake_without_its_file_ends_the_link() {
    let (mut rig, _brake, _origin) = start("brake");
    rig.control.send(&ToProxy::Brake {
        instance: "one".into(),
        idle: "idle".into(),
        busy: "busy".into(),
    });
    assert_eq!(rig.control.link(), 1);
    let hello = |message: &FromProxy| matches!(message, FromProxy::Hello { .. });
    assert!(!rig.control.comes_within(std::time::Duration::ZERO, hello));
}
