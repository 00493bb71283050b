//! What has to be done now and then: content that nothing needs, deleted services, old log events, ageing certificates.

use crate::engine::Engine;
use crate::executor::StepError;
use crate::images::pin_of;
use apron_domain::{Digest, Operation, Service, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(60);

/// Rounds between two collections of image content.
const COLLECT_EVERY_ROUNDS: u32 = 10;

/// Tidies up for ever, and whenever poked.
pub async fn run(engine: Arc<Engine>, poke: Arc<tokio::sync::Notify>) {
    let mut round: u32 = 0;
    loop {
        if let Err(error) = tidy(&engine).await {
            tracing::warn!(%error, "housekeeping will be tried again");
        }
        if round.is_multiple_of(COLLECT_EVERY_ROUNDS) {
            collect(&engine).await;
        }
        round = round.wrapping_add(1);
        let _ = tokio::time::timeout(EVERY, poke.notified()).await;
    }
}

/// One round: image content and snapshots are kept for what is deployed or being deployed; deleted services are
/// forgotten after their time.
pub async fn tidy(engine: &Engine) -> Result<(), StepError> {
    // Deployments do not wait for this: while one prepares its image, the next round does it.
    if let Ok(_order) = engine.preparations.try_write() {
        retain_images(engine).await?;
    }
    retain_injected(engine).await?;
    engine.sources.tidy(engine.forget_before()).await?;
    engine
        .store
        .services_forget_deleted(engine.forget_before())
        .await?;
    Ok(())
}

/// Forgets the secrets of revisions that nothing runs and nothing deploys.
async fn retain_injected(engine: &Engine) -> Result<(), StepError> {
    // In this order: what is kept for an operation that begins later is not looked at, and one that ends in between has become
    // its service's deployment.
    let kept = engine.injection.kept().await?;
    if kept.is_empty() {
        return Ok(());
    }
    let operations = engine.store.operations_unfinished().await?;
    let services = engine.store.services_live().await?;
    let mut needed: Vec<(ServiceId, u32)> = operations
        .iter()
        .map(|o| (o.service.clone(), o.revision))
        .collect();
    needed.extend(
        services
            .iter()
            .filter_map(|s| s.deployed.as_ref().map(|d| (s.id.clone(), d.revision))),
    );
    // Instances of former revisions ask for credentials until they have ended.
    needed.extend(engine.fleet.revisions());
    engine.injection.retain(&kept, &needed).await?;
    Ok(())
}

async fn retain_images(engine: &Engine) -> Result<(), StepError> {
    // In this order: a pin belongs to an operation that is seen or has ended, and an operation that ends in between is
    // seen twice, in its service too, rather than not at all.
    let pins = engine.images.content().pins().await;
    let operations = engine.store.operations_unfinished().await?;
    let services = engine.store.services_live().await?;
    let needed = needed(&operations, &services);
    let unfinished: Vec<String> = operations.iter().map(|o| pin_of(&o.id)).collect();
    let retained = match pins {
        Ok(pins) => engine.images.retain(pins, &needed, &unfinished).await,
        Err(error) => Err(error),
    };
    if let Err(error) = retained {
        tracing::warn!(%error, "image content could not be pinned");
    }
    let digests: BTreeSet<Digest> = needed.into_values().collect();
    engine.compute.retain_images(&digests).await?;
    Ok(())
}

/// The images that must stay, by the name of the pin that keeps each.
fn needed(operations: &[Operation], services: &[Service]) -> BTreeMap<String, Digest> {
    let deploying = operations
        .iter()
        .filter_map(|o| Some((pin_of(&o.id), o.image.clone()?)));
    let deployed = services.iter().flat_map(|s| {
        // What served before stays, so that a roll back needs no registry.
        let kept = s.deployed.iter().chain(&s.previous);
        kept.map(|d| {
            let pin = format!("service-{}-{}", s.id, d.revision);
            (pin, d.image.clone())
        })
    });
    deploying.chain(deployed).collect()
}

async fn collect(engine: &Engine) {
    match engine
        .images
        .content()
        .collect_garbage(engine.clock.now().0)
        .await
    {
        Ok(collected) if collected.blobs > 0 => {
            tracing::info!(
                blobs = collected.blobs,
                bytes = collected.bytes,
                "image content collected"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "image content could not be collected"),
    }
}
