//! What is kept of a build for the next one of the same service: results of installations, and the directories where
//! programs keep what they have downloaded or compiled.
//!
//! Both are layers in the content store under pins whose names end with the time they were made, so that what nobody uses any
//! more, of services that are gone too, goes by its age.

use super::base::short;
use super::pipeline::Changes;
use super::sandbox::{Sandbox, platform};
use apron_domain::{Failure, Millis, ServiceId};
use apron_oci::{Digest, Layer, NewImage};
use std::sync::Arc;

/// Days that results of installations are used: what a service has not locked becomes newer after that.
const RESULT_DAYS: u64 = 7;

/// Results kept per service, the newest: every instruction of a Dockerfile has one.
const RESULTS_MAX: usize = 128;

/// Days that directories of downloads are kept.
const CACHE_DAYS: u64 = 30;

/// Layers of downloads that lie on one another; with more they begin anew.
const CACHE_LAYERS_MAX: usize = 8;

/// Bytes of downloads kept per service; with more they begin anew.
const CACHE_BYTES_MAX: u64 = 2 << 30;

const RESULT: &str = "build-kept-";
const CACHE: &str = "build-cache-";
const DAY_SECONDS: u64 = 86_400;

/// Times below this are days, as former versions wrote them, and not seconds since the Unix epoch.
const DAYS_BELOW: u64 = 1_000_000;

/// The annotation that says which part of a result its first layer is.
const PARTS: &str = "io.apron.build.parts";

/// What is kept.
pub struct Keep {
    sandbox: Arc<Sandbox>,
    clock: Arc<dyn Fn() -> Millis + Send + Sync>,
}

/// A pin of this module, taken apart.
struct Kept {
    pin: String,
    key: String,
    /// In seconds since the Unix epoch.
    made: u64,
    digest: Digest,
}

impl Keep {
    /// What the content store has.
    pub fn new(sandbox: Arc<Sandbox>, clock: Arc<dyn Fn() -> Millis + Send + Sync>) -> Keep {
        Keep { sandbox, clock }
    }

    /// The time, in seconds since the Unix epoch.
    pub fn now_seconds(&self) -> u64 {
        (self.clock)().0 / 1000
    }

    /// The result of an installation, if it is kept.
    pub async fn result(&self, service: &ServiceId, key: &str) -> Result<Option<Changes>, Failure> {
        let key = format!("{service}-{key}");
        let kept = self.pins(RESULT, RESULT_DAYS).await?;
        let Some(found) = kept.iter().find(|kept| kept.key == key) else {
            return Ok(None);
        };
        // What cannot be read any more is made again.
        let Ok(image) = self.sandbox.content.image(found.digest.as_str()).await else {
            return Ok(None);
        };
        let parts = image.config.labels.get(PARTS).cloned().unwrap_or_default();
        let mut layers = image.layers.into_iter();
        let mut part = |name| parts.contains(name).then(|| layers.next()).flatten();
        let app = part("app");
        Ok(Some(Changes {
            app,
            rest: part("rest"),
        }))
    }

    /// Keeps a result.
    pub async fn keep_result(
        &self,
        service: &ServiceId,
        key: &str,
        changes: &Changes,
    ) -> Result<(), Failure> {
        let mut parts = Vec::new();
        parts.extend(changes.app.as_ref().map(|_| "app"));
        parts.extend(changes.rest.as_ref().map(|_| "rest"));
        let mut image = NewImage {
            layers: changes.app.iter().chain(&changes.rest).cloned().collect(),
            ..NewImage::default()
        };
        image.config.labels = [(PARTS.to_owned(), parts.join(" "))].into();
        self.pin(RESULT, &format!("{service}-{key}"), &image)
            .await?;
        let prefix = format!("{service}-");
        let mut own = self.pins(RESULT, RESULT_DAYS).await?;
        own.retain(|kept| kept.key.starts_with(&prefix));
        for pin in too_many(own) {
            self.unpin(&pin).await?;
        }
        Ok(())
    }

    /// The layers of downloads, lowest first. The key is the service, or what [`Keep::cache_key`] makes of it.
    pub async fn cache(&self, key: &str) -> Result<Vec<Layer>, Failure> {
        let kept = self.pins(CACHE, CACHE_DAYS).await?;
        let Some(found) = kept.iter().find(|kept| kept.key == key) else {
            return Ok(Vec::new());
        };
        let image = self.sandbox.content.image(found.digest.as_str()).await;
        Ok(image.map(|image| image.layers).unwrap_or_default())
    }

    /// The key of one of a service's directories that its Dockerfile names.
    pub fn cache_key(service: &ServiceId, id: &str) -> String {
        format!("{service}-{}", short(id))
    }

    /// Keeps layers of downloads, or none when they have become too many.
    pub async fn keep_cache(&self, key: &str, layers: Vec<Layer>) -> Result<(), Failure> {
        let former = self.pins(CACHE, CACHE_DAYS).await?;
        let bytes: u64 = layers.iter().map(|layer| layer.size).sum();
        let mut pin = None;
        if layers.len() <= CACHE_LAYERS_MAX && bytes <= CACHE_BYTES_MAX {
            let image = NewImage {
                layers,
                ..NewImage::default()
            };
            pin = Some(self.pin(CACHE, key, &image).await?);
        }
        let own = former.iter().filter(|kept| kept.key == key);
        for old in own.filter(|kept| Some(&kept.pin) != pin.as_ref()) {
            self.unpin(&old.pin).await?;
        }
        Ok(())
    }

    async fn pin(&self, kind: &str, key: &str, image: &NewImage) -> Result<String, Failure> {
        let content = &self.sandbox.content;
        let digest = content.compose(image).await.map_err(platform)?;
        let pin = format!("{kind}{key}-{}", self.now_seconds());
        content.pin(&pin, digest.as_str()).await.map_err(platform)?;
        Ok(pin)
    }

    async fn unpin(&self, pin: &str) -> Result<(), Failure> {
        self.sandbox.content.unpin(pin).await.map_err(platform)
    }

    /// The pins of a kind, without those that are too old, which are removed.
    async fn pins(&self, kind: &str, days: u64) -> Result<Vec<Kept>, Failure> {
        let mut kept = Vec::new();
        for (pin, digest) in self.sandbox.content.pins().await.map_err(platform)? {
            let parts = pin
                .strip_prefix(kind)
                .and_then(|rest| rest.rsplit_once('-'));
            let Some((key, made)) = parts else { continue };
            let Some(made) = seconds(made) else { continue };
            let key = key.to_owned();
            match self.now_seconds().saturating_sub(made) > days * DAY_SECONDS {
                true => self.unpin(&pin).await?,
                false => kept.push(Kept {
                    pin,
                    key,
                    made,
                    digest,
                }),
            }
        }
        Ok(kept)
    }
}

/// The results that are older than the newest so many.
fn too_many(mut own: Vec<Kept>) -> impl Iterator<Item = String> {
    own.sort_by_key(|kept| std::cmp::Reverse(kept.made));
    own.into_iter().skip(RESULTS_MAX).map(|kept| kept.pin)
}

/// The time in a pin's name.
fn seconds(text: &str) -> Option<u64> {
    let number = text.parse().ok()?;
    match number < DAYS_BELOW {
        true => Some(number * DAY_SECONDS),
        false => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_results_go_first_also_of_one_day() {
        assert_eq!(seconds("20000"), Some(1_728_000_000));
        assert_eq!(seconds("1728000001"), Some(1_728_000_001));
        assert_eq!(seconds("x"), None);
        let kept = |number: u64| Kept {
            // In another order by name than by time.
            pin: format!("{}", 999 - number),
            key: String::new(),
            made: 1_728_000_000 + number,
            digest: Digest::of(b""),
        };
        let gone: Vec<String> = too_many((0..RESULTS_MAX as u64 + 2).map(kept).collect()).collect();
        assert_eq!(gone, ["998", "999"]);
    }
}
