//! The data plane's listening sockets: bound once, handed to every proxy, taken back out of a running one.

use super::{ProxyConfig, ProxyError};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// Connections that wait to be accepted, per socket; the kernel may lower it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The first descriptor number that sockets have in the proxy.
const FIRST_FD: i32 = 10;

/// The listening sockets, in the order the proxy gets them.
#[derive(Debug)]
pub struct Listeners {
    /// For HTTPS.
    pub https: Vec<OwnedFd>,
    /// For plain HTTP.
    pub http: Vec<OwnedFd>,
}

/// Binds every address once per worker.
pub fn bind_all(config: &ProxyConfig) -> Result<Listeners, ProxyError> {
    for address in config.https.iter().chain(&config.http) {
        // Sockets that share a port would also share it with a foreign one that shares: ask for it alone first.
        bind(*address, false)?;
    }
    let bind_list = |addresses: &[SocketAddr]| -> Result<Vec<OwnedFd>, ProxyError> {
        let per_worker = addresses
            .iter()
            .flat_map(|address| std::iter::repeat_n(*address, config.workers));
        per_worker.map(|address| bind(address, true)).collect()
    };
    Ok(Listeners {
        https: bind_list(&config.https)?,
        http: bind_list(&config.http)?,
    })
}

fn bind(address: SocketAddr, shared: bool) -> Result<OwnedFd, ProxyError> {
    let listen = || -> io::Result<OwnedFd> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        if shared {
            socket.listen(BACKLOG)?;
        }
        Ok(socket.into())
    };
    listen().map_err(|error| ProxyError::Listen { address, error })
}

/// Descriptor numbers in the proxy: first those for HTTPS, then those for plain HTTP.
pub fn numbers(https: usize, http: usize) -> (Vec<i32>, Vec<i32>) {
    let number = |index: usize| FIRST_FD + i32::try_from(index).unwrap_or(i32::MAX - FIRST_FD);
    (
        (0..https).map(number).collect(),
        (https..https + http).map(number).collect(),
    )
}

/// Duplicates of the sockets that a running proxy has, given how many it has for HTTPS and for plain HTTP.
pub fn take_from(pidfd: &OwnedFd, https: usize, http: usize) -> io::Result<Listeners> {
    let (https, http) = numbers(https, http);
    let one = |number: &i32| pidfd_getfd(pidfd.as_fd(), *number, PidfdGetfdFlags::empty());
    let take = |numbers: &[i32]| -> io::Result<Vec<OwnedFd>> {
        numbers
            .iter()
            .map(|number| one(number).map_err(io::Error::from))
            .collect()
    };
    Ok(Listeners {
        https: take(&https)?,
        http: take(&http)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_numbers_give_each_worker_every_address() {
        let (https, http) = numbers(4, 2);
        assert_eq!((https, http), (vec![10, 11, 12, 13], vec![14, 15]));
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, false).unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("in use"),
            "{error}"
        );
    }
}
