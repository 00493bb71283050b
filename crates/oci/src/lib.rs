//! Container images: the content store on disk, the distribution server (`/v2/`), the client of other registries, and
//! the packing and unpacking of layers. Knows no services and no accounts.

mod clock;
mod digest;
mod disk_work;
mod error;
mod image;
mod image_name;
mod manifest;
mod pack;
mod pull;
mod reference;
mod registry;
mod store;
mod unpack;

pub use digest::Digest;
pub use error::OciError;
pub use image::{Image, ImageConfig, Layer};
pub use image_name::ImageName;
pub use manifest::{
    DOCKER_LIST, DOCKER_MANIFEST, MANIFEST_BYTES_MAX, MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST,
};
pub use pack::{Owners, PackError, PackOptions, Packed, Source, pack};
pub use pull::{Credentials, PullError, Puller, PullerOptions};
pub use reference::{
    REPOSITORY_NAME_BYTES_MAX, Reference, TAG_BYTES_MAX, check_repository, check_tag,
};
pub use registry::{Action, Gate, Refusal, RegistryBounds, Visitor, registry};
pub use store::{
    Collected, ContentStore, LayerWriter, ManifestEntry, NewImage, PutManifest, StoreBounds,
    TagEntry,
};
pub use unpack::{UnpackBounds, UnpackError, UnpackReport, remove_tree, unpack, unpack_unsynced};
