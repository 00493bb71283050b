//! Instances that speak HTTP/2 without TLS (prior knowledge, RFC 9113 section 3.3): the requests of a worker share
//! connections, each within the streams its instance allows.

pub mod connections;
pub mod downstream;
pub mod exchange;
pub mod forward;
pub mod message;
pub mod replay;

use std::time::Duration;

/// Requests of one connection at the same time, if the instance allows as many.
pub const STREAMS_MAX: u32 = 100;

/// Bytes of one response that may be on their way.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;

/// Bytes of all responses of a connection: as much as its streams may have together, because they belong to different
/// clients, and one that does not read must not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX * STREAM_WINDOW_BYTES;

/// Bytes of one request that wait to be written.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// How long a connection without a request is kept.
pub const IDLE_KEPT: Duration = Duration::from_secs(30);

/// Most times a request that an instance has certainly not begun to carry out, or that may be repeated, is sent again.
pub const RETRIES_MAX: u32 = 3;
