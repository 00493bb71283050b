//! HTTP/1 on the wire for both sides of the proxy: strict parsing, framing and rewriting. Bytes in, values out; no
//! sockets, no runtime, no clock. RFC 9110 and RFC 9112 are the source; where they leave a recipient the choice between
//! repairing and refusing an ambiguous message, this codec refuses, because a repaired message may mean something else
//! to the application behind the proxy.

pub mod body;
pub mod chunk;
pub mod field;
pub mod head;
pub mod host;
pub mod name;
pub mod quick;
pub mod request;
pub mod response;
pub mod rewrite;

/// Longest message head accepted, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// Most header fields in a head or in trailers.
pub const HEADERS_MAX: usize = 100;

/// Longest block of trailer fields, in bytes.
pub const TRAILER_BYTES_MAX: usize = 16 << 10;

/// Most bytes of chunk extensions and chunk size digits in one chunk line.
pub const CHUNK_LINE_BYTES_MAX: usize = 1 << 10;

/// Most bytes of chunk extensions in one body: they are read and dropped, so they are work without use.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 << 10;

/// The protocol version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the end of a body is found (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes follow.
    Length(u64),
    /// Chunks follow, and trailer fields.
    Chunked,
    /// Everything until the connection ends; responses only.
    UntilClose,
}
