//! What every backend does alike, as checks that run against any of them.
//!
//! A backend brings a [`Subject`]: itself, and specifications of instances that behave in a known way. A check panics
//! when the backend breaks the contract. [`all`] runs every check, one after another.

use crate::{
    Compute, ComputeError, ComputeEvent, Exhausted, Exit, Export, Exported, InstanceSpec,
    InstanceState, InstanceStatus, Probe, ProbeAnswer,
};
use apron_domain::{Digest, InstanceId};
use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// Longest wait for anything that has to happen.
const SOON: Duration = Duration::from_secs(30);

/// Grace given to instances that end when they are asked.
const GRACE: Duration = Duration::from_secs(20);

/// Longest answer of a probe.
const PROBE: Duration = Duration::from_secs(2);

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Answers `GET /` with 200 on its port, for ever; ends on SIGTERM.
    Serves,
    /// Prints the line [`LAST_WORDS`] and exits with code [`EXIT_CODE`].
    Crashes,
    /// Is not in the image, so that the application cannot be started.
    Absent,
    /// A build: makes the file [`MADE`] with some bytes in it, removes the file [`REMOVED`] of the image, and exits with 0.
    Builds,
}

/// What [`Program::Builds`] makes.
pub const MADE: &str = "/made/file";

/// What [`Program::Builds`] removes.
pub const REMOVED: &str = "/www/index.html";

/// What [`Program::Crashes`] prints on its standard output.
pub const LAST_WORDS: &str = "about to fail";

/// What [`Program::Crashes`] exits with.
pub const EXIT_CODE: i32 = 3;

/// A backend under test. It runs nothing but what the checks start.
pub trait Subject: Send + Sync {
    /// The backend.
    fn compute(&self) -> &dyn Compute;

    /// A new instance, with an id never used before, of an image that can be prepared. `None` when the backend has no
    /// such programs.
    fn instance(&self, program: Program) -> Option<InstanceSpec>;

    /// The digest of an image that is nowhere.
    fn unknown_image(&self) -> Digest;
}

/// Runs every check. `events` is what [`Compute::subscribe`] gave.
pub async fn all(subject: &dyn Subject, events: &mut Receiver<ComputeEvent>) {
    an_unknown_image_is_an_error_of_the_image(subject).await;
    what_does_not_exist_is_fine_to_end(subject).await;
    an_instance_starts_once_answers_and_stops(subject, events).await;
    a_crash_is_told_with_its_last_line_and_code(subject, events).await;
    a_program_that_is_not_there_is_an_exit_with_a_reason(subject, events).await;
    removal_ends_what_runs(subject).await;
    many_start_at_once(subject, events).await;
    images_in_use_are_kept(subject).await;
    an_ended_build_leaves_its_changes(subject).await;
}

/// Preparing what is not there fails, and says that it is the image.
pub async fn an_unknown_image_is_an_error_of_the_image(subject: &dyn Subject) {
    let image = subject.unknown_image();
    match subject.compute().prepare(&image).await {
        Err(ComputeError::Image {
            image: named,
            reason,
        }) => {
            assert_eq!(named, image);
            assert!(!reason.is_empty(), "no reason is given");
        }
        other => panic!("preparing an unknown image gave {other:?}"),
    }
}

/// Ending and removing is repeatable, also of what never was.
pub async fn what_does_not_exist_is_fine_to_end(subject: &dyn Subject) {
    let Some(spec) = subject.instance(Program::Serves) else {
        return;
    };
    let compute = subject.compute();
    compute
        .stop(&spec.id, GRACE)
        .await
        .expect("stopping what never was");
    compute
        .remove(&spec.id)
        .await
        .expect("removing what never was");
    let answer = compute.probe(&spec.id, &Probe::Tcp, PROBE).await;
    assert!(
        !answer.healthy && !answer.answered && !answer.detail.is_empty(),
        "{answer:?}"
    );
}

/// The life of a well-behaved instance.
pub async fn an_instance_starts_once_answers_and_stops(
    subject: &dyn Subject,
    events: &mut Receiver<ComputeEvent>,
) {
    let Some(spec) = subject.instance(Program::Serves) else {
        return;
    };
    let compute = subject.compute();
    start(subject, &spec).await;
    compute.create(&spec).await.expect("creating it again");
    let status = status(compute, &spec.id).await.expect("it is listed");
    assert!(
        matches!(status.state, InstanceState::Running { .. }),
        "{status:?}"
    );
    assert_eq!(
        (&status.service, status.revision),
        (&spec.service, spec.revision)
    );
    assert_eq!(
        status.address.expect("its address is known").port(),
        spec.port
    );
    for probe in [
        Probe::Tcp,
        Probe::Http {
            path: "/".to_owned(),
        },
    ] {
        healthy(compute, &spec.id, &probe).await;
    }
    compute.stop(&spec.id, GRACE).await.expect("stopping it");
    exited(compute, &spec.id).await;
    compute
        .stop(&spec.id, GRACE)
        .await
        .expect("stopping it again");
    let story = story(events, &spec.id).await;
    let starts = story
        .iter()
        .filter(|event| matches!(event, ComputeEvent::Started { .. }))
        .count();
    assert_eq!(starts, 1, "{story:?}");
    let answer = compute.probe(&spec.id, &Probe::Tcp, PROBE).await;
    assert!(!answer.healthy, "an ended instance is healthy: {answer:?}");
    gone_after_removal(compute, &spec.id).await;
}

/// What a failing application said and how it ended reaches the control plane, in order, and stays visible.
pub async fn a_crash_is_told_with_its_last_line_and_code(
    subject: &dyn Subject,
    events: &mut Receiver<ComputeEvent>,
) {
    let Some(spec) = subject.instance(Program::Crashes) else {
        return;
    };
    start(subject, &spec).await;
    let story = story(events, &spec.id).await;
    let position = |wanted: &dyn Fn(&ComputeEvent) -> bool| story.iter().position(wanted);
    let started =
        position(&|event| matches!(event, ComputeEvent::Started { .. })).expect("it started");
    let said =
        position(&|event| matches!(event, ComputeEvent::Output { line, .. } if line == LAST_WORDS))
            .unwrap_or_else(|| panic!("its last line is missing: {story:?}"));
    let ended = position(&|event| matches!(event, ComputeEvent::Exited { .. })).expect("it ended");
    assert!(started < said && said < ended, "out of order: {story:?}");
    let exit = exited(subject.compute(), &spec.id).await;
    assert_eq!(
        (exit.code, exit.signal, exit.out_of_memory),
        (Some(EXIT_CODE), None, false),
        "{exit:?}"
    );
    gone_after_removal(subject.compute(), &spec.id).await;
}

/// An application that cannot be started leaves an instance that says why.
pub async fn a_program_that_is_not_there_is_an_exit_with_a_reason(
    subject: &dyn Subject,
    events: &mut Receiver<ComputeEvent>,
) {
    let Some(spec) = subject.instance(Program::Absent) else {
        return;
    };
    start(subject, &spec).await;
    let exit = exited(subject.compute(), &spec.id).await;
    let error = exit.error.as_deref().unwrap_or_default();
    assert!(
        error.starts_with("exec ") && exit.code.is_none(),
        "{exit:?}"
    );
    let story = story(events, &spec.id).await;
    assert!(
        !story
            .iter()
            .any(|event| matches!(event, ComputeEvent::Started { .. })),
        "{story:?}"
    );
    gone_after_removal(subject.compute(), &spec.id).await;
}

/// A running instance can be removed at once.
pub async fn removal_ends_what_runs(subject: &dyn Subject) {
    let Some(spec) = subject.instance(Program::Serves) else {
        return;
    };
    start(subject, &spec).await;
    gone_after_removal(subject.compute(), &spec.id).await;
}

/// Starts do not get into each other's way, and two for the same id make one instance.
pub async fn many_start_at_once(subject: &dyn Subject, events: &mut Receiver<ComputeEvent>) {
    let specs: Vec<InstanceSpec> = (0..4)
        .filter_map(|_| subject.instance(Program::Serves))
        .collect();
    let [first, second, third, fourth] = &specs[..] else {
        return;
    };
    let compute = subject.compute();
    compute
        .prepare(&first.image)
        .await
        .expect("preparing its image");
    let (a, b, c, d, again) = tokio::join!(
        compute.create(first),
        compute.create(second),
        compute.create(third),
        compute.create(fourth),
        compute.create(first),
    );
    for result in [a, b, c, d, again] {
        result.expect("creating many at once");
    }
    let listed = compute.list().await.expect("listing");
    let addresses: BTreeSet<_> = listed.iter().filter_map(|status| status.address).collect();
    assert_eq!((listed.len(), addresses.len()), (4, 4), "{listed:?}");
    for spec in &specs {
        compute.stop(&spec.id, GRACE).await.expect("stopping it");
        story(events, &spec.id).await;
        gone_after_removal(compute, &spec.id).await;
    }
}

/// Dropping images does not disturb instances, and a dropped image can be prepared again.
pub async fn images_in_use_are_kept(subject: &dyn Subject) {
    let Some(spec) = subject.instance(Program::Serves) else {
        return;
    };
    let compute = subject.compute();
    start(subject, &spec).await;
    compute
        .retain_images(&BTreeSet::new())
        .await
        .expect("dropping images");
    healthy(
        compute,
        &spec.id,
        &Probe::Http {
            path: "/".to_owned(),
        },
    )
    .await;
    gone_after_removal(compute, &spec.id).await;
    compute
        .retain_images(&BTreeSet::new())
        .await
        .expect("dropping images again");
    start(subject, &spec).await;
    healthy(compute, &spec.id, &Probe::Tcp).await;
    gone_after_removal(compute, &spec.id).await;
}

/// The changes of a build are a layer, the same one each time, within bounds; a service's are nobody's.
pub async fn an_ended_build_leaves_its_changes(subject: &dyn Subject) {
    let (Some(build), Some(service)) = (
        subject.instance(Program::Builds),
        subject.instance(Program::Crashes),
    ) else {
        return;
    };
    let compute = subject.compute();
    let everything = Export {
        below: vec!["/".to_owned()],
        without: Vec::new(),
        time: 1_000_000_000,
        bytes_max: 1 << 20,
        entries_max: 1000,
    };
    let unknown = exported(compute, &build.id, &everything).await.0;
    assert!(
        matches!(unknown, Err(ComputeError::Unknown(_))),
        "{unknown:?}"
    );
    start(subject, &build).await;
    let exit = exited(compute, &build.id).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let found = compute.exhausted(&build.id).await;
    assert_eq!(found, Ok(Exhausted::default()));
    let (result, archive) = exported(compute, &build.id, &everything).await;
    assert!(result.expect("exporting it").entries > 0);
    let name = |path: &str| path.trim_start_matches('/').as_bytes().to_vec();
    let has = |name: &[u8]| archive.windows(name.len()).any(|part| part == name);
    assert!(has(&name(MADE)), "the made file is not in the layer");
    let (directory, file) = REMOVED.rsplit_once('/').unwrap_or_default();
    let whiteout = format!("{directory}/.wh.{file}");
    assert!(has(&name(&whiteout)), "the removal is not in the layer");
    let again = exported(compute, &build.id, &everything).await.1;
    assert!(archive == again, "the same changes gave other bytes");
    let small = Export {
        bytes_max: 1,
        ..everything.clone()
    };
    let refused = exported(compute, &build.id, &small).await.0;
    assert!(refused.is_err(), "a bound was not kept: {refused:?}");
    start(subject, &service).await;
    exited(compute, &service.id).await;
    let refused = exported(compute, &service.id, &everything).await.0;
    assert!(refused.is_err(), "a service was exported: {refused:?}");
    gone_after_removal(compute, &build.id).await;
    gone_after_removal(compute, &service.id).await;
}

async fn exported(
    compute: &dyn Compute,
    id: &InstanceId,
    what: &Export,
) -> (Result<Exported, ComputeError>, Vec<u8>) {
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let reader = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).map(|_| bytes)
    });
    let into = std::os::fd::OwnedFd::from(write).into();
    let result = within("its export", compute.export(id, what, into)).await;
    let bytes = reader.await.expect("the reader ends").expect("it reads");
    (result, bytes)
}

async fn start(subject: &dyn Subject, spec: &InstanceSpec) {
    subject
        .compute()
        .prepare(&spec.image)
        .await
        .expect("preparing its image");
    within("its start", subject.compute().create(spec))
        .await
        .expect("creating it");
}

async fn status(compute: &dyn Compute, id: &InstanceId) -> Option<InstanceStatus> {
    compute
        .list()
        .await
        .expect("listing")
        .into_iter()
        .find(|status| status.id == *id)
}

/// Waits until an instance has ended and gives how.
async fn exited(compute: &dyn Compute, id: &InstanceId) -> Exit {
    within("its end", async {
        loop {
            match status(compute, id).await.expect("it is listed").state {
                InstanceState::Exited(exit) => return exit,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

/// Waits until an instance passes a probe; one that was just started may not listen yet.
async fn healthy(compute: &dyn Compute, id: &InstanceId, probe: &Probe) -> ProbeAnswer {
    let passes = async {
        loop {
            let answer = compute.probe(id, probe, PROBE).await;
            match answer.healthy {
                true => return answer,
                false => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let answer = within("a healthy answer", passes).await;
    assert!(answer.answered, "{answer:?}");
    answer
}

async fn gone_after_removal(compute: &dyn Compute, id: &InstanceId) {
    for _ in 0..2 {
        within("its removal", compute.remove(id))
            .await
            .expect("removing it");
        assert_eq!(status(compute, id).await, None);
    }
}

/// Every event of an instance up to its end. Those of others are passed over.
async fn story(events: &mut Receiver<ComputeEvent>, id: &InstanceId) -> Vec<ComputeEvent> {
    let mut story = Vec::new();
    within("the event of its end", async {
        loop {
            let event = events.recv().await.expect("the stream of events goes on");
            let (of, ended) = match &event {
                ComputeEvent::Started { id } | ComputeEvent::Output { id, .. } => (id, false),
                ComputeEvent::Exited { id, .. } => (id, true),
            };
            if of == id {
                story.push(event);
                if ended {
                    return;
                }
            }
        }
    })
    .await;
    story
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, work).await {
        Ok(value) => value,
        Err(_) => panic!("waited {SOON:?} for {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstanceClass;
    use crate::simulator::{Behaviour, Simulator};
    use apron_domain::ServiceId;
    use std::sync::atomic::{AtomicU8, Ordering};

    struct Simulated {
        simulator: Simulator,
        instances: AtomicU8,
    }

    fn image(digit: char) -> Digest {
        Digest::parse(&format!("sha256:{}", digit.to_string().repeat(64))).unwrap()
    }

    impl Subject for Simulated {
        fn compute(&self) -> &dyn Compute {
            &self.simulator
        }

        fn instance(&self, program: Program) -> Option<InstanceSpec> {
            let number = self.instances.fetch_add(1, Ordering::Relaxed);
            Some(InstanceSpec {
                id: InstanceId::from_random([number; 16]),
                service: ServiceId::from_random([1; 16]),
                service_name: "simulated".to_owned(),
                revision: 1,
                image: match program {
                    Program::Serves => image('a'),
                    Program::Crashes => image('b'),
                    Program::Builds => image('d'),
                    // The simulator has no programs that could be absent.
                    Program::Absent => return None,
                },
                start_command: None,
                env: Default::default(),
                defaults: Default::default(),
                trusts_platform: false,
                identity_token: None,
                port: 8080,
                cpu_millis: 250,
                memory_bytes: 1 << 29,
                pids_max: 100,
                disk_bytes: 3 << 30,
                class: match program {
                    Program::Builds => InstanceClass::Build,
                    _ => InstanceClass::Service,
                },
            })
        }

        fn unknown_image(&self) -> Digest {
            image('c')
        }
    }

    #[tokio::test]
    async fn the_simulator_keeps_the_contract() {
        let simulator = Simulator::new();
        let crash = Behaviour::Crash {
            code: EXIT_CODE,
            line: LAST_WORDS.to_owned(),
        };
        simulator.script(&image('b'), crash);
        let names = format!("{MADE} {}", REMOVED.replace("/index", "/.wh.index"));
        simulator.script(&image('d'), Behaviour::Builds(names.into_bytes()));
        simulator.script(
            &image('c'),
            Behaviour::Unusable("nobody knows it".to_owned()),
        );
        let mut events = simulator.subscribe();
        all(
            &Simulated {
                simulator,
                instances: AtomicU8::new(0),
            },
            &mut events,
        )
        .await;
    }
}
