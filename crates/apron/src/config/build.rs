//! The section `build` of `apron.toml`.

use apron_builder::BuilderOptions;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How source code is built.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Builds at the same time, in place of 2.
    pub parallel: Option<usize>,
    /// Builds use every processor, also the core that they otherwise leave to services.
    pub every_processor: bool,
    /// Services may be created with runtimes past their end of support.
    pub retired_runtimes: bool,
    /// Base images in place of those made here: a runtime's name in the API, and an image.
    pub images: BTreeMap<String, String>,
    /// Variables for the commands of builds, for example where the package registries are.
    pub environment: BTreeMap<String, String>,
    /// Where Debian's packages come from, in place of Debian's own mirrors.
    pub mirror: Option<String>,
    /// An archive of a Debian root file system that base images are made on.
    pub debian_archive: Option<PathBuf>,
    /// Certificates (PEM) that builds trust besides what their image trusts, in place of the machine's own.
    pub trust: Option<PathBuf>,
}

impl Build {
    /// As the builder takes it.
    pub fn options(&self) -> BuilderOptions {
        let usual = BuilderOptions::default();
        BuilderOptions {
            images: self.images.clone(),
            environment: self.environment.clone(),
            mirror: self.mirror.clone(),
            debian_archive: self.debian_archive.clone(),
            trust: self.trust.clone().or(usual.trust),
            parallel: self.parallel.unwrap_or(usual.parallel),
            ..BuilderOptions::default()
        }
    }
}
