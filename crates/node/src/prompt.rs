//! Processes that get a processor as soon as they have something to do.
//!
//! The scheduler lets who runs finish its slice, 1.4 ms on two processors and up to 2.8 on more, before it looks at who woke
//! up. With a slice of its own that is shorter a process that wakes up takes the place of one with a longer slice at once
//! (Linux 6.12, `PREEMPT_SHORT`; sched(7) does not have it yet, sched_setattr(2) takes the slice as `sched_runtime`). Its share
//! of the processor stays what it was. Older kernels pass over it.

use std::io;
use std::process::{Child, Command};
use std::time::Duration;

/// The slice. From 0.1 ms, the least the kernel takes, to 0.3 there is no difference; 0.7 ms helps half as much.
pub const SLICE: Duration = Duration::from_micros(300);

/// Starts a process with a short slice, and with it all its threads and children. Where the scheduler does not take one,
/// the process starts without.
///
/// # Errors
///
/// The process could not be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // A thread of its own, since the child inherits what its maker has and this process keeps its own slice.
    std::thread::scope(|scope| {
        let maker = std::thread::Builder::new().spawn_scoped(scope, || {
            if let Err(error) = shorten() {
                tracing::warn!(%error, "the scheduler takes no slice of {SLICE:?}");
            }
            command.spawn()
        })?;
        let died = |_| Err(io::Error::other("the thread that starts it died"));
        maker.join().unwrap_or_else(died)
    })
}

/// Gives the calling thread the short slice and leaves the rest of how it is scheduled.
fn shorten() -> io::Result<()> {
    let mut attributes = attributes(0)?;
    // For other policies the field means something else.
    if matches!(
        attributes.sched_policy.cast_signed(),
        libc::SCHED_OTHER | libc::SCHED_BATCH
    ) {
        attributes.sched_runtime = SLICE.as_nanos().try_into().map_err(io::Error::other)?;
        set_own(&attributes)?;
    }
    Ok(())
}

/// How a thread is scheduled; zero is the caller.
#[allow(unsafe_code)]
fn attributes(thread: libc::pid_t) -> io::Result<libc::sched_attr> {
    // SAFETY: all its fields are numbers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = libc::c_uint::try_from(size_of::<libc::sched_attr>()).map_err(io::Error::other)?;
    let flags: libc::c_uint = 0;
    // SAFETY: the kernel writes at most `size` bytes, which is the size of what the pointer points to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_getattr,
            thread,
            &raw mut attributes,
            size,
            flags,
        )
    };
    match result {
        0 => Ok(attributes),
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(unsafe_code)]
fn set_own(attributes: &libc::sched_attr) -> io::Result<()> {
    let (own, flags): (libc::pid_t, libc::c_uint) = (0, 0);
    // SAFETY: the kernel reads what the structure says is its size, which `attributes` has filled in, and keeps nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            own,
            std::ptr::from_ref(attributes),
            flags,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn slice(thread: u32) -> Duration {
        let attributes = attributes(thread.cast_signed()).unwrap();
        Duration::from_nanos(attributes.sched_runtime)
    }

    #[test]
    fn a_process_and_its_children_have_a_short_slice_and_its_maker_keeps_its_own() {
        let own = slice(0);
        let mut command = Command::new("sh");
        // The shell's child says who it is and waits until it is read from no more.
        command
            .args(["-c", "sh -c 'echo $$; read -r _'; exit 0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = spawn(&mut command).unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut line).unwrap();
        let grandchild = line.trim().parse().unwrap();
        let seen = [slice(child.id()), slice(grandchild)];
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_ne!(grandchild, child.id());
        assert_eq!(slice(0), own);
        // Zero is what kernels answer that know no slices.
        if own != Duration::ZERO {
            assert_eq!(seen, [SLICE, SLICE]);
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = spawn(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
