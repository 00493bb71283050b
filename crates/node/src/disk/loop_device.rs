//! Loop devices (loop(4)): a file as a block device.
#![allow(unsafe_code)]

use crate::error::{NodeError, Step};
use rustix::fd::AsRawFd;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;

/// Tries to get a free device before somebody else does.
const ATTEMPTS_MAX: usize = 64;

/// Major number of loop devices.
const MAJOR: u32 = 7;

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// An attached device. It detaches itself when the descriptor and the last mount are gone.
#[derive(Debug)]
pub struct Device {
    /// `/dev/loop<n>`.
    pub path: String,
    /// Keeps it attached until it is mounted.
    _descriptor: OwnedFd,
}

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Attaches a file to a free device.
pub fn attach(file: &File) -> Result<Device, NodeError> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .map_err(|error| NodeError::Missing {
            feature: "loop devices (/dev/loop-control)",
            detail: error.to_string(),
        })?;
    for _ in 0..ATTEMPTS_MAX {
        // SAFETY: the request takes no argument and touches no memory.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(NodeError::step(
                "find a free loop device",
                std::io::Error::last_os_error(),
            ));
        }
        let path = format!("/dev/loop{number}");
        let device = open(&path, number as u32)?;
        match configure(&device, file) {
            Ok(()) => {
                return Ok(Device {
                    path,
                    _descriptor: device,
                });
            }
            // Somebody was quicker.
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(NodeError::step(format!("attach a file to {path}"), errno)),
        }
    }
    Err(NodeError::step(
        "find a free loop device",
        "others took every one first",
    ))
}

fn open(path: &str, number: u32) -> Result<OwnedFd, NodeError> {
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .map(OwnedFd::from)
    };
    match open() {
        // Where /dev is no devtmpfs, nobody makes the node.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let device = rustix::fs::makedev(MAJOR, number);
            let mode = Mode::from_raw_mode(0o660);
            let made =
                rustix::fs::mknodat(rustix::fs::CWD, path, FileType::BlockDevice, mode, device);
            if !matches!(made, Ok(()) | Err(Errno::EXIST)) {
                made.step(format!("make {path}"))?;
            }
            open().step(format!("open {path}"))
        }
        result => result.step(format!("open {path}")),
    }
}

fn configure(device: &OwnedFd, file: &File) -> Result<(), Errno> {
    // SAFETY: the struct is plain numbers, for which all zeros are a value.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd() as u32;
    config.block_size = 4096;
    // Direct: pages are kept once, for the disk, and not again for the file behind it.
    config.info.flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    // SAFETY: the request reads one `loop_config`, whose layout the struct has, during the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structs_have_the_kernels_sizes() {
        assert_eq!(std::mem::size_of::<LoopInfo>(), 232);
        assert_eq!(std::mem::size_of::<LoopConfig>(), 304);
    }
}
