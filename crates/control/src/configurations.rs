//! The account's configurations: kinds, ARNs, the built-in revisions, and which services use them.

use crate::clock::random;
use crate::engine::Engine;
use crate::settings::Settings;
use apron_aws::Arn;
use apron_domain::Millis;
use apron_domain::configuration::{AutoScaling, Observability, Revision, Selector, active_names};
use apron_domain::service::Scaling;
use apron_store::{Store, StoreError};
use std::collections::BTreeMap;

/// The kind of auto scaling configurations, as in their ARNs.
pub const AUTO_SCALING: &str = "autoscalingconfiguration";
/// The kind of observability configurations.
pub const OBSERVABILITY: &str = "observabilityconfiguration";
/// The kind of connections.
pub const CONNECTION: &str = "connection";
/// The kind of VPC connectors.
pub const VPC_CONNECTOR: &str = "vpcconnector";

/// The name of the built-in revisions.
pub const BUILT_IN: &str = "DefaultConfiguration";
/// Their id.
const BUILT_IN_ID: &str = "00000000000000000000000000000001";

/// A new revision of this content with a random id.
pub fn revision<T>(
    engine: &Engine,
    name: String,
    number: u32,
    tags: BTreeMap<String, String>,
    content: T,
) -> Revision<T> {
    let id: [u8; 16] = random(engine.chance.as_ref());
    Revision {
        name,
        number,
        id: hex::encode(id),
        created_at: engine.clock.now(),
        deleted_at: None,
        tags,
        content,
    }
}

/// The ARN of a revision; connections have no number in theirs.
pub fn arn_of<T>(settings: &Settings, kind: &str, revision: &Revision<T>) -> String {
    let Revision {
        name, number, id, ..
    } = revision;
    let tail = match kind {
        CONNECTION => format!("{name}/{id}"),
        _ => format!("{name}/{number}/{id}"),
    };
    format!(
        "arn:aws:apprunner:{}:{}:{kind}/{tail}",
        settings.region, settings.account
    )
}

/// What an ARN of this kind selects; none when it is another account's, region's or kind's, or no ARN at all.
pub fn select(settings: &Settings, kind: &str, arn: &str) -> Option<Selector> {
    let arn: Arn = arn.parse().ok()?;
    let own = arn.service == "apprunner"
        && arn.region == settings.region
        && arn.account == settings.account;
    let parts = arn.resource_parts();
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n > 0);
    let selector = |name: &str, number, id: Option<&str>| Selector {
        name: name.to_owned(),
        number,
        id: id.map(str::to_owned),
    };
    match (own, parts.as_slice()) {
        (true, [k, name, id]) if *k == kind && kind == CONNECTION => {
            Some(selector(name, Some(1), Some(id)))
        }
        (true, [k, name]) if *k == kind => Some(selector(name, None, None)),
        (true, [k, name, revision]) if *k == kind => {
            Some(selector(name, Some(number(revision)?), None))
        }
        (true, [k, name, revision, id]) if *k == kind => {
            Some(selector(name, Some(number(revision)?), Some(id)))
        }
        _ => None,
    }
}

/// The active revisions of a listing: of one name or of all, the latest of each name or every one.
pub fn listed<'a, T>(
    all: &'a [Revision<T>],
    name: Option<&str>,
    latest_only: bool,
) -> Vec<&'a Revision<T>> {
    let newest = |name: &str| {
        let of_name = all.iter().filter(|r| r.name == name && r.is_active());
        of_name.map(|r| r.number).max()
    };
    all.iter()
        .filter(|r| r.is_active() && name.is_none_or(|name| name == r.name))
        .filter(|r| !latest_only || newest(&r.name) == Some(r.number))
        .collect()
}

/// Whether another revision of the name fits into the quotas, in which the built-in name is free; the error is the text for
/// the caller.
pub fn room<T>(
    all: &[Revision<T>],
    name: &str,
    names_max: usize,
    revisions_max: usize,
) -> Result<(), String> {
    let names = active_names(all);
    let taken = names.iter().filter(|n| **n != BUILT_IN).count();
    if !names.contains(name) && name != BUILT_IN && taken >= names_max {
        return Err(format!(
            "The limit of {names_max} configuration names is reached. Delete a configuration first."
        ));
    }
    let revisions = all
        .iter()
        .filter(|r| r.name == name && r.is_active())
        .count();
    match revisions >= revisions_max {
        true => Err(format!(
            "The limit of {revisions_max} active revisions of {name} is reached. Delete a revision first."
        )),
        false => Ok(()),
    }
}

/// What a service is bound to when it uses a revision.
pub fn scaling(settings: &Settings, revision: &Revision<AutoScaling>) -> Scaling {
    Scaling {
        arn: arn_of(settings, AUTO_SCALING, revision),
        name: revision.name.clone(),
        revision: revision.number,
        max_concurrency: revision.content.max_concurrency,
        min_size: revision.content.min_size,
        max_size: revision.content.max_size,
    }
}

/// Writes the built-in revisions down where they are not: at the first start.
pub async fn install(store: &Store, now: Millis) -> Result<(), StoreError> {
    fn built_in<T>(content: T, now: Millis) -> Revision<T> {
        Revision {
            name: BUILT_IN.to_owned(),
            number: 1,
            id: BUILT_IN_ID.to_owned(),
            created_at: now,
            deleted_at: None,
            tags: BTreeMap::new(),
            content,
        }
    }
    let scaling = AutoScaling {
        max_concurrency: 100,
        min_size: 1,
        max_size: 25,
        is_default: true,
    };
    add_first(store, AUTO_SCALING, built_in(scaling, now)).await?;
    let tracing = Observability {
        vendor: Some("AWSXRAY".to_owned()),
    };
    add_first(store, OBSERVABILITY, built_in(tracing, now)).await
}

async fn add_first<T>(store: &Store, kind: &str, revision: Revision<T>) -> Result<(), StoreError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + Send + Sync,
{
    if !store.configurations::<T>(kind).await?.is_empty() {
        return Ok(());
    }
    let added = store.configurations_change(kind, |all: &mut Vec<Revision<T>>| {
        if all.is_empty() {
            all.push(revision);
        }
        Ok::<(), std::convert::Infallible>(())
    });
    added.await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            account: "111122223333".to_owned(),
            region: "us-east-1".to_owned(),
            domain: "apron.localhost".to_owned(),
            https_port: 7443,
            registry_host: "localhost:7400".to_owned(),
            instance_endpoint: None,
            issuer: "https://localhost:7400".to_owned(),
            patience: Default::default(),
            stop_grace: std::time::Duration::from_secs(30),
            services_max: 30,
            instance_disk_bytes: 3 << 30,
            instance_pids_max: 1024,
            deleted_kept: std::time::Duration::from_secs(3600),
        }
    }

    #[test]
    fn full_and_partial_arns_select_and_foreign_ones_do_not() {
        let tail = |text: &str| {
            let arn = format!("arn:aws:apprunner:us-east-1:111122223333:{text}");
            select(&settings(), AUTO_SCALING, &arn).map(|s| (s.name, s.number, s.id))
        };
        let name = || "web".to_owned();
        assert_eq!(
            tail("autoscalingconfiguration/web"),
            Some((name(), None, None))
        );
        assert_eq!(
            tail("autoscalingconfiguration/web/2"),
            Some((name(), Some(2), None))
        );
        assert_eq!(
            tail("autoscalingconfiguration/web/2/ab"),
            Some((name(), Some(2), Some("ab".to_owned())))
        );
        for bad in [
            "autoscalingconfiguration/web/0",
            "autoscalingconfiguration/web/x",
            "connection/web/ab",
            "service/a",
        ] {
            assert_eq!(tail(bad), None, "{bad}");
        }
        let foreign = "arn:aws:apprunner:us-east-1:999999999999:autoscalingconfiguration/web";
        assert!(select(&settings(), AUTO_SCALING, foreign).is_none());
    }
}
