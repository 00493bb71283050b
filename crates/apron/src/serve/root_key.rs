//! Taking over a key of the root user that lies in the data directory: whoever can write there needs no other proof.

use crate::paths::Paths;
use crate::root_key::file;
use anyhow::{Context, Result};
use apron_control::audit::Trail;
use apron_control::authorizer::Authorizer;
use apron_control::clock::{Clock, Machine};
use apron_control::iam::Identities;
use std::sync::Arc;

/// What is needed to take a key over.
pub struct RootKeys {
    paths: Paths,
    identities: Arc<Identities>,
    trail: Arc<Trail>,
}

impl RootKeys {
    /// Takes over what lies there at the start.
    pub async fn open(
        paths: &Paths,
        authorizer: &Authorizer,
        trail: &Arc<Trail>,
    ) -> Result<RootKeys> {
        let opened = RootKeys {
            paths: paths.clone(),
            identities: authorizer.identities().clone(),
            trail: trail.clone(),
        };
        opened.take_over().await?;
        Ok(opened)
    }

    /// Takes over what lies there, if anything does. It lies there until it is in force, so that a crash loses nothing.
    pub async fn take_over(&self) -> Result<()> {
        let Some(key) = file::read(&self.paths.new_root_key())? else {
            return Ok(());
        };
        let id = key.access_key_id.clone();
        let now = Machine.now();
        self.identities
            .reset_root_key(key.into_key(), &self.trail, now)
            .await
            .map_err(|error| anyhow::anyhow!("{}", error.message))
            .with_context(|| format!("the root user's key {id} cannot be put in force"))?;
        file::taken_over(&self.paths)?;
        tracing::info!(key = id, "the root user has a new access key, and no other");
        Ok(())
    }
}
