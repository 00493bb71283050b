//! Git's packet lines and what a push is answered with (gitprotocol-common, gitprotocol-pack: side-band, report-status).

use apron_builder::git::Service;

/// Bytes of a packet without its length (gitprotocol-common: 65516 with side-band-64k's band).
const PACKET_BYTES_MAX: usize = 65_515;

/// The band of what the protocol says.
const DATA: u8 = 1;
/// The band of what people read.
const PROGRESS: u8 = 2;

/// A packet that ends a part.
pub(super) const FLUSH: &[u8] = b"0000";

/// What git answers to a push with side-bands: what was said while it went on, and the report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Packets for people, as they are.
    pub progress: Vec<u8>,
    /// The packets of the report, as they are.
    pub report: Vec<u8>,
}

fn packet(content: &[u8]) -> Vec<u8> {
    let mut packet = format!("{:04x}", content.len() + 4).into_bytes();
    packet.extend_from_slice(content);
    packet
}

fn banded(band: u8, content: &[u8]) -> Vec<u8> {
    let mut packets = Vec::with_capacity(content.len() + 16);
    for piece in content.chunks(PACKET_BYTES_MAX) {
        let mut banded = vec![band];
        banded.extend_from_slice(piece);
        packets.append(&mut packet(&banded));
    }
    packets
}

/// What stands before the references: which service has them.
pub(super) fn announcement(service: Service) -> Vec<u8> {
    let mut said = packet(format!("# service={}\n", service.name()).as_bytes());
    said.extend_from_slice(FLUSH);
    said
}

/// A line that the client shows behind `remote: `.
pub(super) fn line(text: &str) -> Vec<u8> {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect();
    banded(PROGRESS, format!("{plain}\n").as_bytes())
}

/// A report that everything arrived and these branches were not taken, each with a reason of one line.
pub(super) fn refusal<'a>(branches: impl Iterator<Item = &'a str>, reason: &str) -> Vec<u8> {
    let mut report = packet(b"unpack ok\n");
    for branch in branches {
        let text = format!("ng refs/heads/{branch} {reason}\n");
        report.append(&mut packet(text.as_bytes()));
    }
    report.extend_from_slice(FLUSH);
    banded(DATA, &report)
}

impl Answer {
    /// Takes an answer apart; none when the client did not ask for side-bands or the answer is not whole.
    pub(super) fn parse(mut said: &[u8]) -> Option<Answer> {
        let mut answer = Answer::default();
        loop {
            let (length, _) = said.split_at_checked(4)?;
            let length = usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).ok()?;
            if length == 0 {
                return Some(answer);
            }
            let (whole, rest) = said.split_at_checked(length)?;
            match *whole.get(4)? {
                DATA => answer.report.extend_from_slice(whole),
                PROGRESS => answer.progress.extend_from_slice(whole),
                _ => return None,
            }
            said = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart_and_a_plain_one_is_left() {
        let report = banded(DATA, b"000eunpack ok\n0000");
        let mut said = line("hello");
        said.extend_from_slice(&report);
        said.extend_from_slice(FLUSH);
        let answer = Answer::parse(&said).unwrap();
        assert_eq!((answer.progress, answer.report), (line("hello"), report));
        assert_eq!(Answer::parse(b"000eunpack ok\n0000"), None);
        for cut in 0..said.len() {
            assert_eq!(Answer::parse(&said[..cut]), None);
        }
        assert_eq!(Answer::parse(b"zzzz"), None);
    }

    #[test]
    fn packets_say_their_length() {
        assert_eq!(line("a\rb"), b"0009\x02a b\n");
        let refused = refusal(["main"].into_iter(), "no");
        assert!(refused.starts_with(b"0031\x01000eunpack ok\n001ang refs/heads/main no\n0000"));
        assert!(line(&"x".repeat(70_000)).starts_with(b"fff0\x02x"));
    }
}
