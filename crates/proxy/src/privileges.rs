//! Taking over listeners and giving up privileges.

use anyhow::{Context as _, bail};
use caps::CapSet;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, getpid, getrlimit, pidfd_getfd, pidfd_open,
    setrlimit,
};
use std::net::TcpListener;
use std::os::fd::OwnedFd;

/// Takes over listening sockets that were inherited under these descriptor numbers. Goes through a descriptor of the
/// process itself, which checks the numbers where turning them into descriptors would only believe them.
pub fn listeners(numbers: &[i32]) -> anyhow::Result<Vec<TcpListener>> {
    let pid: Pid = getpid();
    let this = pidfd_open(pid, PidfdFlags::empty())
        .context("a descriptor of this process cannot be opened")?;
    let listener = |number: &i32| {
        let socket: OwnedFd = pidfd_getfd(&this, *number, PidfdGetfdFlags::empty())
            .with_context(|| format!("descriptor {number} cannot be taken over"))?;
        match rustix::net::sockopt::socket_acceptconn(&socket) {
            Ok(true) => Ok(TcpListener::from(socket)),
            Ok(false) => bail!("descriptor {number} is a socket that does not listen"),
            Err(error) => bail!("descriptor {number} is not a socket: {error}"),
        }
    };
    numbers.iter().map(listener).collect()
}

/// Raises the bound of open descriptors as far as allowed; answers it.
pub fn raise_descriptors() -> anyhow::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("the bound of open files cannot be raised")?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// Keeps the allocator's memory in small pages: it advises the kernel to use huge ones, and then a process that holds
/// little rests on 14 MiB of them where 2 MiB suffice.
pub fn use_small_pages() -> anyhow::Result<()> {
    rustix::thread::disable_transparent_huge_pages(true).context("huge pages cannot be ruled out")
}

/// Becomes this user and group, if given, without any capability and without a way to gain one. To be called while
/// the process has one thread: capabilities belong to threads.
pub fn drop_privileges(uid: Option<u32>, gid: Option<u32>) -> anyhow::Result<()> {
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).unwrap_or(false) {
        caps::clear(None, CapSet::Bounding)
            .context("the bounding set of capabilities cannot be cleared")?;
    }
    if let Some(gid) = gid.map(Gid::from_raw) {
        setgroups(&[]).context("supplementary groups cannot be given up")?;
        setresgid(gid, gid, gid)
            .with_context(|| format!("the group cannot be changed to {gid}"))?;
    }
    if let Some(uid) = uid.map(Uid::from_raw) {
        setresuid(uid, uid, uid).with_context(|| format!("the user cannot be changed to {uid}"))?;
    }
    for set in [
        CapSet::Ambient,
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
    ] {
        caps::clear(None, set)
            .with_context(|| format!("{set:?} capabilities cannot be given up"))?;
    }
    nix::sys::prctl::set_no_new_privs().context("gaining privileges cannot be ruled out")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn only_listening_sockets_are_taken_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listeners(&[listener.as_raw_fd()]).unwrap();
        assert_eq!(
            taken[0].local_addr().unwrap(),
            listener.local_addr().unwrap()
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(
            listeners(&[file.as_raw_fd()])
                .unwrap_err()
                .to_string()
                .contains("is not a socket")
        );
        assert!(
            listeners(&[9_999])
                .unwrap_err()
                .to_string()
                .contains("cannot be taken over")
        );
    }
}
