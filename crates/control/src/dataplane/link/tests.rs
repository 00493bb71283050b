//! Proxies that connect, acknowledge, fall behind and go, against the real socket.

use super::*;
use apron_compute::InstanceSpec;
use apron_compute::simulator::Simulator;
use apron_domain::{Digest, InstanceId, ServiceId};
use apron_link::frame::{Decoder, encode};
use apron_link::proxy::{Draining, FromProxy, Route, RouteTable, ToProxy, Upstream, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longest wait for something that must come.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A proxy that does as its test says.
struct Proxy {
    stream: UnixStream,
    decoder: Decoder,
    table: RouteTable,
}

impl Proxy {
    async fn connect(path: &Path, pid: u32, table: RouteTable) -> Proxy {
        let hello = FromProxy::Hello {
            version: VERSION,
            pid,
            generation: table.generation,
        };
        let mut proxy = Proxy {
            stream: UnixStream::connect(path).await.unwrap(),
            decoder: Decoder::default(),
            table,
        };
        proxy.send(&hello).await;
        assert_eq!(
            proxy.next().await,
            Some(ToProxy::Welcome { version: VERSION })
        );
        proxy
    }

    async fn send(&mut self, message: &FromProxy) {
        let bytes = encode(message).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn next(&mut self) -> Option<ToProxy> {
        let mut buffer = vec![0; 4096];
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return Some(message);
            }
            let read = tokio::time::timeout(WAIT_MAX, self.stream.read(&mut buffer)).await;
            match read.unwrap() {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.push(&buffer[..count]),
            }
        }
    }

    /// Takes the next table in; answers whether it came whole.
    async fn follow(&mut self) -> bool {
        match self.next().await {
            Some(ToProxy::Routes(table)) => {
                assert!(table.generation > 0);
                self.table = table;
                true
            }
            Some(ToProxy::Change(change)) => {
                assert_eq!(change.base, self.table.generation);
                self.table.apply(&change);
                self.table.routes.sort_by(|a, b| a.service.cmp(&b.service));
                false
            }
            other => panic!("expected a table, got {other:?}"),
        }
    }

    async fn acknowledge(&mut self, draining: &[&str]) {
        let draining = draining.iter().map(|instance| Draining {
            instance: (*instance).to_owned(),
            outstanding: 1,
        });
        let applied = FromProxy::Applied {
            generation: self.table.generation,
            draining: draining.collect(),
        };
        self.send(&applied).await;
    }
}

struct Stage {
    link: Arc<ProxyLink>,
    told: Told,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link.sock");
        let uid = rustix::process::getuid().as_raw();
        let (link, told) = ProxyLink::listen(&path, uid).unwrap();
        Stage {
            link,
            told,
            path,
            _dir: dir,
        }
    }

    fn begin(&self) -> u64 {
        self.link.put(Update::Whole {
            routes: vec![route("a", &["a1"])],
            certificates: Vec::new(),
        })
    }

    async fn connect(&self, pid: u32) -> Proxy {
        Proxy::connect(&self.path, pid, RouteTable::default()).await
    }

    fn table(&self) -> RouteTable {
        self.link.state().board.table().unwrap()
    }

    async fn until(&mut self, wanted: News) {
        while tokio::time::timeout(WAIT_MAX, self.told.news.recv())
            .await
            .unwrap()
            != Some(wanted.clone())
        {}
    }

    /// Waits until a table is acknowledged.
    async fn in_force(&self, generation: u64) {
        let waited = tokio::time::timeout(WAIT_MAX, self.link.in_force(generation)).await;
        waited.unwrap().unwrap();
    }
}

fn route(service: &str, instances: &[&str]) -> Route {
    let upstream = |instance: &&str| Upstream {
        instance: (*instance).to_owned(),
        address: "10.0.0.1:8080".parse().unwrap(),
    };
    Route {
        service: service.to_owned(),
        upstreams: instances.iter().map(upstream).collect(),
        ..Route::default()
    }
}

fn put(link: &ProxyLink, service: &str, instances: &[&str]) -> u64 {
    link.put(Update::Service {
        service: service.to_owned(),
        route: Some(route(service, instances)),
    })
}

#[tokio::test]
async fn the_table_comes_whole_first_and_then_in_changes() {
    let stage = Stage::new();
    let mut proxy = stage.connect(1).await;
    // Before there is a table, a connected proxy is told nothing.
    let first = stage.begin();
    assert!(proxy.follow().await);
    proxy.acknowledge(&[]).await;
    stage.in_force(first).await;
    for count in 0..5 {
        let number = put(&stage.link, "b", &["b1", "b2"][..count % 2]);
        assert!(!proxy.follow().await);
        assert_eq!(proxy.table, stage.table());
        proxy.acknowledge(&[]).await;
        stage.in_force(number).await;
    }
}

#[tokio::test]
async fn changes_that_wait_for_an_acknowledgement_are_one() {
    let stage = Stage::new();
    stage.begin();
    let mut proxy = stage.connect(1).await;
    assert!(proxy.follow().await);
    let mut number = 0;
    for index in 0..100 {
        number = put(&stage.link, &format!("s{index}"), &["x"]);
    }
    proxy.acknowledge(&[]).await;
    assert!(!proxy.follow().await);
    assert_eq!(proxy.table, stage.table());
    assert_eq!(proxy.table.routes.len(), 101);
    proxy.acknowledge(&[]).await;
    stage.in_force(number).await;
}

#[tokio::test]
async fn a_proxy_that_comes_back_gets_the_whole_table_with_a_higher_number_than_its_own() {
    let mut stage = Stage::new();
    stage.begin();
    let mut proxy = stage.connect(1).await;
    assert!(proxy.follow().await);
    proxy.acknowledge(&[]).await;
    // A change it cannot base on anything: it closes the connection, as the message says.
    put(&stage.link, "b", &["b1"]);
    assert!(matches!(proxy.next().await, Some(ToProxy::Change(_))));
    drop(proxy);
    stage.until(News::Disconnected { pid: 1 }).await;
    assert!(stage.link.busy("a1") && stage.link.busy("gone"));
    let former = RouteTable {
        generation: 1_000,
        ..RouteTable::default()
    };
    let mut proxy = Proxy::connect(&stage.path, 2, former).await;
    assert!(proxy.follow().await);
    assert!(proxy.table.generation > 1_000);
    assert_eq!(proxy.table, stage.table());
    proxy.acknowledge(&[]).await;
    stage.in_force(proxy.table.generation).await;
    assert!(!stage.link.busy("gone"));
}

#[tokio::test]
async fn an_instance_is_busy_until_every_proxy_said_it_is_not() {
    let stage = Stage::new();
    stage.begin();
    let mut old = stage.connect(1).await;
    assert!(old.follow().await);
    old.acknowledge(&[]).await;
    let mut new = stage.connect(2).await;
    assert!(new.follow().await);
    new.acknowledge(&[]).await;
    assert!(stage.link.busy("a1"));
    stage.link.retire(1, Duration::from_millis(700));
    assert_eq!(old.next().await, Some(ToProxy::Retire { within_ms: 700 }));
    let number = put(&stage.link, "a", &["a2"]);
    assert!(!new.follow().await);
    new.acknowledge(&[]).await;
    // The retiring proxy's acknowledgement is not waited for, but what it may use is not ended.
    stage.in_force(number).await;
    assert!(stage.link.busy("a1"));
    assert!(!old.follow().await);
    old.acknowledge(&["a1"]).await;
    let heard = || stage.link.state().sessions.followed_by_all() >= number;
    eventually(&stage.link, heard).await;
    assert!(stage.link.busy("a1"));
    let drained = FromProxy::Drained {
        instance: "a1".to_owned(),
    };
    old.send(&drained).await;
    // The next acknowledgement is read behind it.
    put(&stage.link, "b", &[]);
    assert!(!old.follow().await);
    old.acknowledge(&[]).await;
    assert!(!new.follow().await);
    new.acknowledge(&[]).await;
    eventually(&stage.link, || !stage.link.busy("a1")).await;
}

/// Looks at every progress until it is so.
async fn eventually(link: &ProxyLink, is_so: impl Fn() -> bool) {
    let mut progress = link.progress.subscribe();
    let reached = progress.wait_for(|_| is_so());
    tokio::time::timeout(WAIT_MAX, reached)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_proxy_that_is_asked_to_retire_before_it_connects_is_told_then() {
    let stage = Stage::new();
    stage.begin();
    stage.link.retire(1, Duration::from_millis(900));
    let mut proxy = stage.connect(1).await;
    assert_eq!(proxy.next().await, Some(ToProxy::Retire { within_ms: 900 }));
    assert!(proxy.follow().await);
}

#[tokio::test]
async fn a_proxy_of_another_version_is_refused() {
    let stage = Stage::new();
    stage.begin();
    let mut proxy = Proxy {
        stream: UnixStream::connect(&stage.path).await.unwrap(),
        decoder: Decoder::default(),
        table: RouteTable::default(),
    };
    let hello = FromProxy::Hello {
        version: VERSION + 1,
        pid: 1,
        generation: 0,
    };
    proxy.send(&hello).await;
    let welcome = ToProxy::Welcome { version: VERSION };
    assert_eq!(proxy.next().await, Some(welcome));
    assert_eq!(proxy.next().await, None);
}

/// A route of one instance whose processor is taken away while it has no requests.
fn throttled(service: &str, instance: &InstanceId) -> Update {
    Update::Service {
        service: service.to_owned(),
        route: Some(Route {
            throttle_idle: true,
            ..route(service, &[instance.as_str()])
        }),
    }
}

/// An instance of the simulator that runs.
async fn instance(compute: &Simulator, number: u8) -> InstanceId {
    let image = Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
    let spec = InstanceSpec {
        id: InstanceId::from_random([number; 16]),
        service: ServiceId::from_random([1; 16]),
        service_name: "web".to_owned(),
        revision: 1,
        image: image.clone(),
        start_command: None,
        env: Default::default(),
        defaults: Default::default(),
        trusts_platform: false,
        identity_token: None,
        port: 8080,
        cpu_millis: 250,
        memory_bytes: 1 << 20,
        pids_max: 10,
        disk_bytes: 1 << 20,
        class: apron_compute::InstanceClass::Service,
    };
    compute.prepare(&image).await.unwrap();
    compute.create(&spec).await.unwrap();
    spec.id
}

impl Proxy {
    /// Takes a brake: the message, and the file that its last byte carries.
    async fn brake(&mut self) -> (String, std::fs::File) {
        use rustix::net::{
            RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg,
        };
        let (mut files, mut message) = (Vec::new(), None);
        while message.is_none() {
            let mut bytes = [0; 4096];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let readable = tokio::time::timeout(WAIT_MAX, self.stream.readable()).await;
            readable.unwrap().unwrap();
            let received = self.stream.try_io(tokio::io::Interest::READABLE, || {
                let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
                let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
                Ok(recvmsg(&self.stream, &mut parts, &mut control, flags)?)
            });
            let Ok(received) = received else { continue };
            assert!(!received.flags.contains(ReturnFlags::CTRUNC));
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = part {
                    files.extend(received);
                }
            }
            self.decoder.push(&bytes[..received.bytes]);
            message = self.decoder.next::<ToProxy>().unwrap();
        }
        assert_eq!(files.len(), 1);
        match message {
            Some(ToProxy::Brake { instance, .. }) => (instance, files.remove(0).into()),
            other => panic!("expected a brake, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_proxy_gets_brakes_and_what_it_leaves_braked_is_released() {
    let mut stage = Stage::new();
    let compute = Arc::new(Simulator::new());
    let (one, two) = (instance(&compute, 1).await, instance(&compute, 2).await);
    stage.begin();
    stage.link.put(throttled("b", &one));
    stage.link.brake_by(compute.clone()).await;
    // What a former proxy may have left.
    assert_eq!(compute.braked(&one), "b");
    let mut proxy = stage.connect(1).await;
    assert!(proxy.follow().await);
    proxy.acknowledge(&[]).await;
    let (braked, mut file) = proxy.brake().await;
    assert_eq!(braked, one.as_str());
    std::io::Write::write_all(&mut file, b"i").unwrap();
    assert_eq!(compute.braked(&one), "bi");
    // Another instance in its place: its brake comes, the other's is released.
    stage.link.put(throttled("b", &two));
    assert!(!proxy.follow().await);
    proxy.acknowledge(&[]).await;
    assert_eq!(proxy.brake().await.0, two.as_str());
    assert_eq!(compute.braked(&one), "bib");
    let before = compute.braked(&two).len();
    drop(proxy);
    stage.until(News::Disconnected { pid: 1 }).await;
    // The next one gets its brakes in order, behind the release.
    let mut proxy = stage.connect(2).await;
    assert!(proxy.follow().await);
    proxy.acknowledge(&[]).await;
    assert_eq!(proxy.brake().await.0, two.as_str());
    let released = || compute.braked(&two).len() > before;
    let deadline = std::time::Instant::now() + WAIT_MAX;
    while !released() {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_alone_gets_its_brakes_when_it_is() {
    let mut stage = Stage::new();
    let compute = Arc::new(Simulator::new());
    let one = instance(&compute, 1).await;
    stage.begin();
    stage.link.put(throttled("b", &one));
    stage.link.brake_by(compute.clone()).await;
    let mut old = stage.connect(1).await;
    assert!(old.follow().await);
    stage.link.expect(2);
    let mut new = stage.connect(2).await;
    assert!(new.follow().await);
    new.acknowledge(&[]).await;
    old.acknowledge(&[]).await;
    let change = put(&stage.link, "c", &[]);
    for proxy in [&mut old, &mut new] {
        // A change and no brake.
        assert!(!proxy.follow().await);
        proxy.acknowledge(&[]).await;
    }
    stage.in_force(change).await;
    drop(old);
    stage.until(News::Disconnected { pid: 1 }).await;
    assert_eq!(new.brake().await.0, one.as_str());
}
