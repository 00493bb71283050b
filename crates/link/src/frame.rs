//! Framing: four bytes of big-endian length, then that many bytes of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message accepted, in bytes. A route table of 10,000 services with their certificates is about 20 MB.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length prefix is over [`MESSAGE_BYTES_MAX`].
    #[error("message of {0} bytes is over the bound of {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// The body is not the expected message.
    #[error("message is not understood")]
    Malformed(#[from] serde_json::Error),
}

/// The bytes of a message, with its length in front.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// Collects received bytes and gives out whole messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds bytes as they were received.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it has arrived. After an error the connection cannot be used further.
    // Not an iterator: the type of the message is the caller's choice at each call.
    #[allow(clippy::should_implement_trait)]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some((prefix, body)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = body.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)?;
        self.start += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut() {
        let bytes: Vec<u8> = ["a", "", "ccc"]
            .iter()
            .flat_map(|text| encode(&text.to_string()).unwrap())
            .collect();
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen: Vec<String> = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(message) = decoder.next().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, ["a", "", "ccc"]);
        }
    }

    #[test]
    fn an_absurd_length_is_refused_before_it_is_buffered() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(
            decoder.next::<String>(),
            Err(FrameError::TooLong(_))
        ));
    }
}
