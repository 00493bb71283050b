//! A network namespace with one interface. It is held by a descriptor and by nothing else: when the last process in it
//! and the last descriptor are gone, so are the namespace and both ends of the interface.

use super::netlink::{Netlink, Request};
use crate::error::{NodeError, Step};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::net::Ipv4Addr;

/// A prepared namespace.
#[derive(Debug)]
pub struct Namespace {
    /// Its slot.
    pub slot: u32,
    /// Its address.
    pub address: Ipv4Addr,
    /// What keeps it.
    pub descriptor: OwnedFd,
}

/// What connects a namespace to the machine.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Name of the machine's end.
    pub interface: String,
    /// Address inside.
    pub address: Ipv4Addr,
    /// Address of the machine's end.
    pub gateway: Ipv4Addr,
}

/// Name and index of the interface inside.
const INSIDE: (&str, i32) = ("eth0", 2);
const LOOPBACK_INDEX: i32 = 1;

/// Settings inside: ports below 1024 and ping need no privilege, as under Docker; there is no IPv6 way out.
const INSIDE_SETTINGS: &[(&str, &str)] = &[
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// Makes a namespace and connects it.
pub fn create(ends: &Ends) -> Result<OwnedFd, NodeError> {
    let outside = Netlink::open()?;
    // Only the thread that asks for a new namespace changes over, so it must be one that ends afterwards.
    let inside = {
        let ends = ends.clone();
        std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || build(outside, &ends))
            .step("start a thread for a network namespace")?
            .join()
            .map_err(|_| NodeError::step("make a network namespace", "its thread panicked"))?
    };
    let descriptor = inside?;
    settle_outside(&ends.interface)?;
    Ok(descriptor)
}

/// Closes the way from a namespace to an address.
pub fn close(namespace: &OwnedFd, address: Ipv4Addr) -> Result<(), NodeError> {
    let namespace = namespace.try_clone().step("keep a network namespace")?;
    // A thread of its own, for it does not come back.
    std::thread::Builder::new()
        .name("netns".to_owned())
        .spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)
                .step("enter a network namespace")?;
            Netlink::open()?.apply(&[Request::unreachable(address)])
        })
        .step("start a thread for a network namespace")?
        .join()
        .map_err(|_| NodeError::step("close a way", "its thread panicked"))?
}

fn build(mut outside: Netlink, ends: &Ends) -> Result<OwnedFd, NodeError> {
    new_namespace()?;
    let descriptor = rustix::fs::open(
        "/proc/thread-self/ns/net",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .step("open the network namespace")?;
    for (name, value) in INSIDE_SETTINGS {
        set(name, value)?;
    }
    outside
        .apply(&[Request::veth(
            &ends.interface,
            descriptor.as_fd(),
            INSIDE.0,
            INSIDE.1,
        )])
        .map_err(|error| NodeError::Missing {
            feature: "a pair of virtual interfaces (veth)",
            detail: error.to_string(),
        })?;
    let index = outside.link_index(&ends.interface)?;
    outside.apply(&[
        Request::address(index, ends.gateway),
        Request::route_to_link(index, ends.address, Some(ends.gateway)),
    ])?;
    Netlink::open()?.apply(&[
        Request::up(LOOPBACK_INDEX),
        Request::up(INSIDE.1),
        Request::address(INSIDE.1, ends.address),
        Request::route_to_link(INSIDE.1, ends.gateway, None),
        Request::default_route(INSIDE.1, ends.gateway),
    ])?;
    Ok(descriptor)
}

fn new_namespace() -> Result<(), NodeError> {
    #[allow(unsafe_code)]
    // SAFETY: the flag concerns the calling thread's view of the network alone, no descriptors; the thread is one made
    // for this and ends soon.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.step("make a network namespace")
}

/// The machine's end takes only packets that come from the instance's own address, and forwards them.
fn settle_outside(interface: &str) -> Result<(), NodeError> {
    set(&format!("net/ipv4/conf/{interface}/rp_filter"), "1")?;
    set(&format!("net/ipv4/conf/{interface}/accept_redirects"), "0")?;
    set(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1")
}

/// Writes a setting of the calling thread's namespace. Those of IPv6 are absent where it is switched off.
fn set(name: &str, value: &str) -> Result<(), NodeError> {
    let path = format!("/proc/sys/{name}");
    match std::fs::write(&path, value) {
        Err(error)
            if name.starts_with("net/ipv6/") && error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        result => result.step(format!("write {path}")),
    }
}
