//! Where the frames of a WebSocket begin (RFC 6455 section 5.2), as far as closing it takes.

/// A Close frame of a server with status 1001, "going away" (RFC 6455 section 7.4.1).
pub const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// Opcode of a Close frame.
const CLOSE: u8 = 8;

/// Follows the frames that one side sends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    /// The head of the frame, as far as it was seen: at most two bytes and eight of length.
    head: [u8; 10],
    seen: usize,
    /// Bytes of mask and payload that follow.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Follows `bytes`.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let length = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= length as u64;
                bytes = &bytes[length..];
                continue;
            }
            self.head[self.seen] = bytes[0];
            self.seen += 1;
            bytes = &bytes[1..];
            if let Some(left) = self.rest() {
                self.closed |= self.head[0] & 0x0f == CLOSE;
                self.left = left;
                self.seen = 0;
            }
        }
    }

    /// Bytes that follow the head of the frame, when it is whole.
    fn rest(&self) -> Option<u64> {
        if self.seen < 2 {
            return None;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        let (length, bytes) = match self.head[1] & 0x7f {
            126 => (4, &self.head[2..4]),
            127 => (10, &self.head[2..10]),
            short => return Some(u64::from(short) + mask),
        };
        let number = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        (self.seen == length).then(|| bytes.iter().fold(0, number).saturating_add(mask))
    }

    /// Whether a frame may begin here.
    pub fn at_boundary(&self) -> bool {
        self.seen == 0 && self.left == 0
    }

    /// Whether a Close frame was sent.
    pub fn closed(&self) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found_however_the_bytes_are_cut() {
        let mut stream = vec![0x81, 0x02, b'h', b'i', 0x89, 0x00, 0x82, 126, 0x01, 0x00];
        stream.extend_from_slice(&[7; 256]);
        stream.extend_from_slice(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        stream.extend_from_slice(&[7; 65_536]);
        stream.extend_from_slice(&[0x81, 0x81, 1, 2, 3, 4, 5]);
        let boundaries = [0, 4, 6, 266, 65_812, 65_819];
        for cut in (0..300).chain(65_800..=65_819) {
            let mut frames = Frames::default();
            frames.pass(&stream[..cut]);
            assert_eq!(
                frames.at_boundary(),
                boundaries.contains(&cut),
                "cut at {cut}"
            );
            frames.pass(&stream[cut..]);
            assert!(frames.at_boundary() && !frames.closed());
            frames.pass(&GOING_AWAY);
            assert!(frames.at_boundary() && frames.closed());
        }
    }
}
