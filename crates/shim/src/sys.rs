//! System calls that have no safe wrapper. The process is single-threaded from its start to its end; that is what most
//! of the reasons below rest on.
#![allow(unsafe_code)]

use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::CString;

/// One instruction of a seccomp program.
pub type Instruction = libc::sock_filter;

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Flag of clone3 (linux/sched.h); the libc crate's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of linux/sched.h, as long as it was when `cgroup` came (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child process in the new namespaces that `flags` names, and in a control group of version 2 when one is
/// given; the child is given `None`.
pub fn fork_into(
    flags: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<Option<Pid>> {
    let mut arguments = CloneArgs {
        flags: flags as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: like fork: no CLONE_VM, so the child has its own copy of everything, and the only thread of the parent is
    // the caller, so no lock can be held by somebody who does not exist in the child. Without a stack the child goes on
    // with its copy of the caller's. The kernel reads as many bytes of the arguments as it is told.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArgs>(),
        )
    };
    match pid {
        -1 => Err(last_errno()),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Shows the files of a mount that is attached nowhere yet with the ids of a user namespace (mount_setattr(2)).
pub fn map_ids(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let attributes = MountAttr {
        set: libc::MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd() as u64,
    };
    // SAFETY: the path is a NUL-terminated string; the kernel reads as many bytes of the attributes as it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Makes files as this user and group (setfsuid(2)), which root may always.
pub fn set_file_ids(id: u32) {
    // SAFETY: both calls change the ids of the only thread and have no memory requirements.
    unsafe {
        libc::setfsgid(id);
        libc::setfsuid(id);
    }
}

/// Ends the process without running any destructor.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no requirements.
    unsafe { libc::_exit(code) }
}

/// Replaces the process; returns only on failure.
pub fn exec(path: &CString, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: all pointers are to NUL-terminated strings that outlive the call; both arrays end in a null pointer.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    last_errno()
}

/// Installs a seccomp filter on the process; `no_new_privs` must be set.
pub fn seccomp_install(program: &[Instruction]) -> rustix::io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program during the call and does not write to it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Blocks every signal, so that they wait for [`next_signal`], also in children.
pub fn block_signals() {
    // SAFETY: the set is initialised by sigfillset before it is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Undoes [`block_signals`] and every ignored signal, as a program expects to find them.
pub fn reset_signals() {
    // SAFETY: setting default dispositions touches no memory of ours; numbers that cannot be set are refused by the
    // kernel without effect. The set is initialised by sigemptyset before it is read.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Waits for a blocked signal and gives its number.
pub fn next_signal() -> i32 {
    // SAFETY: the set is initialised by sigfillset before it is read; a null info pointer is allowed.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut())
    }
}

/// Sends a signal given by number; for numbers that have no name.
pub fn kill(pid: Pid, signal: i32) {
    // SAFETY: kill has no memory requirements. That the process may be gone is fine.
    unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) };
}

/// Closes every descriptor but the standard streams. Called before anything else: the runtime opens one of its own when
/// a standard stream is something it does not know.
pub fn close_inherited() {
    // SAFETY: nothing in this process has opened a descriptor yet that it would use later.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// Closes every descriptor but the standard streams and `keep`.
pub fn close_all_but(keep: BorrowedFd<'_>) {
    let keep = keep.as_raw_fd() as u32;
    for (first, last) in [
        (3, keep.saturating_sub(1)),
        (keep.saturating_add(1), u32::MAX),
    ] {
        if first <= last {
            // SAFETY: only called by the container's init, which afterwards uses no descriptor but `keep` and never
            // runs a destructor.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}
