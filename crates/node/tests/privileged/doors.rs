//! How an instance reaches the platform, that its address is its own, and that its variables are in no file.

use crate::machine::{address, line, on_a_machine, run, run_to_end, shim_pid};
use apron_compute::{Compute, ComputeError, TokenFiles};
use apron_node::{DOORS_ADDRESS, Doors, Node};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// Longest wait for a packet.
const SOON: Duration = Duration::from_secs(30);

fn try_connect(name: &str, address: &str, port: u16) -> String {
    format!(
        "if nc -w 1 {address} {port} </dev/null >/dev/null 2>&1; then echo {name} open; else echo {name} closed; fi\n"
    )
}

/// Accepts until it is dropped; tells who came.
fn listen() -> (u16, mpsc::Receiver<IpAddr>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((_, peer)) = listener.accept() {
            if sender.send(peer.ip()).is_err() {
                return;
            }
        }
    });
    (port, receiver)
}

#[test]
fn privileged_the_platforms_doors_have_one_address_and_see_who_comes() {
    on_a_machine(async |machine| {
        let (credentials, came_for_credentials) = listen();
        let (api, came_for_api) = listen();
        let mut config = machine.config.clone();
        config.doors = Some(Doors { credentials, api });
        let node = Node::start(config, machine.store.clone(), crate::machine::clock())
            .await
            .unwrap();
        let mut events = node.subscribe();
        let gateway = machine.config.instance_network.gateway().to_string();
        let door = DOORS_ADDRESS.to_string();
        let script = [
            try_connect("credentials", &door, 80),
            try_connect("api", &door, 443),
            try_connect("other-port", &door, 8080),
            try_connect("other-address", "169.254.170.3", 80),
            try_connect("past-the-door", &gateway, credentials),
            try_connect("past-the-api-door", &gateway, api),
            "echo done; sleep 60".to_owned(),
        ]
        .concat();
        let spec = machine.script(&script);
        node.create(&spec).await.unwrap();
        let own = address(&node, &spec.id).await;
        let mut lines = Vec::new();
        while lines.last().is_none_or(|last| last != "done") {
            lines.push(line(&mut events, &spec.id).await);
        }
        assert_eq!(
            lines,
            [
                "credentials open",
                "api open",
                "other-port closed",
                "other-address closed",
                "past-the-door closed",
                "past-the-api-door closed",
                "done",
            ]
        );
        assert_eq!(came_for_credentials.try_iter().collect::<Vec<_>>(), [own]);
        assert_eq!(came_for_api.try_iter().collect::<Vec<_>>(), [own]);
    });
}

#[test]
fn privileged_nobody_sends_from_the_address_of_another() {
    on_a_machine(async |machine| {
        // The loosest setting a machine can have; the stricter one of an interface does not count then.
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "2").unwrap();
        let node = machine.node().await;
        let mut events = node.subscribe();
        // A name server on the machine is what instances may send packets to.
        run(&["ip", "addr", "add", "192.0.2.53/32", "dev", "lo"]);
        let server = UdpSocket::bind("192.0.2.53:53").unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        let victim = machine.script("echo ready; sleep 60");
        let attacker = machine.script("echo ready; sleep 60");
        for spec in [&victim, &attacker] {
            node.create(spec).await.unwrap();
            assert_eq!(line(&mut events, &spec.id).await, "ready");
        }
        let stolen = address(&node, &victim.id).await;
        let own = address(&node, &attacker.id).await;
        let shim = shim_pid(&machine.instance_directory(&attacker.id));
        let children = format!("/proc/{shim}/task/{shim}/children");
        let init = std::fs::read_to_string(children).unwrap();
        let init = init.split_whitespace().next().unwrap().to_owned();
        // Applications have no right to do this; here somebody has it.
        let sending = std::thread::spawn(move || {
            let network = std::fs::File::open(format!("/proc/{init}/ns/net")).unwrap();
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(rustix::fd::AsFd::as_fd(&network), kind)
                .unwrap();
            for address in [stolen.to_string(), "198.51.100.7".to_owned()] {
                run(&["ip", "addr", "add", &format!("{address}/32"), "dev", "lo"]);
                let socket = UdpSocket::bind((address.as_str(), 0)).unwrap();
                socket.send_to(b"spoofed", "192.0.2.53:53").unwrap();
            }
            let socket = UdpSocket::bind((own, 0)).unwrap();
            socket.send_to(b"honest", "192.0.2.53:53").unwrap();
        });
        sending.join().unwrap();
        let mut packet = [0; 16];
        let (count, from) = server.recv_from(&mut packet).unwrap();
        assert_eq!((&packet[..count], from.ip()), (&b"honest"[..], own));
    });
}

/// Files beyond this are the instances' disks, which are theirs, bytes.
const STATE_FILE_BYTES_MAX: u64 = 1 << 20;

/// Whether a file below the directory holds the text.
fn holds(directory: &Path, text: &str) -> Option<String> {
    for entry in std::fs::read_dir(directory).unwrap().filter_map(Result::ok) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            let found = holds(&path, text);
            if found.is_some() {
                return found;
            }
        } else if kind.is_file() && entry.metadata().unwrap().len() <= STATE_FILE_BYTES_MAX {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
                return Some(path.display().to_string());
            }
        }
    }
    None
}

#[test]
fn privileged_variables_reach_the_application_and_no_file_and_no_command_line() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let marker = format!("hush-{}", machine.config.name);
        let mut spec = machine.script("echo ${#HUSH}; sleep 60");
        spec.env = [("HUSH".to_owned(), marker.clone())].into();
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, marker.len().to_string());
        for directory in [&machine.config.run_dir, &machine.config.data_dir] {
            assert_eq!(holds(directory, &marker), None);
        }
        for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(!line.windows(marker.len()).any(|w| w == marker.as_bytes()));
        }
        assert!(!format!("{spec:?}").contains(&marker));
    });
}

#[test]
fn privileged_certificates_to_trust_are_a_file_of_the_instances_own() {
    on_a_machine(async |machine| {
        let bundle = machine.config.run_dir.join("bundle.pem");
        std::fs::create_dir_all(&machine.config.run_dir).unwrap();
        std::fs::write(&bundle, "a certificate\n".repeat(20_000)).unwrap();
        let mut config = machine.config.clone();
        config.trust_bundle = Some(bundle.clone());
        let node = Node::start(config, machine.store.clone(), crate::machine::clock())
            .await
            .unwrap();
        let mut events = node.subscribe();
        let path = apron_compute::TRUST_PATH;
        let look = format!(
            "if test -e {path}; then wc -c < {path}; echo more >> {path}; else echo none; fi"
        );
        let without = run_to_end(&node, &mut events, &machine.script(&look)).await;
        assert_eq!(without.text(), "none");
        let mut spec = machine.script(&look);
        spec.trusts_platform = true;
        let with = run_to_end(&node, &mut events, &spec).await;
        assert_eq!(with.text(), (14 * 20_000).to_string());
        assert_eq!(std::fs::metadata(&bundle).unwrap().len(), 14 * 20_000);
    });
}

#[test]
fn privileged_a_token_is_replaced_under_its_reader_who_cannot_write_it() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let mut spec = machine.script(
            "cd /etc/apron/identity; cat token; echo; \
             { cp token /tmp/token && mv /tmp/token token; rm token; mkdir new; mount -o remount,rw /etc/apron/identity; } 2>/dev/null; \
             ( echo x > token ) 2>/dev/null; ls; stat -c %a token; \
             while [ \"$(cat token)\" != second ]; do sleep 0.1; done; echo $(cat token)",
        );
        spec.identity_token = Some("first".to_owned());
        node.create(&spec).await.unwrap();
        for expected in ["first", "token", "644"] {
            assert_eq!(line(&mut events, &spec.id).await, expected);
        }
        // Another control plane finds the instance, and its place for tokens.
        drop((node, events));
        let node = machine.node().await;
        let mut events = node.subscribe();
        node.put_token(&spec.id, "second").await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "second");
        node.remove(&spec.id).await.unwrap();
        let gone = node.put_token(&spec.id, "third").await;
        assert!(matches!(gone, Err(ComputeError::Unknown(_))), "{gone:?}");

        // One that was made without a token has no place for one.
        let plain = machine.script("ls /etc/apron; sleep 60");
        node.create(&plain).await.unwrap();
        let refused = node.put_token(&plain.id, "token").await;
        assert!(
            matches!(refused, Err(ComputeError::Unknown(_))),
            "{refused:?}"
        );

        // An image cannot lead the mount somewhere else.
        let layer = crate::image::Layer::new().link("etc/apron/identity", "/tmp");
        let mut misled = machine.script("true");
        misled.image = machine.image(vec![layer], serde_json::json!({"Env": ["PATH=/bin"]}));
        misled.identity_token = Some("first".to_owned());
        let outcome = run_to_end(&node, &mut events, &misled).await;
        let error = outcome.exit.error.unwrap_or_default();
        assert!(error.contains("is not a directory"), "{error}");
    });
}
