//! The few route netlink requests that interfaces need (rtnetlink(7)), sent together and answered together.

use crate::error::{NodeError, Step};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::Ipv4Addr;

/// Size of one answer's buffer, in bytes; the kernel fills at most 32 KiB of a list at once.
const ANSWER_BYTES_MAX: usize = 64 << 10;

const NLMSG_HEADER_BYTES: usize = 16;
const IFINFO_BYTES: usize = 16;
const ROUTE_TYPE_AT: usize = 7;
const VETH_INFO_PEER: u16 = 1;

/// A message under construction.
#[derive(Debug)]
pub struct Request {
    bytes: Vec<u8>,
    kind: u16,
    flags: u16,
    /// A failure with one of these means that it was done before.
    tolerated: &'static [Errno],
    what: String,
}

/// A route netlink socket; it works on the namespace it was opened in.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
}

impl Request {
    fn new(kind: u16, flags: i32, what: impl Into<String>) -> Request {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        Request {
            bytes: Vec::new(),
            kind,
            flags,
            tolerated: &[],
            what: what.into(),
        }
    }

    /// Makes a pair of interfaces: `name` here and up, the other in the namespace of `peer` and not up yet: the kernel
    /// refuses to switch an end on before it has the other.
    pub fn veth(name: &str, peer: BorrowedFd<'_>, peer_name: &str, peer_index: i32) -> Request {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
        let mut request = Request::new(
            libc::RTM_NEWLINK,
            flags,
            format!("make the interface {name}"),
        );
        request.interface(0, libc::IFF_UP);
        request.text(libc::IFLA_IFNAME, name);
        request.nested(libc::IFLA_LINKINFO, |request| {
            request.text(libc::IFLA_INFO_KIND, "veth");
            request.nested(libc::IFLA_INFO_DATA, |request| {
                request.nested(VETH_INFO_PEER, |request| {
                    request.interface(peer_index, 0);
                    request.text(libc::IFLA_IFNAME, peer_name);
                    request.attribute(libc::IFLA_NET_NS_FD, &peer.as_raw_fd().to_ne_bytes());
                });
            });
        });
        request
    }

    /// Switches an interface on.
    pub fn up(index: i32) -> Request {
        let mut request =
            Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, "switch an interface on");
        request.interface(index, libc::IFF_UP);
        request
    }

    /// Gives an interface an address without neighbours.
    pub fn address(index: i32, address: Ipv4Addr) -> Request {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_ACK;
        let mut request = Request::new(
            libc::RTM_NEWADDR,
            flags,
            format!("set the address {address}"),
        );
        request
            .bytes
            .extend([libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_UNIVERSE]);
        request.bytes.extend((index as u32).to_ne_bytes());
        request.attribute(libc::IFA_LOCAL, &address.octets());
        request.attribute(libc::IFA_ADDRESS, &address.octets());
        request
    }

    /// Routes one address to an interface; packets of this machine on that way come from `source`.
    pub fn route_to_link(index: i32, destination: Ipv4Addr, source: Option<Ipv4Addr>) -> Request {
        let mut request = Request::route(32, libc::RT_SCOPE_LINK, format!("route {destination}"));
        request.attribute(libc::RTA_DST, &destination.octets());
        request.attribute(libc::RTA_OIF, &(index as u32).to_ne_bytes());
        if let Some(source) = source {
            request.attribute(libc::RTA_PREFSRC, &source.octets());
        }
        request
    }

    /// Routes everything else to a gateway.
    pub fn default_route(index: i32, gateway: Ipv4Addr) -> Request {
        let mut request = Request::route(
            0,
            libc::RT_SCOPE_UNIVERSE,
            "set the default route".to_owned(),
        );
        request.attribute(libc::RTA_GATEWAY, &gateway.octets());
        request.attribute(libc::RTA_OIF, &(index as u32).to_ne_bytes());
        request
    }

    /// Answers one address with "unreachable", before any other route.
    pub fn unreachable(destination: Ipv4Addr) -> Request {
        let scope = libc::RT_SCOPE_UNIVERSE;
        let mut request = Request::route(32, scope, format!("close the way to {destination}"));
        // The last byte of the header (rtnetlink(7), `rtm_type`).
        request.bytes[ROUTE_TYPE_AT] = libc::RTN_UNREACHABLE;
        request.attribute(libc::RTA_DST, &destination.octets());
        request
    }

    fn route(prefix: u8, scope: u8, what: String) -> Request {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE | libc::NLM_F_ACK;
        let mut request = Request::new(libc::RTM_NEWROUTE, flags, what);
        let (table, protocol, kind) = (libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, libc::RTN_UNICAST);
        request.bytes.extend([
            libc::AF_INET as u8,
            prefix,
            0,
            0,
            table,
            protocol,
            scope,
            kind,
        ]);
        request.bytes.extend(0_u32.to_ne_bytes());
        request
    }

    fn interface(&mut self, index: i32, flags: i32) {
        self.bytes.extend([libc::AF_UNSPEC as u8, 0, 0, 0]);
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |request| request.bytes.extend(value));
    }

    fn nested(&mut self, kind: u16, content: impl FnOnce(&mut Request)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        content(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn encode(&self, sequence: u32) -> Vec<u8> {
        let mut message = Vec::with_capacity(NLMSG_HEADER_BYTES + self.bytes.len());
        message.extend(((NLMSG_HEADER_BYTES + self.bytes.len()) as u32).to_ne_bytes());
        message.extend(self.kind.to_ne_bytes());
        message.extend(self.flags.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(&self.bytes);
        message
    }
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread.
    pub fn open() -> Result<Netlink, NodeError> {
        let flags = SocketFlags::CLOEXEC;
        // No protocol is number zero, which is the route protocol.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
            .step("open a netlink socket")?;
        Ok(Netlink { socket })
    }

    /// Sends requests in order and waits for all answers; the first failure is returned.
    pub fn apply(&mut self, requests: &[Request]) -> Result<(), NodeError> {
        let messages: Vec<u8> = requests
            .iter()
            .enumerate()
            .flat_map(|(index, request)| request.encode(index as u32))
            .collect();
        self.send(&messages)?;
        let mut failure = None;
        let mut answered = 0;
        while answered < requests.len() {
            for message in messages_of(&self.receive()?) {
                if message.kind != libc::NLMSG_ERROR as u16 {
                    continue;
                }
                answered += 1;
                let request = &requests[(message.sequence as usize).min(requests.len() - 1)];
                let code = message
                    .body
                    .first_chunk()
                    .map_or(0, |bytes| -i32::from_ne_bytes(*bytes));
                if code == 0 {
                    continue;
                }
                let errno = Errno::from_raw_os_error(code);
                if !request.tolerated.contains(&errno) && failure.is_none() {
                    failure = Some(NodeError::step(request.what.clone(), errno));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The index of an interface.
    pub fn link_index(&mut self, name: &str) -> Result<i32, NodeError> {
        let mut request = Request::new(
            libc::RTM_GETLINK,
            0,
            format!("look for the interface {name}"),
        );
        request.interface(0, 0);
        request.text(libc::IFLA_IFNAME, name);
        self.send(&request.encode(0))?;
        let answer = self.receive()?;
        messages_of(&answer)
            .into_iter()
            .find(|message| message.kind == libc::RTM_NEWLINK)
            .and_then(|message| {
                message
                    .body
                    .get(4..8)?
                    .first_chunk()
                    .map(|bytes| i32::from_ne_bytes(*bytes))
            })
            .ok_or_else(|| NodeError::step(request.what, "it does not exist"))
    }

    /// The names of all interfaces.
    pub fn link_names(&mut self) -> Result<Vec<String>, NodeError> {
        let mut request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, "list interfaces");
        request.interface(0, 0);
        self.send(&request.encode(0))?;
        let mut names = Vec::new();
        loop {
            for message in messages_of(&self.receive()?) {
                match i32::from(message.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => return Ok(names),
                    kind if kind == i32::from(libc::RTM_NEWLINK) => {
                        names.extend(link_name(message.body))
                    }
                    _ => {}
                }
            }
        }
    }

    /// Removes an interface and its other end; one that does not exist is fine.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NodeError> {
        let what = format!("remove the interface {name}");
        let mut request = Request::new(libc::RTM_DELLINK, libc::NLM_F_ACK, what);
        request.tolerated = &[Errno::NODEV];
        request.interface(0, 0);
        request.text(libc::IFLA_IFNAME, name);
        self.apply(&[request])
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NodeError> {
        rustix::net::send(&self.socket, bytes, SendFlags::empty())
            .step("send on a netlink socket")?;
        Ok(())
    }

    fn receive(&self) -> Result<Vec<u8>, NodeError> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let (length, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())
            .step("read a netlink socket")?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

fn messages_of(mut bytes: &[u8]) -> Vec<Message<'_>> {
    let mut messages = Vec::new();
    while let Some(header) = bytes.first_chunk::<NLMSG_HEADER_BYTES>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = bytes.get(NLMSG_HEADER_BYTES..length) else {
            break;
        };
        messages.push(Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body,
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

fn link_name(body: &[u8]) -> Option<String> {
    let mut attributes = body.get(IFINFO_BYTES..)?;
    loop {
        let header = attributes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([header[2], header[3]]) == libc::IFLA_IFNAME {
            let name = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(name).into_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_are_aligned_and_measured() {
        let request = Request::address(7, Ipv4Addr::new(10, 0, 0, 2));
        let bytes = request.encode(3);
        assert_eq!(bytes.len() % 4, 0);
        let messages = messages_of(&bytes);
        assert_eq!(messages.len(), 1);
        assert_eq!(
            (messages[0].kind, messages[0].sequence),
            (libc::RTM_NEWADDR, 3)
        );
        assert_eq!(&messages[0].body[..8], [2, 32, 0, 0, 7, 0, 0, 0]);
        assert_eq!(&messages[0].body[8..16], [8, 0, 2, 0, 10, 0, 0, 2]);
    }

    #[test]
    fn a_cut_answer_is_no_message() {
        let bytes = Request::up(1).encode(0);
        assert!(messages_of(&bytes[..bytes.len() - 1]).is_empty());
        assert!(link_name(&bytes[..20]).is_none());
    }

    #[test]
    fn names_of_interfaces_are_found() {
        let mut request = Request::new(libc::RTM_NEWLINK, 0, "");
        request.interface(1, 0);
        request.attribute(libc::IFLA_MTU, &[0; 4]);
        request.text(libc::IFLA_IFNAME, "eth0");
        assert_eq!(link_name(&request.bytes).as_deref(), Some("eth0"));
    }
}
