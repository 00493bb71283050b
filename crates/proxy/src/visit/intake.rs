//! From a head to a decision: forward, redirect or answer.

use super::sticky::Sticky;
use super::{Record, Scheme, Visitor};
use crate::access::line::{self, Asked};
use crate::h1::request::Request;
use crate::h1::rewrite::{self, Forwarding};
use crate::h1::{Framing, Version};
use crate::reason::Reason;
use crate::route::Route;
use apron_link::proxy::RouteState;
use std::sync::Arc;

/// A request ready to be sent to an instance.
#[derive(Debug)]
pub struct Intake {
    /// The head as the instance gets it.
    pub head: Vec<u8>,
    /// How the body ends.
    pub framing: Framing,
    /// The client's version.
    pub version: Version,
    /// The method is HEAD.
    pub to_head: bool,
    /// May be sent again when it is unknown whether it was carried out: it is idempotent and has no body.
    pub repeatable: bool,
    /// The client's connection may take another request.
    pub persistent: bool,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// The client takes trailer fields (`TE: trailers`), which gRPC servers insist on.
    pub te_trailers: bool,
    /// What the client asks to switch the connection to.
    pub upgrade: Option<Box<str>>,
    /// How its client is kept at one instance, if it is.
    pub sticky: Option<Sticky>,
    /// Its line in the access log, as far as it is known; empty if it gets none.
    pub line: Vec<u8>,
    /// Where it goes.
    pub route: Arc<Route>,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Decision {
    /// It is forwarded.
    Forward(Box<Intake>),
    /// The platform answers.
    Answer {
        /// Why.
        reason: Reason,
        /// The method is HEAD.
        to_head: bool,
        /// The client's connection may take another request.
        persistent: bool,
        /// What is kept of it, if its service is known.
        record: Option<Box<Record>>,
    },
    /// It is to be made again, to another URL.
    Redirect {
        /// The status code.
        status: u16,
        /// The URL.
        location: String,
        /// The method is HEAD.
        to_head: bool,
        /// The client's connection may take another request.
        persistent: bool,
    },
}

impl Visitor {
    /// Decides what is done with a request.
    pub fn decide(&self, request: &Request<'_, '_>) -> Decision {
        let to_head = request.method == "HEAD";
        let bodyless = matches!(request.framing, Framing::None | Framing::Length(0));
        let persistent = request.persistent() && !self.worker.retiring();
        // An answer that does not wait for the body leaves it unread; then the connection cannot go on.
        let answer = |reason, record| Decision::Answer {
            reason,
            to_head,
            persistent: persistent && bodyless && request.version == Version::Http11,
            record,
        };
        if let Scheme::Https { name } = &self.scheme
            && **name != *request.host.name
        {
            return answer(Reason::Misdirected, None);
        }
        let Some(route) = self
            .worker
            .route(|table| table.by_host(&request.host.name).cloned())
        else {
            return answer(Reason::UnknownHost, None);
        };
        if self.scheme == Scheme::Redirect {
            let status = if matches!(request.method, "GET" | "HEAD") {
                301
            } else {
                308
            };
            let persistent = persistent && bodyless && request.version == Version::Http11;
            return Decision::Redirect {
                status,
                location: self.https_url(request),
                to_head,
                persistent,
            };
        }
        let id = self.worker.request_id();
        let line = match route.access_log {
            true => self.line(request, &route, &id),
            false => Vec::new(),
        };
        if route.state == RouteState::Paused {
            let record = Record::new(&self.worker, &route.service, line);
            return answer(Reason::Paused, Some(Box::new(record)));
        }
        let secure = matches!(self.scheme, Scheme::Https { .. });
        Decision::Forward(Box::new(Intake {
            head: self.rewritten(request, &id),
            framing: request.framing,
            version: request.version,
            to_head,
            repeatable: request.idempotent() && bodyless,
            persistent,
            expects_continue: request.expects_continue,
            te_trailers: request.takes_trailers(),
            upgrade: request.upgrade.map(Box::from),
            sticky: route.sticky.then(|| Sticky::of(request, secure)),
            line,
            route,
        }))
    }

    fn line(&self, request: &Request<'_, '_>, route: &Route, id: &[u8]) -> Vec<u8> {
        let protocol = match request.version {
            _ if self.http2 => "HTTP/2.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http10 => "HTTP/1.0",
        };
        let own_id = rewrite::request_id(request);
        let asked = Asked {
            service: &route.service.logged,
            client: &self.address,
            protocol,
            request_id: own_id.unwrap_or(id),
        };
        line::request(request, asked)
    }

    fn rewritten(&self, request: &Request<'_, '_>, id: &[u8]) -> Vec<u8> {
        let forwarding = Forwarding {
            connection: &self.forwarded,
            request_id: id,
        };
        let mut head = Vec::with_capacity(rewrite::request_head_bytes(request));
        rewrite::request_head(request, forwarding, &mut head);
        head
    }

    fn https_url(&self, request: &Request<'_, '_>) -> String {
        let (host, path) = (
            &request.host.name,
            request.target.strip_prefix('*').unwrap_or(request.target),
        );
        match self.worker.shared.https_port {
            443 => format!("https://{host}{path}"),
            port => format!("https://{host}:{port}{path}"),
        }
    }
}
