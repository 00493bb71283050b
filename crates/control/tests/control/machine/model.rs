//! The reference: what the account is, and what each call answers and changes then. Time shows only in the steps that
//! operations take by themselves.

use super::call::{Answer, Call, Image, PREFIX, identifier};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub type Arn = Arc<str>;
pub type Tags = BTreeMap<String, String>;

pub const INVALID: &str = "InvalidRequestException";
pub const STATE: &str = "InvalidStateException";
pub const MISSING: &str = "ResourceNotFoundException";
pub const QUOTA: &str = "ServiceQuotaExceededException";

/// Services that may exist.
pub const SERVICES_MAX: u32 = 3;

/// The image that no instance survives.
const BROKEN: Image = 2;

const BUILT_IN: &str = "DefaultConfiguration";

/// What a service deploys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    pub image: Image,
    pub scaling: Arn,
}

/// How far an operation has come, as far as calls can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Can be cancelled.
    Before,
    /// Will have its effect.
    Switching,
    /// Has it.
    Switched,
    /// Will not have it.
    Failing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Operation {
    kind: &'static str,
    target: Config,
    phase: Phase,
    cancelled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub name: String,
    pub status: &'static str,
    shown: Config,
    pub deployed: Option<Config>,
    previous: Option<Config>,
    pub tags: Tags,
    operation: Option<Operation>,
    /// Newest first.
    history: Vec<&'static str>,
}

/// A revision of an auto scaling or observability configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    pub name: String,
    pub number: u32,
    pub active: bool,
    pub default: bool,
    pub min: u32,
    pub tags: Tags,
}

/// A connection or a VPC connector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    pub name: String,
    /// The connection's handshake is done; the connector is not deleted.
    pub good: bool,
    pub tags: Tags,
}

/// The account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    pub services: BTreeMap<Arn, Service>,
    pub scalings: BTreeMap<Arn, Revision>,
    pub observabilities: BTreeMap<Arn, Revision>,
    pub connections: BTreeMap<Arn, Link>,
    pub connectors: BTreeMap<Arn, Link>,
}

impl Service {
    pub fn is_at_rest(&self) -> bool {
        self.operation.is_none()
    }

    fn begin(&mut self, kind: &'static str, target: Config) {
        let deploys = !matches!(kind, "PAUSE_SERVICE" | "DELETE_SERVICE");
        if deploys {
            self.shown = target.clone();
        }
        self.status = "OPERATION_IN_PROGRESS";
        self.history.insert(0, kind);
        self.operation = Some(Operation {
            kind,
            target,
            phase: match deploys {
                true => Phase::Before,
                false => Phase::Switching,
            },
            cancelled: false,
        });
    }

    /// The step that the operation takes next by itself; none without one.
    pub fn step(&self) -> Option<Service> {
        let operation = self.operation.as_ref()?;
        let mut next = self.clone();
        let to = |phase| Operation {
            phase,
            ..operation.clone()
        };
        next.operation = match operation.phase {
            Phase::Before if operation.cancelled || operation.target.image == BROKEN => {
                Some(to(Phase::Failing))
            }
            Phase::Before => Some(to(Phase::Switching)),
            Phase::Switching => {
                next.switch(operation);
                Some(to(Phase::Switched))
            }
            Phase::Switched => {
                next.status = match operation.kind {
                    "PAUSE_SERVICE" => "PAUSED",
                    "DELETE_SERVICE" => "DELETED",
                    _ => "RUNNING",
                };
                None
            }
            Phase::Failing => {
                next.fail(operation.kind);
                None
            }
        };
        Some(next)
    }

    fn switch(&mut self, operation: &Operation) {
        if matches!(operation.kind, "PAUSE_SERVICE" | "DELETE_SERVICE") {
            return;
        }
        let replaced = self.deployed.replace(operation.target.clone());
        if replaced.as_ref().is_some_and(|d| *d != operation.target) {
            self.previous = replaced;
        }
    }

    fn fail(&mut self, kind: &str) {
        self.status = match (&self.deployed, kind) {
            (_, "RESUME_SERVICE") => "PAUSED",
            (Some(deployed), _) => {
                self.shown = deployed.clone();
                "RUNNING"
            }
            (None, _) => "CREATE_FAILED",
        };
    }

    pub fn uses(&self, scaling: &str) -> bool {
        let runs = self
            .deployed
            .as_ref()
            .is_some_and(|d| &*d.scaling == scaling);
        self.status != "DELETED" && (&*self.shown.scaling == scaling || runs)
    }

    fn output(&self, arn: &str, began: bool) -> Value {
        json!([
            arn,
            self.status,
            identifier(self.shown.image),
            &*self.shown.scaling,
            began,
            self.status == "DELETED",
        ])
    }
}

impl Model {
    /// A new account.
    pub fn new() -> Model {
        let built_in = |kind: &str| -> (Arn, Revision) {
            let arn = format!("{PREFIX}:{kind}/{BUILT_IN}/1/00000000000000000000000000000001");
            let revision = Revision {
                name: BUILT_IN.to_owned(),
                number: 1,
                active: true,
                default: true,
                min: 1,
                tags: Tags::new(),
            };
            (arn.into(), revision)
        };
        Model {
            services: BTreeMap::new(),
            scalings: [built_in("autoscalingconfiguration")].into(),
            observabilities: [built_in("observabilityconfiguration")].into(),
            connections: BTreeMap::new(),
            connectors: BTreeMap::new(),
        }
    }

    /// Performs a call. A new resource gets an ARN of those that were `seen` and that nothing else explains.
    pub fn apply(&mut self, call: &Call, seen: &[String]) -> Answer {
        match call {
            Call::CreateService {
                name,
                image,
                scaling,
                tag,
            } => self.create_service(name, *image, scaling.as_deref(), tag.as_ref(), seen),
            Call::UpdateService {
                arn,
                image,
                scaling,
            } => self.update_service(arn, *image, scaling.as_deref()),
            Call::OnService(operation, arn) => self.on_service(operation, arn),
            Call::ListServices => {
                let live = self.services.iter().filter(|(_, s)| s.status != "DELETED");
                Ok(sorted(live.map(|(arn, s)| json!([&**arn, s.status]))))
            }
            Call::AssociateDomain(arn) | Call::CreateIngress(arn) => match self.live(arn) {
                Ok(service) if service.status != "RUNNING" => Err(STATE.to_owned()),
                _ => Err(INVALID.to_owned()),
            },
            Call::DisassociateDomain(arn) => match self.live(arn)?.status {
                "RUNNING" => Err(MISSING.to_owned()),
                _ => Err(STATE.to_owned()),
            },
            Call::OnIngress(_) => Err(MISSING.to_owned()),
            Call::ListIngress => Ok(json!([])),
            Call::Tag { arn, key, value } => {
                let extensible = arn.contains(":service/") || arn.contains(":autoscaling");
                let tags = self.tags(arn)?;
                if key.starts_with("apron:") && !(extensible && value == "30s") {
                    return Err(INVALID.to_owned());
                }
                tags.insert(key.clone(), value.clone());
                Ok(json!({}))
            }
            Call::Untag { arn, key } => {
                self.tags(arn)?.remove(key);
                Ok(json!({}))
            }
            Call::ListTags(arn) => Ok(json!(self.tags(arn)?)),
            _ => self.on_configurations(call, seen),
        }
    }

    /// The tags of a resource that is not deleted.
    fn tags(&mut self, arn: &str) -> Result<&mut Tags, String> {
        let service = self.services.get_mut(arn).filter(|s| s.status != "DELETED");
        let revisions = [&mut self.scalings, &mut self.observabilities].into_iter();
        let mut revisions =
            revisions.filter_map(|all| all.get_mut(arn).filter(|r| r.active).map(|r| &mut r.tags));
        let connection = self.connections.get_mut(arn).map(|c| &mut c.tags);
        let connector = self.connectors.get_mut(arn).filter(|c| c.good);
        let found = service.map(|s| &mut s.tags).or_else(|| revisions.next());
        found
            .or(connection)
            .or(connector.map(|c| &mut c.tags))
            .ok_or_else(|| MISSING.to_owned())
    }

    fn live(&self, arn: &str) -> Result<&Service, String> {
        let found = self.services.get(arn).filter(|s| s.status != "DELETED");
        found.ok_or_else(|| MISSING.to_owned())
    }

    /// The active auto scaling configuration of an ARN, as something to bind a service to.
    fn bindable(&self, arn: &str) -> Result<Arn, String> {
        match self.scalings.get_key_value(arn) {
            Some((arn, revision)) if revision.active => Ok(arn.clone()),
            _ => Err(INVALID.to_owned()),
        }
    }

    fn create_service(
        &mut self,
        name: &str,
        image: Image,
        scaling: Option<&str>,
        tag: Option<&(String, String)>,
        seen: &[String],
    ) -> Answer {
        let scaling = match scaling {
            Some(arn) => self.bindable(arn)?,
            None => {
                let default = self.scalings.iter().find(|(_, r)| r.default && r.active);
                default.map(|(arn, _)| arn.clone()).ok_or(INVALID)?
            }
        };
        if tag.is_some_and(|(key, value)| key.starts_with("apron:") && value != "30s") {
            return Err(INVALID.to_owned());
        }
        let live = || self.services.values().filter(|s| s.status != "DELETED");
        if live().count() as u32 >= SERVICES_MAX {
            return Err(QUOTA.to_owned());
        }
        if live().any(|s| s.name == name) {
            return Err(INVALID.to_owned());
        }
        let config = Config { image, scaling };
        let mut service = Service {
            name: name.to_owned(),
            status: "",
            shown: config.clone(),
            deployed: None,
            previous: None,
            tags: tag.cloned().into_iter().collect(),
            operation: None,
            history: Vec::new(),
        };
        service.begin("CREATE_SERVICE", config);
        let arn = new_arn(&self.services, "service", &format!("{name}/"), seen);
        let output = service.output(&arn, true);
        self.services.insert(arn, service);
        Ok(output)
    }

    fn update_service(&mut self, arn: &str, image: Option<Image>, scaling: Option<&str>) -> Answer {
        let service = self.live(arn)?;
        if !matches!(service.status, "RUNNING" | "CREATE_FAILED") {
            return Err(STATE.to_owned());
        }
        let mut target = service.shown.clone();
        target.image = image.unwrap_or(target.image);
        if let Some(arn) = scaling {
            target.scaling = self.bindable(arn)?;
        }
        self.begin(arn, "UPDATE_SERVICE", target)
    }

    fn begin(&mut self, arn: &str, kind: &'static str, target: Config) -> Answer {
        let service = self.services.get_mut(arn).ok_or(MISSING)?;
        service.begin(kind, target);
        Ok(service.output(arn, true))
    }

    fn on_service(&mut self, operation: &str, arn: &str) -> Answer {
        // These also know deleted services.
        let known = self.services.get(arn).ok_or(MISSING)?;
        match operation {
            "DescribeService" => return Ok(known.output(arn, false)),
            "ListOperations" => return Ok(json!(known.history)),
            "DescribeOperation" => return Ok(json!(known.history[0])),
            "DescribeCustomDomains" => return Ok(json!([])),
            _ => {}
        }
        let service = self.live(arn)?;
        let (status, shown) = (service.status, service.shown.clone());
        match (operation, status) {
            ("PauseService", "PAUSED") | ("ResumeService", "RUNNING") => {
                Ok(service.output(arn, false))
            }
            ("PauseService", "RUNNING") => self.begin(arn, "PAUSE_SERVICE", shown),
            ("ResumeService", "PAUSED") => self.begin(arn, "RESUME_SERVICE", shown),
            ("DeleteService", "RUNNING" | "PAUSED" | "CREATE_FAILED") => {
                self.begin(arn, "DELETE_SERVICE", shown)
            }
            ("StartDeployment", "RUNNING") => {
                self.begin(arn, "START_DEPLOYMENT", shown)?;
                Ok(json!({}))
            }
            ("StartDeployment", _) => Err(INVALID.to_owned()),
            ("RollbackService", "RUNNING") => {
                let previous = service.previous.clone().ok_or(STATE)?;
                self.begin(arn, "UPDATE_SERVICE", previous)?;
                Ok(json!({}))
            }
            ("CancelOperation", "OPERATION_IN_PROGRESS") => self.cancel(arn),
            _ => Err(STATE.to_owned()),
        }
    }

    fn cancel(&mut self, arn: &str) -> Answer {
        let service = self.services.get_mut(arn).ok_or(MISSING)?;
        let operation = service.operation.as_mut().ok_or(STATE)?;
        if operation.phase != Phase::Before {
            return Err(STATE.to_owned());
        }
        operation.cancelled = true;
        Ok(json!({}))
    }
}

/// The ARN of a new resource: one that was seen and is not taken, or one that nobody has seen.
pub fn new_arn<T>(taken: &BTreeMap<Arn, T>, kind: &str, tail: &str, seen: &[String]) -> Arn {
    let start = format!("{PREFIX}:{kind}/{tail}");
    let mut fitting = seen.iter().filter(|arn| arn.starts_with(&start));
    let free = fitting.find(|arn| !taken.contains_key(arn.as_str()));
    match free {
        Some(arn) => arn.as_str().into(),
        None => format!("{start}unseen").into(),
    }
}

/// A list as [`Call::seen`] orders it.
pub fn sorted(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<Value> = values.collect();
    values.sort_by_key(Value::to_string);
    json!(values)
}
