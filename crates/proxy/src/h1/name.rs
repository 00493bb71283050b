//! The header fields the proxy treats in a special way.

use super::field::Header;

/// What a field name means to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `X-Forwarded-For`: what the client sent is kept and appended to, as App Runner does.
    ForwardedFor,
    /// `Forwarded`, `X-Forwarded-Proto` and everything else a proxy says about the client's connection: replaced.
    ForwardedOther,
    /// `X-Request-Id`.
    RequestId,
    /// `X-Apron-Reason`: only the platform says it.
    Reason,
    /// `Keep-Alive`, a field of one connection.
    KeepAlive,
    /// Other fields of one connection (RFC 9110 section 7.6.1), and `Proxy`, which CGI would take for configuration.
    HopByHop,
    /// Anything else: passed on as it is.
    Other,
}

/// Classifies a field name. An underscore counts as a hyphen, and a name that is special only by that is a
/// [`Name::HopByHop`]: gateways that turn fields into variables (CGI, WSGI) cannot tell `X_Forwarded_For` from
/// `X-Forwarded-For`, so a lookalike must not reach the application.
pub fn classify(bytes: &[u8]) -> Name {
    let Some(first) = bytes.first() else {
        return Name::Other;
    };
    // Length and first letter rule out nearly every other name before any bytes are compared.
    let known = match (bytes.len(), first | 0x20) {
        (2, b't') if same(bytes, b"te") => Name::HopByHop,
        (4, b'h') if same(bytes, b"host") => Name::Host,
        (5, b'p') if same(bytes, b"proxy") => Name::HopByHop,
        (6, b'e') if same(bytes, b"expect") => Name::Expect,
        (7, b'u') if same(bytes, b"upgrade") => Name::Upgrade,
        (9, b'f') if same(bytes, b"forwarded") => Name::ForwardedOther,
        (10, b'c') if same(bytes, b"connection") => Name::Connection,
        (10, b'k') if same(bytes, b"keep-alive") => Name::KeepAlive,
        (12, b'x') if same(bytes, b"x-request-id") => Name::RequestId,
        (14, b'c') if same(bytes, b"content-length") => Name::ContentLength,
        (14, b'x') if same(bytes, b"x-apron-reason") => Name::Reason,
        (15, b'x') if same(bytes, b"x-forwarded-for") => Name::ForwardedFor,
        (16, b'p') if same(bytes, b"proxy-connection") => Name::HopByHop,
        (17, b't') if same(bytes, b"transfer-encoding") => Name::TransferEncoding,
        (13.., b'x') if same(&bytes[..12], b"x-forwarded-") => Name::ForwardedOther,
        _ => return Name::Other,
    };
    match bytes.contains(&b'_') {
        true => Name::HopByHop,
        false => known,
    }
}

/// Every byte in lower case, an underscore as a hyphen.
const FOLDED: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'_' => b'-',
            other => other.to_ascii_lowercase(),
        };
        byte += 1;
    }
    table
};

fn same(name: &[u8], lower: &[u8]) -> bool {
    let mut pairs = name.iter().zip(lower);
    name.len() == lower.len() && pairs.all(|(a, b)| FOLDED[usize::from(*a)] == *b)
}

/// A set of fields of one head, by their positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u128);

// Every field of a head has a bit.
const _: () = assert!(super::HEADERS_MAX <= u128::BITS as usize);

impl Fields {
    /// Those of `headers` whose names `wanted` takes.
    pub fn of(headers: &[Header<'_>], wanted: impl Fn(Name) -> bool) -> Fields {
        let mut fields = Fields::default();
        for (at, header) in headers.iter().enumerate() {
            if wanted(classify(header.name)) {
                fields.add(at);
            }
        }
        fields
    }

    /// Adds the field at this position.
    pub fn add(&mut self, at: usize) {
        self.0 |= 1 << (at & 127);
    }

    /// Whether the field at this position is one of them.
    pub fn has(self, at: usize) -> bool {
        self.0 >> (at & 127) & 1 == 1
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These without those that a `Connection` field names.
    pub fn without_nominated(mut self, headers: &[Header<'_>]) -> Fields {
        for (at, header) in headers.iter().enumerate() {
            if self.has(at) && nominated(headers, header.name) {
                self.0 &= !(1 << (at & 127));
            }
        }
        self
    }
}

/// Whether a trailer field may be passed on: nothing that frames, routes, authenticates or belongs to one connection
/// (RFC 9110 section 6.5.1).
pub fn allowed_in_trailers(name: &[u8]) -> bool {
    const REFUSED: [&str; 12] = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "set-cookie",
        "trailer",
        "www-authenticate",
    ];
    classify(name) == Name::Other && !REFUSED.iter().any(|refused| same(name, refused.as_bytes()))
}

/// What a `Connection` field asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`.
    pub close: bool,
    /// `keep-alive`.
    pub keep_alive: bool,
    /// `upgrade`.
    pub upgrade: bool,
    /// Names fields that must not be passed on.
    pub nominates: bool,
}

impl ConnectionOptions {
    /// Adds the options of one `Connection` field.
    pub fn add(&mut self, value: &[u8]) {
        for option in options(value) {
            match option {
                _ if option.eq_ignore_ascii_case(b"close") => self.close = true,
                _ if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ => self.nominates = true,
            }
        }
    }
}

/// Whether some `Connection` field among `headers` names the field `name`.
pub fn nominated(headers: &[Header<'_>], name: &[u8]) -> bool {
    let connection = headers
        .iter()
        .filter(|header| classify(header.name) == Name::Connection);
    connection
        .flat_map(|header| options(header.value))
        .any(|option| option.eq_ignore_ascii_case(name))
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(classify(b"hOsT"), Name::Host);
        assert_eq!(classify(b"Transfer-Encoding"), Name::TransferEncoding);
        assert_eq!(classify(b"X-Forwarded-Proto"), Name::ForwardedOther);
        assert_eq!(classify(b"x-forwarded-for"), Name::ForwardedFor);
        assert_eq!(classify(b"x-forwarded"), Name::Other);
        assert_eq!(classify(b"content-type"), Name::Other);
    }

    #[test]
    fn lookalikes_do_not_pass() {
        for name in [
            "X_Forwarded_For",
            "content_length",
            "X-Forwarded_Proto",
            "transfer_encoding",
            "x_request_id",
        ] {
            assert_eq!(classify(name.as_bytes()), Name::HopByHop, "{name}");
        }
        assert_eq!(classify(b"my_header"), Name::Other);
    }

    #[test]
    fn connection_options_are_lists() {
        let mut options = ConnectionOptions::default();
        options.add(b" close ,, x-secret,Upgrade");
        assert_eq!(
            options,
            ConnectionOptions {
                close: true,
                keep_alive: false,
                upgrade: true,
                nominates: true
            }
        );
    }

    #[test]
    fn trailers_cannot_frame_or_authenticate() {
        assert!(allowed_in_trailers(b"grpc-status"));
        for name in [
            "Content-Length",
            "host",
            "authorization",
            "set-cookie",
            "transfer-encoding",
            "connection",
        ] {
            assert!(!allowed_in_trailers(name.as_bytes()), "{name}");
        }
    }
}
