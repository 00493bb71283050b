//! What a build is asked for, and what comes of it.

use apron_domain::{Digest, OperationId, ServiceId};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the source came from; recorded in the image (OCI image specification, annotations).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The repository's URL without credentials.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The commit, in full.
    pub commit: String,
}

/// How the source is to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// As `apprunner.yaml` in the source directory says (`ConfigurationSource` REPOSITORY).
    Repository,
    /// As the API says (`ConfigurationSource` API).
    Api(ApiConfiguration),
    /// As the Dockerfile in the source directory says.
    Dockerfile,
}

/// `CodeConfigurationValues` of the API, as far as a build needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfiguration {
    /// The runtime's name in the API, for example `PYTHON_311`.
    pub runtime: String,
    /// `BuildCommand`.
    pub build_command: Option<String>,
    /// `StartCommand`.
    pub start_command: Option<String>,
}

/// A build to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRequest {
    /// The operation it belongs to.
    pub operation: OperationId,
    /// The service it is for; dependencies are cached per service.
    pub service: ServiceId,
    /// The service's name, for people.
    pub service_name: String,
    /// A directory with the files of the commit, without `.git`. Its content is not to be trusted: names, links and sizes are
    /// whatever the repository holds.
    pub source: PathBuf,
    /// The source directory within it, absolute from its root: `/` or `/app`.
    pub directory: String,
    /// How to build it.
    pub configuration: Configuration,
    /// Where it came from.
    pub origin: Origin,
}

/// A built image and how to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The digest of the manifest.
    pub image: Digest,
    /// How the application is started; `None` if the image says so itself.
    pub start_command: Option<String>,
    /// The port the file names; the API's value is used where there is none.
    pub port: Option<u16>,
    /// The further variable that carries the port (`run.network.env`).
    pub port_variable: Option<String>,
    /// Variables of the file for the application.
    pub environment: BTreeMap<String, String>,
    /// Secrets of the file for the application: the variable's name and where its value is.
    pub secrets: BTreeMap<String, String>,
}
