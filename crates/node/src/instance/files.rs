//! The instance's directory: plan, socket, exit.

use crate::error::{NodeError, Step};
use apron_compute::Exit;
use apron_domain::Millis;
use apron_link::instance::{
    self as wire, EXIT_FILE, IDENTITY_DIRECTORY, PID_FILE, PLAN_FILE, Plan, SOCKET_FILE, TOKEN_FILE,
};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The directories of all instances.
#[derive(Clone, Debug)]
pub struct InstanceFiles {
    root: PathBuf,
}

impl InstanceFiles {
    /// Opens `<run>/instances`, making it when necessary; only root may look into it.
    pub fn open(run_dir: &Path) -> Result<InstanceFiles, NodeError> {
        let root = run_dir.join("instances");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root)
            .step(format!("make {}", root.display()))?;
        Ok(InstanceFiles { root })
    }

    /// The directory of an instance.
    pub fn directory(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// The names of all directories.
    pub fn list(&self) -> Result<Vec<String>, NodeError> {
        let entries =
            std::fs::read_dir(&self.root).step(format!("list {}", self.root.display()))?;
        Ok(entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    /// Makes the directory with the plan and the listening socket, which is there before the shim is.
    pub fn create(&self, plan: &Plan) -> Result<UnixListener, NodeError> {
        let directory = self.directory(&plan.id);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .step(format!("make {}", directory.display()))?;
        let text = serde_json::to_vec(plan).step("encode a plan")?;
        write_whole(&directory, PLAN_FILE, &text)?;
        let listener =
            UnixListener::bind(reachable(&directory)?.path()).step("open the shim's socket")?;
        std::fs::set_permissions(
            directory.join(SOCKET_FILE),
            std::fs::Permissions::from_mode(0o600),
        )
        .step("close the shim's socket to others")?;
        Ok(listener)
    }

    /// Makes the directory that the container is to see, with the first token. Nobody but root comes to it on the machine,
    /// because the instance's own directory is closed; in the container everybody may read.
    pub fn create_identity(&self, id: &str, token: &str) -> Result<(), NodeError> {
        let directory = self.directory(id).join(IDENTITY_DIRECTORY);
        std::fs::create_dir(&directory).step(format!("make {}", directory.display()))?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))
            .step(format!("open {} to its reader", directory.display()))?;
        write_with(&directory, TOKEN_FILE, token.as_bytes(), 0o644)
    }

    /// Puts another token in the place of an instance's. Returns whether the instance has one.
    pub fn replace_token(&self, id: &str, token: &str) -> Result<bool, NodeError> {
        let directory = self.directory(id).join(IDENTITY_DIRECTORY);
        match directory.is_dir() {
            true => write_with(&directory, TOKEN_FILE, token.as_bytes(), 0o644).map(|()| true),
            false => Ok(false),
        }
    }

    /// The plan of an instance, if there is a whole one.
    pub fn plan(&self, id: &str) -> Option<Plan> {
        let bytes = std::fs::read(self.directory(id).join(PLAN_FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The recorded end of an instance.
    pub fn exit(&self, id: &str) -> Option<Exit> {
        let bytes = std::fs::read(self.directory(id).join(EXIT_FILE)).ok()?;
        serde_json::from_slice(&bytes).ok().map(exit_from_wire)
    }

    /// Records the end of an instance whose shim could not.
    pub fn record_exit(&self, id: &str, exit: &Exit) -> Result<(), NodeError> {
        let text = serde_json::to_vec(&exit_to_wire(exit)).step("encode an exit")?;
        write_whole(&self.directory(id), EXIT_FILE, &text)
    }

    /// Whether a shim ever began to work on an instance.
    pub fn has_begun(&self, id: &str) -> bool {
        self.directory(id).join(PID_FILE).exists()
    }

    /// Removes an instance's directory. One that is gone is fine.
    pub fn remove(&self, id: &str) -> Result<(), NodeError> {
        let directory = self.directory(id);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(NodeError::step(
                format!("remove {}", directory.display()),
                error,
            )),
            _ => Ok(()),
        }
    }
}

/// A way to a socket that is short enough for a socket address wherever the directory is.
pub struct ReachableSocket {
    directory: OwnedFd,
}

impl ReachableSocket {
    /// Valid while `self` lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/self/fd/{}/{SOCKET_FILE}",
            self.directory.as_raw_fd()
        ))
    }
}

/// The way to the socket in an instance's directory.
pub fn reachable(directory: &Path) -> Result<ReachableSocket, NodeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())
        .step(format!("open {}", directory.display()))?;
    Ok(ReachableSocket { directory })
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), NodeError> {
    write_with(directory, name, bytes, 0o600)
}

fn write_with(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), NodeError> {
    let temporary = directory.join(format!("{name}.tmp"));
    let path = directory.join(name);
    std::fs::write(&temporary, bytes)
        .and_then(|()| std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode)))
        .and_then(|()| std::fs::rename(&temporary, &path))
        .step(format!("write {}", path.display()))
}

/// The contract's words for an end.
pub fn exit_from_wire(exit: wire::Exit) -> Exit {
    Exit {
        code: exit.code,
        signal: exit.signal,
        out_of_memory: exit.out_of_memory,
        error: exit.error,
        at: Millis(exit.at_ms),
    }
}

fn exit_to_wire(exit: &Exit) -> wire::Exit {
    wire::Exit {
        code: exit.code,
        signal: exit.signal,
        out_of_memory: exit.out_of_memory,
        error: exit.error.clone(),
        at_ms: exit.at.0,
    }
}
