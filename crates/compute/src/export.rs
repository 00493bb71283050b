//! What an ended instance leaves behind: its changes to its image, and the bounds it ran into.

use serde::{Deserialize, Serialize};

/// What an instance is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum InstanceClass {
    /// It serves requests.
    #[default]
    Service,
    /// It builds an image: it gets what services leave of the processor, and its changes can be exported when it has ended.
    Build,
}

/// Which changes are exported, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Directories or files, absolute; what is elsewhere is left out. `/` is everything.
    pub below: Vec<String>,
    /// Paths that are left out with what is below them, absolute.
    pub without: Vec<String>,
    /// The time that everything is given, in seconds since the Unix epoch: the same changes are the same bytes.
    pub time: u64,
    /// Most bytes of file content.
    pub bytes_max: u64,
    /// Most files, directories and links.
    pub entries_max: u64,
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Bytes of file content.
    pub bytes: u64,
    /// Files, directories, links and removals. Zero: nothing was changed.
    pub entries: u64,
}

/// The bounds an instance has run into. Which of them ended it is the evidence's to say: a program may go on without the
/// process it could not start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exhausted {
    /// The kernel ended processes of it for want of memory.
    pub memory: bool,
    /// A process or thread was refused.
    pub pids: bool,
    /// Its disk has no room left.
    pub disk: bool,
}
