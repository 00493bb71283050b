//! The reference's configurations, connections and connectors.

use super::call::{Answer, Call};
use super::model::{Arn, INVALID, Link, MISSING, Model, QUOTA, Revision, Tags, new_arn, sorted};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Active revisions a name may have.
const SCALING_REVISIONS_MAX: usize = 5;
const OBSERVABILITY_REVISIONS_MAX: usize = 10;

type Revisions = BTreeMap<Arn, Revision>;

fn is_latest(all: &Revisions, one: &Revision) -> bool {
    let of_name = all.values().filter(|r| r.name == one.name);
    one.active && of_name.map(|r| r.number).max() == Some(one.number)
}

/// The newest active revision of each name, or all of them.
fn listed(all: &Revisions, latest_only: bool) -> impl Iterator<Item = (&Arn, &Revision)> {
    let newest = move |one: &Revision| {
        let of_name = all.values().filter(|r| r.active && r.name == one.name);
        of_name.map(|r| r.number).max() == Some(one.number)
    };
    all.iter()
        .filter(move |(_, r)| r.active && (!latest_only || newest(r)))
}

/// Adds a revision; its ARN.
fn add(
    all: &mut Revisions,
    kind: &str,
    name: &str,
    min: u32,
    revisions_max: usize,
    seen: &[String],
) -> Result<Arn, String> {
    let of_name = all.values().filter(|r| r.name == name);
    if of_name.clone().filter(|r| r.active).count() >= revisions_max {
        return Err(QUOTA.to_owned());
    }
    let number = of_name.map(|r| r.number).max().unwrap_or(0) + 1;
    let arn = new_arn(all, kind, &format!("{name}/{number}/"), seen);
    let revision = Revision {
        name: name.to_owned(),
        number,
        active: true,
        default: false,
        min,
        tags: Tags::new(),
    };
    all.insert(arn.clone(), revision);
    Ok(arn)
}

impl Model {
    pub fn on_configurations(&mut self, call: &Call, seen: &[String]) -> Answer {
        match call {
            Call::CreateScaling { name, min, max } => {
                if min > max {
                    return Err(INVALID.to_owned());
                }
                let (kind, most) = ("autoscalingconfiguration", SCALING_REVISIONS_MAX);
                let arn = add(&mut self.scalings, kind, name, *min, most, seen)?;
                Ok(self.scaling_output(&arn))
            }
            Call::OnScaling(operation, arn) => self.on_scaling(operation, arn),
            Call::DeleteScalings(name) => self.delete_scalings(name),
            Call::ListScalings { latest_only } => {
                let all = listed(&self.scalings, *latest_only);
                Ok(sorted(all.map(|(arn, r)| {
                    json!([&**arn, r.default, self.is_used(arn)])
                })))
            }
            Call::CreateObservability(name) => {
                if name == "DefaultConfiguration" {
                    return Err(INVALID.to_owned());
                }
                let (kind, most) = ("observabilityconfiguration", OBSERVABILITY_REVISIONS_MAX);
                let arn = add(&mut self.observabilities, kind, name, 0, most, seen)?;
                Ok(self.observability_output(&arn))
            }
            Call::OnObservability(operation, arn) => self.on_observability(operation, arn),
            Call::ListObservabilities { latest_only } => {
                let all = listed(&self.observabilities, *latest_only);
                Ok(sorted(all.map(|(arn, _)| json!(&**arn))))
            }
            _ => self.on_links(call, seen),
        }
    }

    fn is_used(&self, scaling: &str) -> bool {
        self.services.values().any(|s| s.uses(scaling))
    }

    fn scaling_output(&self, arn: &str) -> Value {
        let one = &self.scalings[arn];
        json!([
            arn,
            if one.active { "active" } else { "inactive" },
            is_latest(&self.scalings, one),
            one.default,
            self.is_used(arn),
        ])
    }

    fn on_scaling(&mut self, operation: &str, arn: &str) -> Answer {
        let one = self.scalings.get(arn).ok_or(MISSING)?;
        match operation {
            "DescribeAutoScalingConfiguration" => Ok(self.scaling_output(arn)),
            "ListServicesForAutoScalingConfiguration" => {
                let users = self.services.iter().filter(|(_, s)| s.uses(arn));
                Ok(sorted(users.map(|(arn, _)| json!(&**arn))))
            }
            _ if !one.active => Err(INVALID.to_owned()),
            "UpdateDefaultAutoScalingConfiguration" => {
                for (each, revision) in &mut self.scalings {
                    revision.default = &**each == arn;
                }
                Ok(self.scaling_output(arn))
            }
            _ => {
                if one.default || self.is_used(arn) {
                    return Err(INVALID.to_owned());
                }
                self.scalings.get_mut(arn).ok_or(MISSING)?.active = false;
                Ok(self.scaling_output(arn))
            }
        }
    }

    fn delete_scalings(&mut self, name: &str) -> Answer {
        let doomed: Vec<Arn> = self
            .scalings
            .iter()
            .filter(|(_, r)| r.name == name && r.active)
            .map(|(arn, _)| arn.clone())
            .collect();
        let newest = doomed.iter().max_by_key(|arn| self.scalings[*arn].number);
        let newest = newest.cloned().ok_or(MISSING)?;
        if doomed
            .iter()
            .any(|arn| self.scalings[arn].default || self.is_used(arn))
        {
            return Err(INVALID.to_owned());
        }
        for arn in doomed {
            self.scalings.get_mut(&arn).ok_or(MISSING)?.active = false;
        }
        Ok(self.scaling_output(&newest))
    }

    fn observability_output(&self, arn: &str) -> Value {
        let one = &self.observabilities[arn];
        let status = if one.active { "ACTIVE" } else { "INACTIVE" };
        json!([arn, is_latest(&self.observabilities, one), status])
    }

    fn on_observability(&mut self, operation: &str, arn: &str) -> Answer {
        let one = self.observabilities.get_mut(arn).ok_or(MISSING)?;
        if operation == "DeleteObservabilityConfiguration" {
            if !one.active || one.name == "DefaultConfiguration" {
                return Err(INVALID.to_owned());
            }
            one.active = false;
        }
        Ok(self.observability_output(arn))
    }

    fn on_links(&mut self, call: &Call, seen: &[String]) -> Answer {
        let link = |name: &String, good| Link {
            name: name.clone(),
            good,
            tags: Tags::new(),
        };
        match call {
            Call::CreateConnection(name) => {
                if self.connections.values().any(|c| c.name == *name) {
                    return Err(INVALID.to_owned());
                }
                let arn = new_arn(&self.connections, "connection", &format!("{name}/"), seen);
                self.connections.insert(arn.clone(), link(name, false));
                Ok(json!([&*arn, "PENDING_HANDSHAKE"]))
            }
            Call::OnConnection("CompleteConnection", arn) => {
                self.connections.get_mut(arn.as_str()).ok_or(MISSING)?.good = true;
                Ok(json!({}))
            }
            Call::OnConnection(_, arn) => {
                self.connections.remove(arn.as_str()).ok_or(MISSING)?;
                Ok(json!([arn, "DELETED"]))
            }
            Call::ListConnections => Ok(sorted(self.connections.iter().map(|(arn, c)| {
                let status = if c.good {
                    "AVAILABLE"
                } else {
                    "PENDING_HANDSHAKE"
                };
                json!([&**arn, status])
            }))),
            Call::CreateConnector(name) => {
                let named = |c: &Link| c.name == *name;
                if self.connectors.values().any(|c| c.good && named(c)) {
                    return Err(INVALID.to_owned());
                }
                let arn = new_arn(
                    &self.connectors,
                    "vpcconnector",
                    &format!("{name}/1/"),
                    seen,
                );
                self.connectors.retain(|_, c| !named(c));
                self.connectors.insert(arn.clone(), link(name, true));
                Ok(json!([&*arn, "ACTIVE"]))
            }
            Call::OnConnector(operation, arn) => {
                let one = self.connectors.get_mut(arn.as_str()).ok_or(MISSING)?;
                if *operation == "DeleteVpcConnector" {
                    if !one.good {
                        return Err(INVALID.to_owned());
                    }
                    one.good = false;
                }
                Ok(json!([arn, if one.good { "ACTIVE" } else { "INACTIVE" }]))
            }
            Call::ListConnectors => {
                let active = self.connectors.iter().filter(|(_, c)| c.good);
                Ok(sorted(active.map(|(arn, _)| json!(&**arn))))
            }
            other => unreachable!("{other:?} is answered elsewhere"),
        }
    }
}
