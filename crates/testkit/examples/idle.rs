//! What the control plane costs while nothing happens to 10,000 services, of which 1,000 run an instance each, and what
//! one change costs then: `cargo run --release -p apron-testkit --example idle`. The instances are simulated.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use apron_compute::{Compute, InstanceSpec};
use apron_domain::{Instance, InstanceId, Operation, OperationId, Service, ServiceId};
use apron_store::Store;
use apron_testkit::{Life, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SERVICES: u32 = 10_000;
const RUNNING: u32 = 1_000;
const WOKEN: u32 = 100;
const IDLE: Duration = Duration::from_secs(20);

fn main() {
    let world = World::new();
    world.push("app", "v1", "one");
    make(&world);
    let (begun, before) = (Instant::now(), processor_ms());
    let life = Life::begin(&world);
    let routed = |count: u32| {
        let routes = world.proxy.table().routes;
        let with_instance = routes.iter().filter(|r| !r.upstreams.is_empty());
        (with_instance.count() >= count as usize).then_some(())
    };
    life.eventually("the routes", || routed(RUNNING));
    println!(
        "start: {} ms, {} ms of processor time",
        begun.elapsed().as_millis(),
        processor_ms() - before
    );
    // The first probes of what was found running.
    std::thread::park_timeout(Duration::from_secs(5));
    let before = processor_ms();
    std::thread::park_timeout(IDLE);
    let idle = (processor_ms() - before) as f64 / IDLE.as_millis() as f64;
    println!(
        "idle: {:.2} % of a processor, {} probes a second among it",
        idle * 100.0,
        RUNNING / 5
    );
    let (begun, before) = (Instant::now(), processor_ms());
    for number in RUNNING..RUNNING + WOKEN {
        world.proxy.want(id(number).as_str(), 0, 1);
    }
    life.eventually("the woken services", || routed(RUNNING + WOKEN));
    println!(
        "{WOKEN} services woken: {} ms, {:.1} ms of processor time each",
        begun.elapsed().as_millis(),
        (processor_ms() - before) as f64 / f64::from(WOKEN)
    );
    life.kill();
}

fn id(number: u32) -> ServiceId {
    ServiceId::from_random(bytes(number))
}

fn bytes(number: u32) -> [u8; 16] {
    (u128::from(number) + (1 << 100)).to_be_bytes()
}

/// Makes one service by the API and the others after its image.
fn make(world: &World) {
    let life = Life::begin(world);
    let input = json!({
        "ServiceName": "demo",
        "SourceConfiguration": { "ImageRepository": {
            "ImageIdentifier": "localhost:7400/app:v1", "ImageRepositoryType": "ECR" } },
        "Tags": [{ "Key": "apron:scale-to-zero-after", "Value": "24h" }],
    });
    let answer = life.call("CreateService", input).unwrap();
    let arn = answer["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    assert_eq!(life.settle(&arn), "RUNNING");
    life.kill();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::open(&world.store_dir()).await.unwrap();
        let service = store.services_live().await.unwrap().remove(0);
        let operations = store.operations(&service.id, None, 1).await.unwrap();
        let instance = store.instances().await.unwrap().remove(0);
        for number in 0..SERVICES {
            let (service, operation) = copy(number, &service, &operations[0]);
            store
                .service_create(&service, &operation, u32::MAX)
                .await
                .unwrap();
            if number < RUNNING {
                start(world, &store, number, &service, &instance).await;
            }
        }
    });
}

fn copy(number: u32, service: &Service, operation: &Operation) -> (Service, Operation) {
    let service = Service {
        id: id(number),
        name: format!("demo-{number}"),
        label: format!("label{number:05}"),
        ..service.clone()
    };
    let operation = Operation {
        id: OperationId::from_random(bytes(number)),
        service: service.id.clone(),
        candidates: Vec::new(),
        ..operation.clone()
    };
    (service, operation)
}

async fn start(world: &World, store: &Store, number: u32, service: &Service, instance: &Instance) {
    let deployed = service.deployed.as_ref().unwrap();
    let instance = Instance {
        id: InstanceId::from_random(bytes(number)),
        service: service.id.clone(),
        ..instance.clone()
    };
    let spec = InstanceSpec {
        id: instance.id.clone(),
        service: service.id.clone(),
        service_name: service.name.clone(),
        revision: deployed.revision,
        image: deployed.image.clone(),
        start_command: None,
        env: BTreeMap::new(),
        defaults: Default::default(),
        trusts_platform: false,
        identity_token: None,
        port: 8080,
        cpu_millis: 250,
        memory_bytes: 1 << 29,
        pids_max: 64,
        disk_bytes: 1 << 20,
        class: apron_compute::InstanceClass::Service,
    };
    world.instances.create(&spec).await.unwrap();
    store.instance_insert(&[instance]).await.unwrap();
}

/// Milliseconds of processor time this process has had (proc(5), `stat`: fields 14 and 15 in hundredths of a second).
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(") ").next().unwrap().split(' ');
    let ticks = fields.skip(11).take(2).map(|f| f.parse::<u64>().unwrap());
    ticks.sum::<u64>() * 10
}
