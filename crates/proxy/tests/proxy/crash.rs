//! The proxy or the control plane dies.

use crate::rig::client::Wire;
use crate::rig::origin::Origin;
use crate::rig::{HOST, Rig, eventually, route};
use apron_link::proxy::FromProxy;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

#[test]
fn after_a_crash_the_next_process_serves_by_the_table_on_disk() {
    let origin = Origin::saying("ok");
    let mut rig = Rig::serving(origin.address);
    let snapshot = rig.directory.path().join("routes.json");
    assert_eq!(
        std::fs::metadata(&snapshot).unwrap().permissions().mode() & 0o777,
        0o600
    );
    rig.control.unlink();
    rig.kill();
    // Nobody accepts now; the listeners hold these until somebody does.
    let mut waiting: Vec<Wire> = (0..20).map(|_| rig.plain()).collect();
    for wire in &mut waiting {
        wire.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    }
    let start = Instant::now();
    rig.start_another();
    for wire in &mut waiting {
        assert_eq!(wire.response().text(), "ok");
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "took {:?}",
        start.elapsed()
    );
    assert_eq!(rig.tls(HOST).get(HOST, "/").text(), "ok");
    // It tells the control plane by which table it serves.
    assert_eq!(rig.control.link(), 1);
}

#[test]
fn traffic_goes_on_without_the_control_plane_and_the_link_comes_back() {
    let (old, new) = (Origin::saying("old"), Origin::saying("new"));
    let mut rig = Rig::serving(old.address);
    rig.control.unlink();
    let mut wire = rig.tls(HOST);
    for _ in 0..10 {
        assert_eq!(wire.get(HOST, "/").text(), "old");
    }
    assert_eq!(rig.control.link(), 1);
    let table = rig.table(2, vec![route(&[("new", new.address)])]);
    rig.publish(table);
    assert_eq!(wire.get(HOST, "/").text(), "new");
    let answered = rig.control.expect("statistics", |message| match message {
        FromProxy::Statistics(all) => all
            .iter()
            .map(|service| service.answered[2])
            .max()
            .filter(|count| *count >= 10),
        _ => None,
    });
    assert!(answered >= 10);
}

#[test]
fn without_any_table_connections_wait() {
    let origin = Origin::saying("ok");
    let mut rig = Rig::start();
    let mut early = rig.plain();
    early.send(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"));
    assert_eq!(rig.control.link(), 0);
    let table = rig.table(1, vec![route(&[("one", origin.address)])]);
    rig.publish(table);
    assert_eq!(early.response().text(), "ok");
}

#[test]
fn over_the_bound_of_connections_the_answer_says_so() {
    let origin = Origin::saying("ok");
    let mut rig = Rig::start_with(&["--connections-max", "8"]);
    let table = rig.table(1, vec![route(&[("one", origin.address)])]);
    rig.publish(table);
    let mut held: Vec<Wire> = Vec::new();
    let mut refused = None;
    for _ in 0..9 {
        let mut wire = rig.tls(HOST);
        let response = wire.get(HOST, "/");
        match response.status {
            200 => held.push(wire),
            _ => refused = Some(response),
        }
    }
    let refused = refused.unwrap();
    assert_eq!(
        (refused.status, refused.reason()),
        (503, "too-many-connections")
    );
    held.clear();
    eventually("there is room again", || {
        rig.tls(HOST).get(HOST, "/").status == 200
    });
}

#[test]
fn statistics_add_up() {
    let origin = Origin::mirror();
    let mut rig = Rig::serving(origin.address);
    let mut wire = rig.tls(HOST);
    for _ in 0..5 {
        wire.send(format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 7\r\n\r\n1234567"
        ));
        assert_eq!(wire.response().status, 200);
    }
    let (mut answered, mut bytes_in) = (0, 0);
    while answered < 5 {
        let service = rig.control.expect("statistics", |message| match message {
            FromProxy::Statistics(all) => all.first().cloned(),
            _ => None,
        });
        assert_eq!(service.service, "service");
        answered += service.answered[2];
        bytes_in += service.bytes_in;
    }
    assert_eq!((answered, bytes_in), (5, 35));
}

#[test]
fn privileged_the_process_has_no_privileges_left() {
    let origin = Origin::saying("ok");
    let mut rig = Rig::prepare(&["--uid", "65534", "--gid", "65534"]);
    std::os::unix::fs::chown(rig.directory.path(), Some(65_534), Some(65_534)).unwrap();
    std::fs::set_permissions(
        rig.directory.path().join("link.sock"),
        PermissionsExt::from_mode(0o666),
    )
    .unwrap();
    rig.start_another();
    let table = rig.table(1, vec![route(&[("one", origin.address)])]);
    rig.publish(table);
    assert_eq!(rig.tls(HOST).get(HOST, "/").text(), "ok");
    for task in std::fs::read_dir(format!("/proc/{}/task", rig.process().id())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(field("Uid:"), "65534 65534 65534 65534");
        assert_eq!(field("Gid:"), "65534 65534 65534 65534");
        assert_eq!(field("Groups:"), "");
        assert_eq!(field("NoNewPrivs:"), "1");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
    }
}
